"""Derive the recipe of a store from the JPEG files that are imported into it.

The folders do not record which solver computed their flow. In the recipe, ``flow.grey`` is
therefore ``imported:<format>``, which no extraction writes, so that imported and extracted flow
never share a store, and ``flow.tvl1`` is null. RGB quality is estimated from the quantization table
of the first RGB image, and its chroma subsampling is recorded.
"""

import json
from contextlib import suppress
from pathlib import Path

import simplejpeg

from flowkit.decode.jpeg_file import estimate_quality
from flowkit.errors import UsageError
from flowkit.flow.params import DEFAULT_BOUND
from flowkit.interchange.folders import IMAGE_FILE
from flowkit.recipe import FlowRecipe, Resize, RGBRecipe, StoreRecipe, Subsampling

SUBSAMPLINGS: dict[str, Subsampling] = {"420": "4:2:0", "422": "4:2:2", "444": "4:4:4"}
"""Names of chroma subsampling in a recipe, by their names in simplejpeg."""


def choose_bound(folder: Path, bound: float | None) -> float:
    """Choose the bound of the flow that is imported.

    Args:
        folder: Folder that is imported. If `export` wrote it, its ``export.json`` has the bound.
        bound: Bound in pixels that the caller states; None if it does not.

    Returns:
        The recorded bound, or else the stated one, or else `DEFAULT_BOUND`.

    Raises:
        UsageError: If another bound is stated than is recorded, or the record is damaged.
    """
    path = folder / "export.json"
    try:
        record = dict(json.loads(path.read_text(encoding="utf-8"))) if path.exists() else {}
        # A file of another tool has no "flow_template".
        recorded = float(record["bound"]) if "flow_template" in record else None
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise UsageError(
            f"{path}: expected the record of an export, with the bound of its flow ({error!r}); "
            "export to a new folder, or, if another tool wrote the file, move it away"
        ) from None
    if recorded is None:
        return DEFAULT_BOUND if bound is None else bound
    if bound is not None and bound != recorded:
        raise UsageError(
            f"{path}: the flow of this folder has the bound {recorded:g}, got --bound {bound:g}; "
            "leave out --bound"
        )
    return recorded


def derive_recipe(
    video_folders: list[Path], format: str, bound: float, quality: int
) -> StoreRecipe:
    """Derive the recipe of the store from the first readable images.

    Args:
        video_folders: Folders of the videos; at least one.
        format: Tool that wrote the files.
        bound: Bound of flow in pixels.
        quality: JPEG quality of the flow images in the store, 1–100.

    Returns:
        A recipe with the streams that the folders hold.

    Raises:
        UsageError: If there are RGB images, but none of them can be recorded in a recipe.
    """
    prefixes: set[str] = set()
    rgb = None
    for path in video_folders:
        files = sorted(file for file in path.iterdir() if IMAGE_FILE.fullmatch(file.name))
        prefixes |= {file.name.lower().rpartition("_")[0] for file in files}
        rgb_files = (file for file in files if file.name.lower().startswith("img"))
        rgb = rgb or next(filter(None, map(read_rgb_recipe, rgb_files)), None)
        if rgb and "flow_x" in prefixes:
            break
    if "img" in prefixes and rgb is None:
        raise UsageError(
            f"no frame below {video_folders[0].parent} is a complete JPEG with 4:2:0, 4:2:2 or "
            "4:4:4 subsampling, the only ones that a store can record; encode the frames again"
        )
    flow = FlowRecipe(tvl1=None, bound=bound, quality=quality, grey=f"imported:{format}")
    return StoreRecipe(
        resize=Resize(mode="none"), rgb=rgb, flow=flow if "flow_x" in prefixes else None
    )


def read_rgb_recipe(file: Path) -> RGBRecipe | None:
    """Read quality and subsampling of one JPEG file.

    Args:
        file: The JPEG file.

    Returns:
        The recipe; None if the file cannot be read or is damaged, or its subsampling cannot be
        recorded.
    """
    with suppress(ValueError, KeyError, OSError):
        data = file.read_bytes()
        subsampling = SUBSAMPLINGS[simplejpeg.decode_jpeg_header(data)[3]]
        return RGBRecipe(quality=estimate_quality(data), subsampling=subsampling)
    return None

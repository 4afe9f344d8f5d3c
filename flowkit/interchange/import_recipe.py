"""Derive the recipe of a store from the JPEG files that are imported into it.

The folders do not record which solver computed their flow. In the recipe, ``flow.grey`` is
therefore ``imported:<format>``, which no extraction writes, so that imported and extracted flow
never share a store, and ``flow.tvl1`` is null. RGB quality is estimated from the quantization table
of the first RGB image, and its chroma subsampling is recorded.
"""

from contextlib import suppress
from functools import cache
from pathlib import Path

import numpy as np
import simplejpeg

from flowkit.errors import UsageError
from flowkit.interchange.folders import IMAGE_FILE
from flowkit.recipe import FlowRecipe, Recipe, Resize, RGBRecipe, Subsampling
from flowkit.store.format import jpeg

SUBSAMPLINGS: dict[str, Subsampling] = {"420": "4:2:0", "422": "4:2:2", "444": "4:4:4"}
"""Names of chroma subsampling in a recipe, by their names in simplejpeg."""


def read_recipe(video_folders: list[Path], format: str, bound: float, quality: int) -> Recipe:
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
    return Recipe(resize=Resize(mode="none"), rgb=rgb, flow=flow if "flow_x" in prefixes else None)


def read_rgb_recipe(file: Path) -> RGBRecipe | None:
    """Read quality and subsampling of one JPEG file.

    Args:
        file: The JPEG file.

    Returns:
        The recipe; None if the file is damaged or its subsampling cannot be recorded.
    """
    data = file.read_bytes()
    with suppress(ValueError, KeyError):
        subsampling = SUBSAMPLINGS[simplejpeg.decode_jpeg_header(data)[3]]
        return RGBRecipe(quality=estimate_quality(data), subsampling=subsampling)
    return None


def estimate_quality(data: bytes) -> int:
    """Estimate the quality that a JPEG was encoded with.

    Args:
        data: Bytes of a JPEG file.

    Returns:
        The quality of libjpeg, 1–100, whose luma table is nearest to the first table of the file.

    Raises:
        ValueError: If the file has no quantization table.
    """
    distances = abs(make_luma_tables() - read_quantization_table(data)).sum(axis=1)
    return int(distances.argmin()) + 1


def read_quantization_table(data: bytes) -> np.ndarray:
    """Read the first quantization table of a JPEG file.

    Args:
        data: Bytes of a JPEG file.

    Returns:
        (64,) int64 table in zigzag order.

    Raises:
        ValueError: If the file has no quantization table.
    """
    marker = data.find(b"\xff\xdb")
    is_16_bit = marker >= 0 and data[marker + 4] >> 4
    entry_bytes = 2 if is_16_bit else 1
    entries = data[marker + 5 : marker + 5 + 64 * entry_bytes]
    if marker < 0 or len(entries) < 64 * entry_bytes:
        raise ValueError("no quantization table")
    return np.frombuffer(entries, ">u2" if is_16_bit else "u1").astype(np.int64)


@cache
def make_luma_tables() -> np.ndarray:
    """Return the luma tables of libjpeg for the qualities 1–100, (100, 64) int64."""
    image = np.zeros((8, 8), np.uint8)
    images = [jpeg.encode_grey(image, quality) for quality in range(1, 101)]
    return np.stack([read_quantization_table(data) for data in images])

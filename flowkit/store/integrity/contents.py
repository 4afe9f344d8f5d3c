"""Check the rows of a shard one by one, for ``verify --deep``.

This finds wrong values that checksums cannot find, because the writer computed the checksums of
wrong bytes.
"""

from collections.abc import Iterator
from concurrent.futures import Executor

import numpy as np
import simplejpeg

from flowkit.errors import CorruptError
from flowkit.recipe import StoreRecipe
from flowkit.store.format import jpeg
from flowkit.store.format.schema import VideoMeta, vector_dimension
from flowkit.store.integrity.batches import ShardContents, ShardVideo
from flowkit.streams import find_rows

SHOWN = 3
"""Number of findings of one video that are listed; the others are only counted."""


def check_rows(
    shard: ShardContents, video: ShardVideo, folder: str, recipe: StoreRecipe, pool: Executor
) -> list[str]:
    """Decode every image of a video, or check every number.

    Args:
        shard: The open shard.
        video: A video of the shard.
        folder: The shard folder, such as ``frames`` or ``features/<name>``.
        recipe: The recipe of the store.
        pool: Threads that decode images.

    Returns:
        What is wrong, one line per finding; empty if nothing is.
    """
    rows, frames = video.meta.rows, video.meta.frames
    findings = [] if rows == frames else [f"{frames} frames but {rows} rows"]
    try:
        if folder == "frames":
            step = recipe.flow.step if recipe.flow is not None else 1
            findings += check_frames(shard, video, step, pool)
        else:
            findings += check_numbers(shard, video, vector_dimension(folder, recipe))
    except CorruptError as error:
        findings.append(str(error))
    if len(findings) > SHOWN:
        findings[SHOWN:] = [f"and {len(findings) - SHOWN} more findings"]
    return findings


def check_frames(
    shard: ShardContents, video: ShardVideo, flow_step: int, pool: Executor
) -> Iterator[str]:
    """Find images that are missing, superfluous, broken, or of another size or colour space."""
    t = 0  # frame index
    flow_frames = find_rows("flow", video.meta.frames, flow_step)
    for part in video.parts:
        for column in shard.columns:
            if column.kind != "bytes":
                continue
            images = shard.read_values(part, column)
            arguments = [
                (t + row, column.name, data, video.meta, flow_frames)
                for row, data in enumerate(images)
            ]
            yield from filter(None, pool.map(check_image, *zip(*arguments, strict=True)))
        t += part.rows


def check_image(
    t: int, name: str, data: bytes | None, meta: VideoMeta, flow_frames: range
) -> str | None:
    """Check one image.

    Args:
        t: Index of the frame, from 0.
        name: Name of the column.
        data: The JPEG file; None if there is none.
        meta: Metadata of the video.
        flow_frames: Frames that have flow, if the video has it.

    Returns:
        What is wrong, or None.
    """
    stream = "rgb" if name == "rgb" else "flow"
    is_expected = stream in meta.streams and (stream == "rgb" or t in flow_frames)
    if data is None:
        return f"frame {t}: {name} is missing" if is_expected else None
    if not is_expected:
        return f"frame {t}: {name} is not null"
    try:
        height, width, colours, _ = simplejpeg.decode_jpeg_header(data)
        if (width, height) != (meta.width, meta.height):
            return f"frame {t}: {name} is {width}×{height}, not {meta.width}×{meta.height}"
        if stream == "flow" and colours.lower() != "gray":
            return f"frame {t}: {name} is not grey but {colours}"
        (jpeg.decode_rgb if stream == "rgb" else jpeg.decode_grey)(data)
    except (CorruptError, ValueError):
        return f"frame {t}: {name} is not a complete JPEG file"
    return None


def check_numbers(shard: ShardContents, video: ShardVideo, dimension: int | None) -> Iterator[str]:
    """Find vectors of another dimension than the recipe's, and values that are not finite."""
    first_row = 0
    for part in video.parts:
        for column in shard.columns:
            if column.kind != "vector":
                continue
            for row, vector in enumerate(shard.read_values(part, column), first_row):
                if vector.size != dimension:
                    yield f"row {row}: {column.name} has {vector.size} values, not {dimension}"
                if not np.isfinite(vector).all():
                    yield f"row {row}: {column.name} is not finite"
        first_row += part.rows

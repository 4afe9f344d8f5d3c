"""Check the rows of a shard one by one, for ``verify --deep``.

This finds wrong values that checksums cannot find, because the writer computed the checksums of
wrong bytes.
"""

from collections.abc import Iterator
from concurrent.futures import Executor
from functools import partial
from itertools import count

import numpy as np
import simplejpeg

from flowkit.errors import CorruptError
from flowkit.recipe import StoreRecipe
from flowkit.store.format import jpeg
from flowkit.store.format.schema import FOLDERS, VideoMeta, vector_dimension
from flowkit.store.integrity.batches import ShardContents, ShardVideo
from flowkit.streams import STREAMS, find_rows

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
        step = recipe.flow.step if recipe.flow is not None else 1
        findings += check_images(shard, video, folder, step, pool)
        findings += check_numbers(shard, video, vector_dimension(folder, recipe))
    except CorruptError as error:
        findings.append(str(error))
    if len(findings) > SHOWN:
        findings[SHOWN:] = [f"and {len(findings) - SHOWN} more findings"]
    return findings


def check_images(
    shard: ShardContents, video: ShardVideo, folder: str, flow_step: int, pool: Executor
) -> Iterator[str]:
    """Find images that are missing, superfluous, broken, or of another size or colour space."""
    meta, first_row = video.meta, 0
    for part in video.parts:
        for name in FOLDERS.get(folder, ()):
            stream = STREAMS[name]
            rows = find_rows(name, meta.frames, flow_step) if name in meta.streams else range(0)
            for column in stream.columns:
                if column.kind == "bytes":
                    check = partial(check_image, column.name, stream.is_grey, meta, rows)
                    images = shard.read_values(part, column)
                    yield from filter(None, pool.map(check, count(first_row), images))
        first_row += part.rows


def check_image(
    name: str, is_grey: bool, meta: VideoMeta, rows: range, t: int, data: bytes | None
) -> str | None:
    """Check one image.

    Args:
        name: Name of the column.
        is_grey: Whether its images are grey.
        meta: Metadata of the video.
        rows: Frames that have an image in this column.
        t: Index of the frame, from 0.
        data: The JPEG file; None if there is none.

    Returns:
        What is wrong, or None.
    """
    if data is None:
        return f"frame {t}: {name} is missing" if t in rows else None
    if t not in rows:
        return f"frame {t}: {name} is not null"
    try:
        height, width, colours, _ = simplejpeg.decode_jpeg_header(data)
        if (width, height) != (meta.width, meta.height):
            return f"frame {t}: {name} is {width}×{height}, not {meta.width}×{meta.height}"
        if is_grey and colours.lower() != "gray":
            return f"frame {t}: {name} is not grey but {colours}"
        (jpeg.decode_grey if is_grey else jpeg.decode_rgb)(data)
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

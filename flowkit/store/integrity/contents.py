"""What the rows of a shard hold, looked at one by one: ``verify --deep``.

The bytes may be those that were committed and still be wrong, if whoever wrote them was.
"""

from collections.abc import Iterator
from concurrent.futures import Executor

import numpy as np
import simplejpeg

from flowkit.errors import CorruptError
from flowkit.recipe import Recipe
from flowkit.store.format import jpeg
from flowkit.store.format.schema import VideoMeta, shard_columns, vector_dimension
from flowkit.store.integrity.batches import FoundVideo, read_values

SHOWN = 3
"""Findings of one video that are spelled out; the others are counted."""


def check_contents(
    descriptor: int, folder: str, video: FoundVideo, recipe: Recipe, pool: Executor
) -> list[str]:
    """What is wrong with a video's rows: every picture decoded, every number looked at."""
    rows = sum(piece.rows for piece in video.pieces)
    wrong = [] if rows == video.meta.frames else [f"{video.meta.frames} frames but {rows} rows"]
    if folder == "frames":
        wrong += check_frames(descriptor, video, pool)
    else:
        wrong += check_numbers(descriptor, folder, video, recipe)
    more = [f"and {len(wrong) - SHOWN} more findings"] if len(wrong) > SHOWN else []
    return wrong[:SHOWN] + more


def check_frames(descriptor: int, video: FoundVideo, pool: Executor) -> Iterator[str]:
    """Pictures that are missing, superfluous, broken, or of another size or colour space."""
    t = 0
    for piece in video.pieces:
        for column in shard_columns("frames"):
            values = read_values(descriptor, piece, column)
            name = column.name
            pictures = [(t + row, name, data, video.meta) for row, data in enumerate(values)]
            yield from filter(None, pool.map(check_picture, *zip(*pictures, strict=True)))
        t += piece.rows


def check_picture(t: int, name: str, data: bytes | None, meta: VideoMeta) -> str | None:
    """What is wrong with one picture, or None."""
    stream = "rgb" if name == "rgb" else "flow"
    wanted = stream in meta.streams and (stream == "rgb" or t < meta.frames - 1)
    if data is None or not wanted:
        if (data is not None) == wanted:
            return None
        return f"frame {t}: {name} is missing" if wanted else f"frame {t}: {name} is not null"
    try:
        height, width, colours, _ = simplejpeg.decode_jpeg_header(data)
        if (width, height) != (meta.width, meta.height):
            return f"frame {t}: {name} is {width}×{height}, not {meta.width}×{meta.height}"
        if stream == "flow" and colours.lower() != "gray":
            return f"frame {t}: {name} is not grey but {colours}"
        (jpeg.decode_rgb if stream == "rgb" else jpeg.decode_grey)(data)
    except (CorruptError, ValueError):
        return f"frame {t}: {name} is no whole JPEG"
    return None


def check_numbers(descriptor: int, folder: str, video: FoundVideo, recipe: Recipe) -> Iterator[str]:
    """Vectors of another length than the recipe says, and values that are not finite."""
    row, dimension = 0, vector_dimension(folder, recipe)
    for piece in video.pieces:
        for column in shard_columns(folder):
            if column.kind != "vector":
                continue
            vectors = read_values(descriptor, piece, column)
            for number, value in enumerate(vectors, row):
                if value.size != dimension:
                    yield f"row {number}: {column.name} has {value.size} values, not {dimension}"
                if not np.isfinite(value).all():
                    yield f"row {number}: {column.name} is not finite"
        row += piece.rows

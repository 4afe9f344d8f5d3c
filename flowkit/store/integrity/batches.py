"""Read the batches of a shard file that may be damaged, and copy videos out of it.

Recovery (salvage.py), ``verify`` (damage.py, contents.py) and repair (repair.py) look at a shard
through these functions: a :class:`Batch` is what its header says, a :class:`FoundVideo` a complete
video in consecutive batches, and :func:`copy_videos` writes some of them into a new shard.
"""

import json
import os
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from flowkit.errors import CorruptError, StoreError
from flowkit.store.format.column_rows import read_bytes_rows, read_fixed_rows, read_offsets
from flowkit.store.format.columns import build_arrays
from flowkit.store.format.complete_videos import CompleteVideos
from flowkit.store.format.layout import (
    RECORD_BATCH,
    Block,
    Extent,
    Message,
    column_crc,
    locate_columns,
    read_footer,
    read_message,
    scan_messages,
)
from flowkit.store.format.schema import BATCH_CRC_KEY, BATCH_KEY, CommittedVideo, VideoMeta
from flowkit.store.format.shard_file import ShardFile
from flowkit.streams import Column


@dataclass(frozen=True, slots=True)
class Batch:
    """One batch: where its columns lie, its videos' parts, and the CRC-32 of each column."""

    position: int
    extents: dict[str, Extent]
    parts: list[dict[str, Any]]
    crc32: dict[str, int]

    def changed_columns(self, descriptor: int) -> list[str]:
        """The columns whose bytes are not those that were written."""
        return [
            name
            for name, extent in self.extents.items()
            if column_crc(descriptor, extent) != self.crc32[name]
        ]


@dataclass(frozen=True, slots=True)
class Piece:
    """Consecutive rows of one video in one batch; ``part`` is what the batch says of them."""

    batch: Batch
    part: dict[str, Any]
    first_row: int
    rows: int


@dataclass(frozen=True, slots=True)
class FoundVideo:
    """A complete video and its rows."""

    meta: CommittedVideo
    pieces: tuple[Piece, ...]


@contextmanager
def open_shard(path: Path) -> Iterator[int]:
    """Open a shard to read it by ``pread``; gives its descriptor."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def read_batches(descriptor: int, path: Path, columns: tuple[Column, ...]) -> Iterator[Batch]:
    """All batches of a shard that can be understood, by position.

    They are found by the footer and by scanning from the start, so that one damaged place does
    not hide the rest.
    """
    blocks: dict[int, Block] = {}
    with suppress(CorruptError):  # then the scan has to do
        blocks = {block.position: block for block in read_footer(descriptor, path)}
    blocks |= {block.position: block for block, _ in scan_messages(descriptor)}
    for _, block in sorted(blocks.items()):
        with suppress(CorruptError):
            message = read_message(descriptor, block)
            if message.kind == RECORD_BATCH:
                block = Block(block.position, block.header, message.body)
                yield parse_batch(block, message, columns)


def parse_batch(block: Block, message: Message, columns: tuple[Column, ...]) -> Batch:
    """Read what a batch's header says; CorruptError where it makes no sense."""
    metadata = batch_metadata(message)
    extents = locate_columns(block, message, columns)
    names = [column.name for column in columns]
    try:
        crc32 = {name: int(metadata["crc32"][name]) for name in names}
    except (KeyError, TypeError, ValueError) as error:
        raise CorruptError(f"expected the checksum of each column ({error!r})") from None
    return Batch(block.position, dict(zip(names, extents, strict=True)), metadata["videos"], crc32)


def batch_metadata(message: Message) -> dict[str, Any]:
    """The parsed ``flowkit.batch`` of a batch; CorruptError where it is malformed."""
    try:
        text = message.metadata[BATCH_KEY]
        if zlib.crc32(text.encode()) != int(message.metadata[BATCH_CRC_KEY]):
            raise ValueError("its checksum is another")
        metadata: dict[str, Any] = json.loads(text)
        rows = [part["rows"] + 0 * part["part"] for part in metadata["videos"]]
        if sum(rows) != message.rows or min(rows, default=0) < 0:
            raise ValueError(f"{sum(rows)} rows of {message.rows}")
        for part in metadata["videos"]:
            if part["last"]:
                VideoMeta.from_dict(part)
            part["id"].encode()
        metadata["crc32"].items()
    except (KeyError, TypeError, ValueError, AttributeError, StoreError) as error:
        raise CorruptError(f"expected the metadata of a batch ({error!r})") from None
    return metadata


def check_batch(
    descriptor: int, block: Block, message: Message, columns: tuple[Column, ...]
) -> Batch:
    """Read a batch and all its bytes; CorruptError where metadata or a checksum is wrong."""
    batch = parse_batch(block, message, columns)
    for name in batch.changed_columns(descriptor):
        raise CorruptError(f"expected the checksum of column {name}, got another")
    return batch


def find_videos(
    batches: Sequence[Batch], contents: CompleteVideos | None = None
) -> list[FoundVideo]:
    """The videos of which every part is there, in order, with their rows.

    Args:
        batches: Of one shard, by position.
        contents: Assembled from ``batches``, if that was done already.
    """
    contents = contents or CompleteVideos(batch.parts for batch in batches)
    return [
        FoundVideo(
            meta,
            tuple(
                Piece(batches[p.batch], batches[p.batch].parts[p.number], p.first_row, p.rows)
                for p in places
            ),
        )
        for meta, places in zip(contents.videos, contents.places, strict=True)
    ]


def read_values(descriptor: int, piece: Piece, column: Column) -> Any:
    """Read a column's values over a piece.

    Returns:
        A list of bytes (None where empty), vectors (rows, dimension), or numbers (rows,).

    Raises:
        CorruptError: Offsets do not rise, or the file ends before.
    """
    extent = piece.batch.extents[column.name]
    if column.kind != "bytes":
        return read_fixed_rows(descriptor, extent, column, piece.first_row, piece.rows)
    offsets = check_offsets(descriptor, piece, column)
    return [data or None for data in read_bytes_rows(descriptor, extent, offsets, 0, piece.rows)]


def check_offsets(descriptor: int, piece: Piece, column: Column) -> memoryview:
    """Read the offsets of a bytes column over a piece; CorruptError where they do not rise."""
    extent = piece.batch.extents[column.name]
    offsets = read_offsets(descriptor, extent, piece.first_row, piece.rows)
    rising = (np.diff(np.asarray(offsets)) >= 0).all()
    if not (rising and offsets[0] >= 0 and offsets[-1] <= extent.size):
        raise CorruptError(f"column {column.name}: expected rising offsets up to {extent.size}")
    return offsets


def is_copyable(
    descriptor: int, video: FoundVideo, columns: tuple[Column, ...], dimension: int | None
) -> bool:
    """Whether a new shard can take the rows of a video, whose checksums are right.

    They can be right and the rows still make no sense, if some other program wrote them so.
    ``dimension`` is that of the shard's vectors.
    """
    for piece in video.pieces:
        for column in columns:
            extent = piece.batch.extents[column.name]
            values = dimension if column.kind == "vector" else 1
            if column.kind == "bytes":
                try:
                    check_offsets(descriptor, piece, column)
                except CorruptError:
                    return False
            elif extent.size != extent.rows * (values or 0) * np.dtype(column.dtype).itemsize:
                return False
    return True


def copy_videos(
    descriptor: int, videos: Sequence[FoundVideo], columns: tuple[Column, ...], shard: ShardFile
) -> None:
    """Write the rows of copyable videos into a new shard, divided into batches as they are.

    Memory is bounded by a batch. ``videos`` must be in the order of the file.
    """
    pieces = (piece for video in videos for piece in video.pieces)
    for _, group in groupby(pieces, key=lambda piece: piece.batch.position):
        blocks: list[tuple[Any, ...]] = []
        parts = []
        for piece in group:
            values = [read_values(descriptor, piece, column) for column in columns]
            # Bytes go row by row into an Arrow array, numbers a whole piece at once.
            blocks += zip(*values, strict=True) if columns[0].kind == "bytes" else [tuple(values)]
            parts.append(piece.part)
        arrays, crc32 = build_arrays(columns, shard.schema, blocks)
        shard.write(pa.record_batch(arrays, schema=shard.schema), crc32, parts)

"""What is still whole in a shard whose bytes are not what was committed.

Batches are found in two ways, by the footer and by scanning from the start, so that one damaged
place does not hide the rest. A video is whole if all its parts are there in order, the CRC-32 of
their batches' columns and description are right, and the commit record describes it alike.
"""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from flowkit.errors import CorruptError
from flowkit.store.format.layout import (
    RECORD_BATCH,
    Block,
    Extent,
    column_crc,
    locate_columns,
    read_exactly,
    read_footer,
    read_message,
    scan_messages,
)
from flowkit.store.format.schema import Column, CommitRecord, VideoMeta, shard_columns
from flowkit.store.integrity.salvage import batch_metadata


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
    """Consecutive rows of one video in one batch."""

    batch: Batch
    first_row: int
    rows: int


@dataclass(frozen=True, slots=True)
class FoundVideo:
    """A video and its rows."""

    meta: VideoMeta
    pieces: tuple[Piece, ...]


@dataclass(kw_only=True)
class Damage:
    """``whole`` videos, and for each other one by id what is wrong with it."""

    whole: list[FoundVideo] = field(default_factory=list)
    broken: dict[str, str] = field(default_factory=dict)


@contextmanager
def open_shard(path: Path) -> Iterator[int]:
    """A descriptor to read a shard by ``pread``."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def find_damage(path: Path, folder: str, record: CommitRecord | None) -> Damage:
    """Sort the videos of a shard file into whole and broken ones. Bounded memory."""
    damage = Damage()
    with open_shard(path) as descriptor:
        batches = list(read_batches(descriptor, path, shard_columns(folder)))
        changed = {batch.position: batch.changed_columns(descriptor) for batch in batches}
    expected = {video.id: video for video in record.videos} if record else {}
    for number, video in enumerate(assemble(batches)):
        id = video.meta.id
        columns = sorted({name for piece in video.pieces for name in changed[piece.batch.position]})
        if columns:
            damage.broken[id] = f"column {', '.join(columns)} has changed bytes"
        elif record is not None and describe(expected.get(id)) != describe(video.meta):
            damage.broken[id] = f"video {number} of the shard is not as its record describes it"
        else:
            damage.whole.append(video)
    found = {video.meta.id for video in damage.whole}
    for id in expected.keys() - found:
        damage.broken.setdefault(id, "its rows cannot be found: a batch header has changed bytes")
    return damage


def describe(meta: VideoMeta | None) -> dict[str, Any] | None:
    """What both a batch and the record say of a video."""
    if meta is None:
        return None
    values = meta.to_dict()
    for name in ("batch", "batches", "first_row", "rows"):
        values.pop(name, None)
    return json.loads(json.dumps(values))  # type: ignore[no-any-return]


def read_batches(descriptor: int, path: Path, columns: tuple[Column, ...]) -> Iterator[Batch]:
    """All batches of a shard that can be understood, by position."""
    blocks: dict[int, Block] = {}
    with suppress(CorruptError):  # then the scan has to do
        blocks = {block.position: block for block in read_footer(descriptor, path)}
    blocks |= {block.position: block for block, _ in scan_messages(descriptor)}
    for _, block in sorted(blocks.items()):
        batch = read_batch(descriptor, block, columns)
        if batch is not None:
            yield batch


def read_batch(descriptor: int, block: Block, columns: tuple[Column, ...]) -> Batch | None:
    """One batch; None where the bytes at ``block`` are none (or no longer)."""
    try:
        message = read_message(descriptor, block)
        if message.kind != RECORD_BATCH:
            return None
        block = Block(block.position, block.header, message.body)
        extents = locate_columns(block, message, columns)
        metadata = batch_metadata(message)
        return Batch(
            block.position,
            {column.name: extent for column, extent in zip(columns, extents, strict=True)},
            metadata["videos"],
            {column.name: int(metadata["crc32"][column.name]) for column in columns},
        )
    except (CorruptError, ValueError, KeyError, TypeError):
        return None


def assemble(batches: list[Batch]) -> Iterator[FoundVideo]:
    """The videos of which every part is there, in order."""
    pieces: dict[str, list[Piece]] = {}
    for batch in batches:
        row = 0
        for part in batch.parts:
            begun = [] if part["part"] == 0 else pieces.get(part["id"], [])
            if len(begun) == part["part"]:
                begun.append(Piece(batch, row, part["rows"]))
                pieces[part["id"]] = begun
                if part["last"]:
                    del pieces[part["id"]]
                    yield FoundVideo(VideoMeta.from_dict(part), tuple(begun))
            row += part["rows"]


def read_values(descriptor: int, piece: Piece, column: Column) -> list[Any]:
    """A column's values over a piece: bytes (None where empty), vectors, or integers."""
    extent = piece.batch.extents[column.name]
    first, rows = piece.first_row, piece.rows
    if extent.offsets is None:
        kind = np.dtype(column.dtype)
        width = extent.size // extent.rows if extent.rows else kind.itemsize
        data = read_exactly(descriptor, width * rows, extent.values + width * first)
        values = np.frombuffer(data, kind)
        table = values.reshape(rows, width // kind.itemsize)  # also where there are no rows
        return list(table) if column.kind == "vector" else values.tolist()
    raw = read_exactly(descriptor, 8 * (rows + 1), extent.offsets + 8 * first)
    offsets = np.frombuffer(raw, np.int64)
    start, end = int(offsets[0]), int(offsets[-1])
    if not (start >= 0 and (np.diff(offsets) >= 0).all() and end <= extent.size):
        raise CorruptError(f"column {column.name}: expected rising offsets up to {extent.size}")
    data = read_exactly(descriptor, end - start, extent.values + start)
    cuts = (offsets - start).tolist()
    return [data[a:b] or None for a, b in pairwise(cuts)]

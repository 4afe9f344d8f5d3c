"""Read the batches of a shard file that may be damaged, and copy videos out of it.

Recovery (salvage.py), ``verify`` (inspection.py, damage.py, contents.py) and repair (repair.py) all
look at a shard through :class:`ShardContents`.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from flowkit.errors import CorruptError
from flowkit.store.format.checksums import MALFORMED_METADATA, decode_row_checksums, load_metadata
from flowkit.store.format.column_rows import read_bytes_rows, read_fixed_rows, read_offsets
from flowkit.store.format.columns import build_arrays
from flowkit.store.format.complete_videos import CompleteVideos, VideoPart
from flowkit.store.format.layout import (
    RECORD_BATCH,
    Block,
    Descriptor,
    Extent,
    Message,
    column_crc,
    locate_columns,
    read_footer,
    read_message,
    scan_messages,
)
from flowkit.store.format.schema import CommittedVideo, shard_columns
from flowkit.store.format.shard_file import ShardFile
from flowkit.store.format.video_values import check_video
from flowkit.streams import Column


@dataclass(frozen=True, slots=True)
class Batch:
    """The parsed header of one batch."""

    extents: dict[str, Extent]
    """Where each column is in the file."""
    entries: list[dict[str, Any]]
    """Metadata of the parts of videos in the batch."""
    crc32: dict[str, int]
    """CRC-32 of each column."""

    def find_changed_columns(self, descriptor: Descriptor) -> list[str]:
        """Return the names of the columns whose bytes do not have the CRC-32 of the header."""
        return [
            name
            for name, extent in self.extents.items()
            if column_crc(descriptor, extent) != self.crc32[name]
        ]


@dataclass(frozen=True, slots=True)
class ShardVideo:
    """A video of which every part is in the shard."""

    meta: CommittedVideo
    """Its metadata, and where it is in the shard."""
    parts: tuple[VideoPart, ...]
    """Its parts, in order."""


class ShardContents:
    """The batches and complete videos of an open shard file.

    Args:
        descriptor: File descriptor of the shard.
        columns: The columns of the shard, of which it may lack optional ones.
        batches: Its batches, in file order; one without extents cannot be read.

    Attributes:
        columns: The columns that all of its batches have.
        complete: The complete videos, assembled from the batches.
        videos: The same videos with their parts, in file order.
    """

    def __init__(
        self, descriptor: int, columns: tuple[Column, ...], batches: Sequence[Batch]
    ) -> None:
        self.descriptor, self.batches = descriptor, batches
        readable = [batch.extents for batch in batches if batch.extents]
        self.columns = tuple(c for c in columns if all(c.name in extents for extents in readable))
        self.complete = CompleteVideos(batch.entries for batch in batches)
        pairs = zip(self.complete.videos, self.complete.parts, strict=True)
        self.videos = [ShardVideo(meta, parts) for meta, parts in pairs]

    def read_values(self, part: VideoPart, column: Column) -> Any:
        """Read the values of one column in one part of a video.

        Returns:
            A list of bytes (None where empty), vectors (rows, dimension), or numbers (rows,).

        Raises:
            CorruptError: Offsets decrease, or the file ends too early.
        """
        extent = self.batches[part.batch].extents[column.name]
        if column.kind != "bytes":
            return read_fixed_rows(self.descriptor, extent, column, part.first_row, part.rows)
        offsets = self._read_offsets(part, column)
        rows = read_bytes_rows(self.descriptor, extent, offsets, 0, part.rows)
        return [data or None for data in rows]

    def _read_offsets(self, part: VideoPart, column: Column) -> memoryview:
        """Read the offsets of a bytes column in one part; CorruptError if they decrease."""
        extent = self.batches[part.batch].extents[column.name]
        offsets = read_offsets(self.descriptor, extent, part.first_row, part.rows)
        rising = (np.diff(np.asarray(offsets)) >= 0).all()
        if not (rising and offsets[0] >= 0 and offsets[-1] <= extent.values_bytes):
            raise CorruptError(
                f"column {column.name}: expected rising offsets up to {extent.values_bytes}"
            )
        return offsets

    def is_copyable(self, video: ShardVideo, dimension: int | None) -> bool:
        """Return whether the rows of a video fit into a new shard.

        The checksums of a batch can be right and its rows still be malformed, if another program
        wrote them.

        Args:
            video: A video of this shard.
            dimension: Expected dimension of the vectors, if the shard holds vectors.
        """
        for part in video.parts:
            for column in self.columns:
                extent = self.batches[part.batch].extents[column.name]
                if column.kind == "bytes":
                    try:
                        self._read_offsets(part, column)
                    except CorruptError:
                        return False
                else:
                    values = extent.rows * ((dimension or 0) if column.kind == "vector" else 1)
                    if extent.values_bytes != values * np.dtype(column.dtype).itemsize:
                        return False
        return True

    def copy_videos(self, videos: Sequence[ShardVideo], shard: ShardFile) -> None:
        """Write copyable videos into a new shard, with the same division into batches.

        Only one batch at a time is in memory.

        Args:
            videos: Videos of this shard, in file order.
            shard: The new shard.
        """
        parts = (part for video in videos for part in video.parts)
        for batch_index, group in groupby(parts, key=lambda part: part.batch):
            pieces: list[tuple[Any, ...]] = []
            entries = []
            for part in group:
                values = [self.read_values(part, column) for column in self.columns]
                # A piece is one row of bytes, or all rows of numbers.
                is_bytes = self.columns[0].kind == "bytes"
                pieces += zip(*values, strict=True) if is_bytes else [tuple(values)]
                entries.append(self.batches[batch_index].entries[part.entry_index])
            arrays, crc32 = build_arrays(self.columns, shard.schema, pieces)
            shard.write(pa.record_batch(arrays, schema=shard.schema), crc32, entries)


@contextmanager
def open_shard(path: Path, folder: str) -> Iterator[ShardContents]:
    """Open a shard file that may be damaged, with all batches whose headers can be read.

    Batches are found through the footer and by a scan from the start of the file, so that one
    damaged header does not hide the other batches.

    Args:
        path: The shard file.
        folder: Its shard folder, such as ``frames`` or ``features/<name>``.
    """
    columns = shard_columns(folder)
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        blocks: dict[int, Block] = {}
        with suppress(CorruptError):  # without a footer, only the scan finds batches
            blocks = {block.position: block for block in read_footer(descriptor)}
        blocks |= {block.position: block for block, _ in scan_messages(descriptor)}
        batches = []
        for _, block in sorted(blocks.items()):
            with suppress(CorruptError):
                message = read_message(descriptor, block)
                if message.kind == RECORD_BATCH:
                    block = Block(block.position, block.header_bytes, message.body_bytes)
                    batches.append(parse_batch(block, message, columns))
        yield ShardContents(descriptor, columns, batches)
    finally:
        os.close(descriptor)


def parse_batch(block: Block, message: Message, columns: tuple[Column, ...]) -> Batch:
    """Parse the header of a batch; CorruptError if it is malformed."""
    extents = locate_columns(block, message, columns)
    located, absent = columns[: len(extents)], columns[len(extents) :]
    try:
        metadata = load_metadata(message)
        for entry in metadata["videos"]:
            if entry["last"]:
                check_video(entry)
        crc32 = {column.name: int(metadata["crc32"][column.name]) for column in located}
        if any(column.name in metadata["crc32"] for column in absent):
            raise ValueError(f"no column {absent[0].name}")
        decode_row_checksums(metadata, message.rows)
    except MALFORMED_METADATA as error:
        raise CorruptError(f"expected the metadata of a batch ({error!r})") from None
    names = [column.name for column in located]
    return Batch(dict(zip(names, extents, strict=True)), metadata["videos"], crc32)


def check_batch(
    descriptor: Descriptor, block: Block, message: Message, columns: tuple[Column, ...]
) -> Batch:
    """Parse a batch and read all its bytes; CorruptError if a checksum or its header is wrong."""
    batch = parse_batch(block, message, columns)
    for name in batch.find_changed_columns(descriptor):
        raise CorruptError(f"checksum mismatch in column {name}")
    return batch

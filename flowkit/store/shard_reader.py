"""Reading committed shards by ``pread``, through two bounded caches.

Both caches are ``functools.lru_cache``: safe for threads, and without a lock that a fork could
leave held in the child. A descriptor is closed when its last user lets go of it, never under a
read; after a fork both processes read through it, as ``pread`` moves no file position.
"""

import os
import resource
from array import array
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from pathlib import Path

from flowkit.errors import CorruptError, StoreError
from flowkit.store.layout import (
    Extent,
    Message,
    locate_columns,
    read_exactly,
    read_footer,
    read_message,
)
from flowkit.store.schema import shard_columns

OPEN_SHARDS = 128
"""Fewer where the process may open few files."""
LAYOUTS = 2048
"""Batches whose offsets are kept: at most 24 kB each, and 7 kB for 300 frames."""


@dataclass(frozen=True, slots=True)
class Layout:
    """A batch's rows, and its columns as (offsets or None, position and size of values)."""

    rows: int
    columns: dict[str, tuple[memoryview | None, int, int]]


class ShardReader:
    """One open shard; CorruptError where the file is missing or broken."""

    def __init__(self, root: Path, name: str) -> None:
        self.path = root / f"{name}.arrow"
        self.columns = shard_columns(name.rpartition("/")[0])
        try:
            self.descriptor = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            raise CorruptError(
                f"{self.path}: expected a committed shard, found no file; run `flowkit verify "
                "--repair`, or open the store again if that was done meanwhile"
            ) from None
        except OSError as error:
            raise StoreError(
                f"cannot open {self.path}: {error.strerror}; check permissions and `ulimit -n`"
            ) from None
        self.blocks = read_footer(self.descriptor, self.path)
        self._rows = array("i", [-1]) * len(self.blocks)

    def __del__(self) -> None:
        if hasattr(self, "descriptor"):
            os.close(self.descriptor)

    def _message(self, batch: int) -> Message:
        if batch >= len(self.blocks):
            raise self.corrupt(f"expected a batch {batch}, got {len(self.blocks)} batches")
        try:
            return read_message(self.descriptor, self.blocks[batch])
        except CorruptError as error:
            raise self.corrupt(str(error)) from None

    def rows(self, batch: int) -> int:
        """The rows of a batch."""
        if batch >= len(self.blocks) or self._rows[batch] < 0:
            self._rows[batch] = self._message(batch).rows
        return self._rows[batch]

    def layout(self, batch: int) -> Layout:
        """Read a batch's header and offsets."""
        message = self._message(batch)
        try:
            extents = locate_columns(self.blocks[batch], message, self.columns)
            columns = {
                column.name: (self._offsets(extent), extent.values, extent.size)
                for column, extent in zip(self.columns, extents, strict=True)
            }
        except CorruptError as error:
            raise self.corrupt(str(error)) from None
        return Layout(message.rows, columns)

    def _offsets(self, extent: Extent) -> memoryview | None:
        if extent.offsets is None:
            return None
        data = read_exactly(self.descriptor, 8 * (extent.rows + 1), extent.offsets)
        return memoryview(data).cast("q")

    def read(self, layout: Layout, column: str, row: int, length: int) -> list[bytes]:
        """Rows ``row`` … ``row + length − 1`` of a bytes column, in one read."""
        offsets, values, size = layout.columns[column]
        assert offsets is not None
        start, stop = offsets[row], offsets[row + length]
        if not 0 <= start <= stop <= size:
            raise self.corrupt(f"expected offsets of {column} within its batch")
        data = os.pread(self.descriptor, stop - start, values + start)
        if len(data) != stop - start:
            data = self.read_range(stop - start, values + start)
        if length == 1:
            return [data]
        ends = offsets[row : row + length + 1].tolist()
        return [data[a - start : b - start] for a, b in pairwise(ends)]

    def read_range(self, length: int, position: int) -> bytes:
        """Bytes of the file; CorruptError where it ends before."""
        try:
            return read_exactly(self.descriptor, length, position)
        except CorruptError as error:
            raise self.corrupt(str(error)) from None

    def corrupt(self, what: str) -> CorruptError:
        return CorruptError(f"{self.path}: {what}; run `flowkit verify --repair`")


class Shards:
    """The shards of a store, opened when they are needed."""

    def __init__(self, root: Path, names: list[str]) -> None:
        limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        count = OPEN_SHARDS if limit < 0 else max(4, min(OPEN_SHARDS, limit // 8))
        opened = lru_cache(count)(lambda number: ShardReader(root, names[number]))
        self.open = opened
        self.layout = lru_cache(LAYOUTS)(lambda number, batch: opened(number).layout(batch))

    def read(
        self, number: int, batch: int, columns: tuple[str, ...], row: int, length: int
    ) -> list[list[bytes]]:
        """``length`` rows of some columns, from ``row`` counted from the start of ``batch``."""
        layout = self.layout(number, batch)
        shard = self.open(number)
        if row + length <= layout.rows:
            return [shard.read(layout, column, row, length) for column in columns]
        parts: list[list[bytes]] = [[] for _ in columns]
        for its_batch, start, count in self.spans(number, batch, row, length):
            layout = self.layout(number, its_batch)
            for part, column in zip(parts, columns, strict=True):
                part += shard.read(layout, column, start, count)
        return parts

    def spans(self, number: int, batch: int, row: int, length: int) -> list[tuple[int, int, int]]:
        """The (batch, first row, rows) that hold ``length`` rows from ``row`` on."""
        shard = self.open(number)
        spans = []
        while length:
            rows = shard.rows(batch)
            if row < rows:
                spans.append((batch, row, min(length, rows - row)))
                length -= spans[-1][2]
            row = max(0, row - rows)
            batch += 1
        return spans

"""Reading committed shards by ``pread``, through bounded caches.

The caches are ``functools.lru_cache``: safe for threads, and without a lock that a fork could
leave held in the child. A descriptor is closed when its last user lets go of it, never under a
read; after a fork both processes read through it, as ``pread`` moves no file position.
"""

import os
import resource
from array import array
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from flowkit.errors import CorruptError, StoreError
from flowkit.store.format.column_rows import read_bytes_rows, read_fixed_rows, read_offsets
from flowkit.store.format.layout import Extent, locate_columns, read_footer, read_message
from flowkit.store.format.schema import Column, shard_columns

OPEN_SHARDS = 128
"""Fewer where the process may open few files."""
BATCHES = 16384
"""Batches of which it is kept where their columns lie: 1 kB each."""
OFFSETS = 6144
"""Columns of batches whose offsets are kept: 2.4 kB for 300 frames, 8 kB at most."""

Extents = dict[str, Extent]


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
        # Snippets are read whole, here and there: reading ahead of them only delays the others.
        advise(self.descriptor, 0, 0, "RANDOM")
        self.blocks = read_footer(self.descriptor, self.path)
        self._names = tuple(column.name for column in self.columns)
        self._rows = array("i", [-1]) * len(self.blocks)

    def __del__(self) -> None:
        if hasattr(self, "descriptor"):
            os.close(self.descriptor)

    def rows(self, batch: int) -> int:
        """The rows of a batch."""
        if batch >= len(self.blocks) or self._rows[batch] < 0:
            self.extents(batch)
        return self._rows[batch]

    def extents(self, batch: int) -> tuple[int, Extents]:
        """The rows of a batch, and where its columns lie: one read, of its header."""
        if batch >= len(self.blocks):
            raise self.corrupt(f"expected a batch {batch}, got {len(self.blocks)} batches")
        block = self.blocks[batch]
        try:
            message = read_message(self.descriptor, block, with_metadata=False)
            found = locate_columns(block, message, self.columns)
        except CorruptError as error:
            raise self.corrupt(str(error)) from None
        for extent in found:
            if extent.offsets is not None:
                advise(self.descriptor, extent.offsets, 8 * (extent.rows + 1), "WILLNEED")
        self._rows[batch] = message.rows
        return message.rows, dict(zip(self._names, found, strict=True))

    def offsets(self, extent: Extent) -> memoryview:
        """The rows + 1 offsets of a bytes column, int64: one read."""
        try:
            return read_offsets(self.descriptor, extent, 0, extent.rows)
        except CorruptError as error:
            raise self.corrupt(str(error)) from None

    def read(self, extent: Extent, offsets: memoryview, row: int, length: int) -> list[bytes]:
        """Rows ``row`` … ``row + length − 1`` of a bytes column, in one read."""
        try:
            return read_bytes_rows(self.descriptor, extent, offsets, row, length)
        except CorruptError as error:
            raise self.corrupt(str(error)) from None

    def expect(self, extent: Extent, offsets: memoryview, row: int, length: int) -> None:
        """Let the disk begin with what `read` will ask for next."""
        start, stop = offsets[row], offsets[row + length]
        if 0 <= start < stop <= extent.size:  # else `read` will say what is wrong
            advise(self.descriptor, extent.values + start, stop - start, "WILLNEED")

    def read_fixed(
        self, extent: Extent, column: Column, row: int, length: int
    ) -> np.ndarray[Any, Any]:
        """Rows ``row`` … ``row + length − 1`` of a column of fixed size, in one read."""
        try:
            return read_fixed_rows(self.descriptor, extent, column, row, length)
        except CorruptError as error:
            raise self.corrupt(str(error)) from None

    def corrupt(self, what: str) -> CorruptError:
        """Make the error for damage in this shard."""
        return CorruptError(f"{self.path}: {what}; run `flowkit verify --repair`")


def advise(descriptor: int, start: int, length: int, advice: str) -> None:
    """Tell the kernel what will be read, where it listens (Linux)."""
    if hasattr(os, "posix_fadvise"):
        os.posix_fadvise(descriptor, start, length, getattr(os, f"POSIX_FADV_{advice}"))


class Shards:
    """The shards of a store, opened when they are needed."""

    def __init__(self, root: Path, names: list[str]) -> None:
        limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        count = OPEN_SHARDS if limit < 0 else max(4, min(OPEN_SHARDS, limit // 8))
        opened = lru_cache(count)(lambda number: ShardReader(root, names[number]))
        extents = lru_cache(BATCHES)(lambda number, batch: opened(number).extents(batch))
        self.open, self.extents = opened, extents
        self._offsets = lru_cache(OFFSETS)(
            lambda number, batch, column: opened(number).offsets(extents(number, batch)[1][column])
        )

    def read(
        self, number: int, batch: int, columns: tuple[str, ...], row: int, length: int
    ) -> list[list[bytes]]:
        """``length`` rows of some columns, from ``row`` counted from the start of ``batch``."""
        rows, extents = self.extents(number, batch)
        if row + length <= rows:
            reader = self.open(number)
            places = [(extents[c], self._offsets(number, batch, c)) for c in columns]
            for extent, offsets in places[1:]:
                reader.expect(extent, offsets, row, length)
            return [reader.read(extent, offsets, row, length) for extent, offsets in places]
        parts: list[list[bytes]] = [[] for _ in columns]
        for its_batch, start, count in self.list_spans(number, batch, row, length):
            pieces = self.read(number, its_batch, columns, start, count)
            for part, piece in zip(parts, pieces, strict=True):
                part += piece
        return parts

    def list_spans(
        self, number: int, batch: int, row: int, length: int
    ) -> list[tuple[int, int, int]]:
        """The (batch, first row, rows) that hold ``length`` rows from ``row`` of ``batch`` on."""
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

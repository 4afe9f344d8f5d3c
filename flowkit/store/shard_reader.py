"""Read committed shards with ``pread``, through bounded caches.

The caches are ``functools.lru_cache``, which is thread-safe and has no lock that a forked child
could inherit in a locked state. A descriptor is closed when its last reference is dropped, so never
during a read. After a fork, both processes can use it, since ``pread`` has no file position.
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
from flowkit.store.format.schema import shard_columns
from flowkit.streams import Column

OPEN_SHARDS = 128
"""Shards that are kept open; fewer if the process may open only few files."""
BATCHES = 16384
"""Batches whose column positions are cached, 1 kB each."""
OFFSETS = 6144
"""Batch columns whose offsets are cached: 2.4 kB for 300 frames, at most 8 kB each."""

Extents = dict[str, Extent]


class ShardReader:
    """One open shard.

    Args:
        root: Folder of the store.
        name: Name of the shard, ``folder/uuid``.

    Raises:
        CorruptError: The file is missing or broken.
        StoreError: The file cannot be opened.
    """

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
        # Snippets are read whole, at random places: readahead would only delay other reads.
        advise(self.descriptor, 0, 0, "RANDOM")
        self.blocks = read_footer(self.descriptor, self.path)
        self._names = tuple(column.name for column in self.columns)
        self._rows = array("i", [-1]) * len(self.blocks)

    def __del__(self) -> None:
        if hasattr(self, "descriptor"):
            os.close(self.descriptor)

    def rows(self, batch: int) -> int:
        """Return the number of rows of a batch."""
        if batch >= len(self.blocks) or self._rows[batch] < 0:
            self.extents(batch)
        return self._rows[batch]

    def extents(self, batch: int) -> tuple[int, Extents]:
        """Read from the header of a batch its number of rows and where its columns lie."""
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
        """Read the rows + 1 offsets of a byte-string column, int64, in one read."""
        try:
            return read_offsets(self.descriptor, extent, 0, extent.rows)
        except CorruptError as error:
            raise self.corrupt(str(error)) from None

    def read(self, extent: Extent, offsets: memoryview, row: int, length: int) -> list[bytes]:
        """Read rows ``row`` … ``row + length − 1`` of a byte-string column, in one read."""
        try:
            return read_bytes_rows(self.descriptor, extent, offsets, row, length)
        except CorruptError as error:
            raise self.corrupt(str(error)) from None

    def expect(self, extent: Extent, offsets: memoryview, row: int, length: int) -> None:
        """Ask the kernel to load the bytes that `read` will read next."""
        start, stop = offsets[row], offsets[row + length]
        if 0 <= start < stop <= extent.size:  # otherwise `read` raises the error
            advise(self.descriptor, extent.values + start, stop - start, "WILLNEED")

    def read_fixed(
        self, extent: Extent, column: Column, row: int, length: int
    ) -> np.ndarray[Any, Any]:
        """Read rows ``row`` … ``row + length − 1`` of a fixed-size column, in one read."""
        try:
            return read_fixed_rows(self.descriptor, extent, column, row, length)
        except CorruptError as error:
            raise self.corrupt(str(error)) from None

    def corrupt(self, what: str) -> CorruptError:
        """Make the error for damage in this shard."""
        return CorruptError(f"{self.path}: {what}; run `flowkit verify --repair`")


def advise(descriptor: int, start: int, length: int, advice: str) -> None:
    """Advise the kernel how a file will be read, where this is supported (Linux)."""
    if hasattr(os, "posix_fadvise"):
        os.posix_fadvise(descriptor, start, length, getattr(os, f"POSIX_FADV_{advice}"))


class Shards:
    """The shards of a store, each opened on first use."""

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
        """Read ``length`` rows of some columns; ``row`` counts from the start of ``batch``."""
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
        """List the (batch, first row, rows) that hold ``length`` rows from ``row`` of ``batch``."""
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

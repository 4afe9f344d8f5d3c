"""Read committed shards with ``pread``, or from object storage, through bounded caches.

The caches are ``functools.lru_cache``, which is thread-safe and has no lock that a forked child
could inherit in a locked state. A descriptor is closed when its last reference is dropped, so never
during a read. After a fork, both processes can use it, since ``pread`` has no file position.
"""

import os
import resource
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from flowkit.errors import CorruptError, StoreError, UsageError
from flowkit.recipe import StoreRecipe
from flowkit.store.format.checksums import Checksums, parse_checksums
from flowkit.store.format.column_rows import read_bytes_rows, read_fixed_rows, read_offsets
from flowkit.store.format.columns import MISSING
from flowkit.store.format.layout import (
    Descriptor,
    Extent,
    locate_columns,
    read_footer,
    read_message,
)
from flowkit.store.format.location import read_mirror_url
from flowkit.store.format.schema import shard_columns, vector_dimension
from flowkit.store.index_view import Location
from flowkit.store.prefetch import Prefetcher, Read
from flowkit.store.read_checks import ReadChecks
from flowkit.store.remote.files import RemoteFile
from flowkit.store.remote.shards import fetch_remote_shard, open_remote_shards

OPEN_SHARDS = 128
"""Shards that are kept open; fewer if the process may open only few files."""
BATCHES = 16384
"""Batches whose column positions are cached, 1 kB each."""
OFFSETS = 6144
"""Batch columns whose offsets are cached: 2.4 kB for 300 frames, at most 8 kB each."""


class ShardReader:
    """One open shard.

    Args:
        root: Folder of the store, or the mirror of a remote one.
        name: Name of the shard, ``folder/uuid``.

    Raises:
        CorruptError: The file is missing or broken.
        StoreError: The file cannot be opened.
    """

    descriptor: Descriptor
    """The descriptor of the file, or what reads it from object storage."""

    def __init__(self, root: Path, name: str) -> None:
        self.path = root / f"{name}.arrow"
        self.columns = shard_columns(name.rpartition("/")[0])
        try:
            self.descriptor = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            remote = open_remote_shards(root, [name])
            if not remote:
                raise CorruptError(
                    f"{self.path}: expected a committed shard, found no file; run `flowkit verify "
                    "--repair`, or open the store again if that was done meanwhile"
                ) from None
            self.descriptor = remote[0]
        except OSError as error:
            raise StoreError(
                f"cannot open {self.path}: {error.strerror}; check permissions and `ulimit -n`"
            ) from None
        # Snippets are read in random order, so reading ahead would only delay other reads.
        advise_kernel(self.descriptor, 0, 0, "RANDOM")
        try:
            self.blocks = read_footer(self.descriptor)
        except CorruptError as error:
            raise self.make_error(error) from None

    def __del__(self) -> None:
        descriptor = getattr(self, "descriptor", None)
        if isinstance(descriptor, int):
            os.close(descriptor)

    def locate_columns(self, batch: int) -> dict[str, Extent]:
        """Read from the header of a batch where its columns are."""
        try:
            if batch >= len(self.blocks):
                raise CorruptError(f"expected a batch {batch}, got {len(self.blocks)} batches")
            block = self.blocks[batch]
            message = read_message(self.descriptor, block, with_metadata=False)
            extents = locate_columns(block, message, self.columns)
        except CorruptError as error:
            raise self.make_error(error) from None
        for extent in extents:
            if extent.offsets_position is not None:
                advise_kernel(
                    self.descriptor, extent.offsets_position, 8 * (extent.rows + 1), "WILLNEED"
                )
        names = [column.name for column in self.columns]
        return dict(zip(names, extents, strict=False))  # optional columns may be missing

    def read_offsets(self, extent: Extent) -> memoryview:
        """Read the rows + 1 offsets of a byte-string column, int64, in one read."""
        return read_offsets(self.descriptor, extent, 0, extent.rows)

    def read_checksums(self, batch: int) -> Checksums:
        """Read the checksums of a batch from its header."""
        try:
            return parse_checksums(read_message(self.descriptor, self.blocks[batch]))
        except CorruptError as error:
            raise self.make_error(error) from None

    def make_error(self, error: CorruptError) -> CorruptError:
        """Add the path of this shard to an error, and what to do."""
        if isinstance(self.descriptor, RemoteFile):
            return self.descriptor.make_error(error)
        return CorruptError(f"{self.path}: {error}; run `flowkit verify --repair`")


def advise_kernel(descriptor: Descriptor, start: int, length: int, advice: str) -> None:
    """Advise the kernel how a file will be read, where this is supported (Linux)."""
    if isinstance(descriptor, int) and hasattr(os, "posix_fadvise"):
        os.posix_fadvise(descriptor, start, length, getattr(os, f"POSIX_FADV_{advice}"))


class Shards:
    """The shards of a store, each opened on first use.

    Args:
        root: Folder of the store.
        names: Names of the shards, ``folder/uuid``, by shard index.
        recipe: The recipe of the store.
        with_checks: Whether to compare all that is read with its checksums.
    """

    def __init__(
        self, root: Path, names: list[str], recipe: StoreRecipe, with_checks: bool = False
    ) -> None:
        limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        count = OPEN_SHARDS if limit < 0 else max(4, min(OPEN_SHARDS, limit // 8))
        opened = lru_cache(count)(lambda shard: ShardReader(root, names[shard]))
        located = lru_cache(BATCHES)(lambda shard, batch: opened(shard).locate_columns(batch))
        self._open, self._locate, self._recipe = opened, located, recipe
        self._root, self._names = root, names
        self._checks = ReadChecks(opened, located) if with_checks else None
        self._offsets = lru_cache(OFFSETS)(
            lambda shard, batch, column: opened(shard).read_offsets(located(shard, batch)[column])
        )
        is_remote = read_mirror_url(root) is not None
        self._prefetcher = None if not is_remote else Prefetcher(
            open_shards=lambda shards: open_remote_shards(root, [names[k] for k in shards]),
            open=opened, locate=located, read_offsets=self._offsets, list_spans=self.list_spans,
        )  # fmt: skip

    def locate(self, shard: int, batch: int, column: str) -> tuple[Path, Extent]:
        """Locate a column of one batch.

        Args:
            shard: Index of the shard in the list of shards of the index.
            batch: Index of the batch in the shard, from 0.
            column: Name of the column, such as ``"rgb"``.

        Returns:
            The path of the shard file, and where the column is in it.

        Raises:
            CorruptError: The file is not what was committed.
        """
        return self._open(shard).path, self._locate(shard, batch)[column]

    def fetch(self, shard: int) -> Path:
        """Return the path of a whole shard file, for mapping; a remote one is downloaded first."""
        fetch_remote_shard(self._root, self._names[shard])
        return self._root / f"{self._names[shard]}.arrow"

    @property
    def is_remote(self) -> bool:
        """Whether the shards are on object storage, so that reads should be announced."""
        return self._prefetcher is not None

    def prefetch(self, reads: Iterable[Read]) -> None:
        """Request what later calls of `read_bytes` need side by side; only for a remote store."""
        if self._prefetcher is not None:
            self._prefetcher.prefetch(list(reads))

    def list_spans(self, location: Location) -> list[tuple[int, int, int]]:
        """List the batches that hold the rows at a location, as (batch, first row, rows)."""
        shard, batch, row, length = location
        spans = []
        while length:
            if self._checks is not None:
                self._checks.check_header(shard, batch)
            rows = next(iter(self._locate(shard, batch).values())).rows
            if row < rows:
                spans.append((batch, row, min(length, rows - row)))
                length -= spans[-1][2]
            row = max(0, row - rows)
            batch += 1
        return spans

    def read_bytes(
        self, location: Location, columns: tuple[str, ...], t: int, length: int
    ) -> list[list[bytes]]:
        """Read consecutive rows of byte-string columns of one video.

        The range is not checked here; `Video` does that.

        Args:
            location: Where the stream of the video is stored.
            columns: Names of the columns.
            t: First row to read, from 0 at the start of the video.
            length: Number of rows.

        Returns:
            For each column, the values of its rows.
        """
        shard, batch, first_row, _ = location
        row = first_row + t
        if row + length <= self._locate(shard, batch)[columns[0]].rows:
            return self._read_span(shard, columns, batch, row, length, t)
        parts = []
        for span in self.list_spans(Location(shard, batch, row, length)):
            parts.append(self._read_span(shard, columns, *span, t))
            t += span[2]
        return [[value for part in parts for value in part[k]] for k in range(len(columns))]

    def _read_span(
        self, shard: int, columns: tuple[str, ...], batch: int, row: int, length: int, t: int
    ) -> list[list[bytes]]:
        """Read rows of one batch, and check them; ``t`` is the first one, counted in the video."""
        reader, located = self._open(shard), self._locate(shard, batch)
        try:
            extents = [(located[c], self._offsets(shard, batch, c)) for c in columns]
            for extent, offsets in extents[1:]:
                start, stop = offsets[row], offsets[row + length]
                if 0 <= start < stop <= extent.values_bytes:  # otherwise reading raises an error
                    position = extent.values_position + start
                    advise_kernel(reader.descriptor, position, stop - start, "WILLNEED")
            values = [
                read_bytes_rows(reader.descriptor, extent, offsets, row, length)
                for extent, offsets in extents
            ]
        except CorruptError as error:
            raise reader.make_error(error) from None
        if self._checks is not None:
            for column, data in zip(columns, values, strict=True):
                k = self._checks.check_rows(shard, batch, column, row, data)
                if k is not None:
                    place = f"row {t + k} of the video (batch {batch} of the shard)"
                    message = f"checksum mismatch in column {column}, {place}"
                    raise reader.make_error(CorruptError(message))
        return values

    def check_column(self, location: Location, column: str) -> None:
        """Check a column of all batches that hold the rows of a video, each of them once.

        Nothing is done unless the shards are read with checks.

        Args:
            location: Where the stream of the video is stored.
            column: Name of the column.

        Raises:
            CorruptError: The bytes do not have their checksum.
        """
        if self._checks is not None:
            for batch, _, _ in self.list_spans(location):
                self._checks.check_column(location.shard, batch, column)

    def read_optional(
        self, location: Location, stream: str, column: str
    ) -> np.ndarray[Any, Any] | None:
        """Read all rows of one video in an optional column; None if a row has no value."""
        if not self.has_column(location, column):
            return None
        values = self.read_fixed(location, stream, column)
        return None if (values == MISSING).any() else values

    def has_column(self, location: Location, column: str) -> bool:
        """Return whether the shard of a video has a column, which may be an optional one."""
        return not location.rows or column in self._locate(location.shard, location.batch)

    def read_fixed(self, location: Location, stream: str, column: str) -> np.ndarray[Any, Any]:
        """Read all rows of one video in a column of fixed-size values.

        Args:
            location: Where the stream of the video is stored.
            stream: Name of the stream, such as ``"audio"`` or ``"features/rgb"``.
            column: Name of the column.

        Returns:
            (rows, dimension) for vectors, (rows,) for numbers.

        Raises:
            UsageError: The stream has no such column, or its values have no fixed size.
        """
        reader = self._open(location.shard)
        fixed = {c.name: c for c in reader.columns if c.kind != "bytes"}.get(column)
        if fixed is None or not self.has_column(location, column):
            raise UsageError(f"stream {stream} has no column {column!r} of fixed size")
        shape: tuple[int, ...] = ()
        if fixed.kind == "vector":
            shape = (vector_dimension(stream, self._recipe) or 0,)
        parts = []
        for batch, row, rows in self.list_spans(location):
            located = self._locate(location.shard, batch)
            try:
                if column not in located:
                    raise CorruptError(f"expected column {column} in batch {batch}")
                part = read_fixed_rows(reader.descriptor, located[column], fixed, row, rows)
                if part.shape[1:] != shape:
                    message = f"expected vectors of {shape[0]} values in batch {batch}"
                    raise CorruptError(f"{message}, got {part.shape[1]}")
            except CorruptError as error:
                raise reader.make_error(error) from None
            if self._checks is not None:
                self._checks.check_column(location.shard, batch, column)
            parts.append(part)
        return np.concatenate(parts) if parts else np.empty((0, *shape), fixed.dtype)

"""Check what is read from shards against their checksums, for ``Store(path, verify="read")``.

Images are checked one by one, each time they are read. Shards of older versions have no checksums
of images, and values of a fixed size never have: there, the whole column of a batch is checked when
a process first reads from it. Both kinds of results are remembered in bounded caches, which are
``functools.lru_cache`` for the reasons that shard_reader.py gives.
"""

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Protocol
from zlib import crc32

from flowkit.errors import CorruptError
from flowkit.store.format.checksums import Checksums
from flowkit.store.format.layout import Descriptor, Extent, column_crc

KEPT_BATCHES = 4096
"""Batches whose checksums are cached: 3.6 kB for 300 frames with flow, at most 12 kB each."""
KEPT_COLUMNS = 1 << 17
"""Columns of batches that are remembered as checked, about 200 bytes each."""


class CheckedShard(Protocol):
    """The part of an open shard that is needed to check it."""

    descriptor: Descriptor

    def read_checksums(self, batch: int) -> Checksums:
        """Read the checksums of a batch."""

    def make_error(self, error: CorruptError) -> CorruptError:
        """Add the path of the shard to an error, and what to do."""


class ReadChecks:
    """Compares rows and columns of batches with their checksums.

    Args:
        open_shard: Opens a shard by its index.
        locate: Locates the columns of a batch of a shard.
    """

    def __init__(
        self,
        open_shard: Callable[[int], CheckedShard],
        locate: Callable[[int, int], dict[str, Extent]],
    ) -> None:
        checksums = lru_cache(KEPT_BATCHES)(
            lambda shard, batch: open_shard(shard).read_checksums(batch)
        )

        def check(shard: int, batch: int, column: str) -> None:
            opened, extent = open_shard(shard), locate(shard, batch)[column]
            expected = checksums(shard, batch).columns.get(column)
            try:
                if column_crc(opened.descriptor, extent) != expected:
                    raise CorruptError(f"checksum mismatch in column {column} of batch {batch}")
            except CorruptError as error:
                raise opened.make_error(error) from None

        self._checksums: Callable[[int, int], Checksums] = checksums
        self.check_column: Callable[[int, int, str], None] = lru_cache(KEPT_COLUMNS)(check)
        """Check a column of a batch of a shard once, by reading all of it."""

    def check_header(self, shard: int, batch: int) -> None:
        """Check the number of rows of a batch; CorruptError if its header is damaged."""
        self._checksums(shard, batch)

    def check_rows(
        self, shard: int, batch: int, column: str, row: int, values: Sequence[bytes]
    ) -> int | None:
        """Check the values of consecutive rows of a column of byte strings.

        Args:
            shard: Index of the shard.
            batch: Index of the batch in the shard.
            column: Name of the column.
            row: First row, counted in the batch from 0.
            values: What was read.

        Returns:
            Index of the first value that does not have its checksum; None if all have it.

        Raises:
            CorruptError: The batch is damaged, and has no checksums of rows.
        """
        expected = self._checksums(shard, batch).rows.get(column)
        if expected is None:
            self.check_column(shard, batch, column)
            return None
        found, wanted = list(map(crc32, values)), expected[row : row + len(values)].tolist()
        if found == wanted:
            return None
        return next(k for k, crc in enumerate(found) if crc != wanted[k])

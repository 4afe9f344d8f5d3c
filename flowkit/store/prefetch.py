"""Request what many reads of a remote store need side by side, before they are made.

A read of a shard on object storage takes a round trip. Many reads together take one round of
requests for their values, and up to three more where shards and batches are new: for the footers of
the shards, the headers of the batches, and the offsets of the columns.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from flowkit.store.format.layout import Block, Descriptor, Extent
from flowkit.store.format.schema import BATCH_ROWS
from flowkit.store.index_view import Location
from flowkit.store.remote.files import RemoteFile, WantedRange
from flowkit.store.remote.page_cache import PAGE

Read = tuple[Location, tuple[str, ...], int, int]
"""Arguments of `Shards.read_bytes`: location, columns, first row, rows."""
KEPT_KEYS = 24576
"""Most entries of `Prefetcher.requested`: more than the caches hold headers and offsets."""


class OpenShard(Protocol):
    """The part of an open shard that a prefetch needs."""

    descriptor: Descriptor
    blocks: list[Block]


@dataclass(frozen=True, kw_only=True)
class Prefetcher:
    """Requests what reads need. Its functions are those of `flowkit.store.shard_reader.Shards`."""

    open_shards: Callable[[Sequence[int]], object]
    """Requests the footers of shards, by their indices."""
    open: Callable[[int], OpenShard]
    """Opens a shard."""
    locate: Callable[[int, int], dict[str, Extent]]
    """Locates the columns of a batch of a shard."""
    read_offsets: Callable[[int, int, str], memoryview]
    """Reads the offsets of a column of a batch of a shard."""
    list_spans: Callable[[Location], list[tuple[int, int, int]]]
    """Lists the batches that hold the rows at a location, as (batch, first row, rows)."""
    requested: set[tuple[Any, ...]] = field(default_factory=set)
    """The shards, batches and columns whose footers, headers and offsets were requested."""

    def prefetch(self, reads: Sequence[Read]) -> None:
        """Request what some reads need."""
        new_shards = self._list_new((shard,) for (shard, *_), *_ in reads)
        if new_shards:
            self.open_shards([shard for (shard,) in new_shards])
        batches = [
            (shard, batch + k, columns)
            for (shard, batch, first_row, _), columns, t, length in reads
            for k in list_batch_offsets(first_row + t, length)
            if batch + k < len(self.open(shard).blocks)
        ]
        self._load(
            self._find_header(shard, batch)
            for shard, batch in self._list_new((shard, batch) for shard, batch, _ in batches)
        )
        new_columns = self._list_new(
            (shard, batch, column) for shard, batch, columns in batches for column in columns
        )
        self._load(self._find_offsets(*key) for key in new_columns)
        self._load(values for read in reads for values in self._list_values(*read))

    def _list_new(self, keys: Iterable[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
        """Return the distinct keys that were not requested before."""
        if len(self.requested) > KEPT_KEYS:
            self.requested.clear()
        new = list(dict.fromkeys(key for key in keys if key not in self.requested))
        self.requested.update(new)
        return new

    def _load(self, ranges: Iterable[tuple[int, int, int]]) -> None:
        """Load ranges (shard, start, stop) side by side."""
        wanted = []
        for shard, start, stop in ranges:
            descriptor = self.open(shard).descriptor
            if isinstance(descriptor, RemoteFile) and start < stop:
                wanted.append(WantedRange(descriptor, start, min(stop, descriptor.size)))
        if wanted:
            wanted[0].file.files.load(wanted)

    def _find_header(self, shard: int, batch: int) -> tuple[int, int, int]:
        """Find the header of a batch, with the page behind it, where the first offsets are."""
        block = self.open(shard).blocks[batch]
        return shard, block.position, block.position + block.header_bytes + PAGE

    def _find_offsets(self, shard: int, batch: int, column: str) -> tuple[int, int, int]:
        """Find the offsets of a column; an empty range for one without."""
        extent = self.locate(shard, batch).get(column)
        if extent is None or extent.offsets_position is None:
            return shard, 0, 0
        start = extent.offsets_position
        return shard, start, start + 8 * (extent.rows + 1)

    def _list_values(
        self, location: Location, columns: tuple[str, ...], t: int, length: int
    ) -> list[tuple[int, int, int]]:
        """List where the values of some rows are, as (shard, start, stop)."""
        shard, batch, first_row, _ = location
        ranges = []
        for span_batch, row, rows in self.list_spans(Location(shard, batch, first_row + t, length)):
            extents = self.locate(shard, span_batch)
            for column in (name for name in columns if name in extents):
                extent = extents[column]
                if extent.offsets_position is None:
                    row_bytes = extent.values_bytes // max(1, extent.rows)
                    start, stop = row_bytes * row, row_bytes * (row + rows)
                else:
                    offsets = self.read_offsets(shard, span_batch, column)
                    start, stop = offsets[row], offsets[row + rows]
                if 0 <= start < stop <= extent.values_bytes:  # otherwise reading raises an error
                    position = extent.values_position
                    ranges.append((shard, position + start, position + stop))
        return ranges


def list_batch_offsets(first_row: int, length: int) -> range:
    """List which batches from the first one may hold some rows, if each has `BATCH_ROWS`."""
    return range(first_row // BATCH_ROWS, (first_row + length - 1) // BATCH_ROWS + 1)

"""Read single fields of a memory-mapped ``index.arrow`` without decoding the rest."""

from bisect import bisect_left
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from flowkit.store.index_file import check_column, check_rows, make_index_error, open_index
from flowkit.streams import STEP_STREAMS, count_empty_rows

SAMPLES = 4096
"""Ids that are kept in memory, so that a search reads only a few others from the index."""


class Location(NamedTuple):
    """Where a stream of a video is stored."""

    shard: int
    """Index of the shard in `IndexView.shards`."""
    batch: int
    """Index of the first batch in the shard."""
    first_row: int
    """The first row of the video in this batch."""
    rows: int
    """Number of rows, also in the batches that follow."""


class IndexView:
    """The rows of an index, sorted by the UTF-8 bytes of their ids.

    Args:
        root: Folder of the store.
        flow_step: ``flow.step`` of the store's recipe.

    Attributes:
        empty_rows: Rows without data at the start and the end of a video, for the streams that
            have any.
        classes: Class names, by class id.
        shards: Shard names (``folder/uuid``), by shard index.
        streams: The streams that have a column.

    Raises:
        StoreError: There is no index.
        CorruptError: The index is broken.
    """

    def __init__(self, root: Path, flow_step: int = 1) -> None:
        self.empty_rows = {name: count_empty_rows(name, flow_step) for name in STEP_STREAMS}
        self._root, self._file = root, open_index(root)
        self.version, self.classes = self._file.version, self._file.classes
        self.shards = self._file.shards
        self._checked: dict[str, Any] = {}
        try:
            self._read_columns()
        except (ValueError, TypeError) as error:
            raise make_index_error(root, error) from None

    @cached_property
    def batch(self) -> Any:
        """Return all rows as a ``pyarrow.RecordBatch``, whose values are checked once."""
        check_rows(self._root, self._file)
        return self._file.batch

    def _read_columns(self) -> None:
        """Find the columns of ids, frame counts and locations in the memory map."""
        batch = self._file.batch
        self.rows: int = batch.num_rows
        _, offsets, data = batch.column("id").buffers()
        self._offsets = memoryview(offsets)[: 8 * (self.rows + 1)].cast("q")
        self._data = memoryview(data) if data is not None else memoryview(b"")
        self._frames = view_int32(batch.column("frames"), self.rows)
        self._locations: dict[str, tuple[memoryview | None, list[memoryview]]] = {}
        for field in batch.schema:
            if pa.types.is_struct(field.type):
                column = batch.column(field.name)
                valid = column.buffers()[0] if column.null_count else None
                fields = [view_int32(column.field(k), self.rows) for k in range(4)]
                self._locations[field.name] = (memoryview(valid) if valid else None, fields)
        self.streams = tuple(self._locations)

    def id(self, row: int) -> str:
        """Return the id of a row."""
        try:
            return str(self._read_key(row), "utf-8")
        except UnicodeDecodeError as error:
            raise make_index_error(self._root, error) from None

    def _read_key(self, row: int) -> bytes:
        """Read the id of a row as UTF-8."""
        return self._data[self._offsets[row] : self._offsets[row + 1]].tobytes()

    def bisect(self, key: bytes) -> int:
        """Return the first row whose id is not below ``key``."""
        offsets, data = self._offsets, self._data
        stride, samples = self._samples
        block = bisect_left(samples, key)
        low, high = max(0, (block - 1) * stride), min(block * stride, self.rows)
        while low < high:
            middle = (low + high) >> 1
            if data[offsets[middle] : offsets[middle + 1]].tobytes() < key:
                low = middle + 1
            else:
                high = middle
        return low

    @cached_property
    def _samples(self) -> tuple[int, list[bytes]]:
        """Return evenly spaced ids, which make the first steps of a search fast."""
        stride = self.rows // SAMPLES + 1
        return stride, [self._read_key(row) for row in range(0, self.rows, stride)]

    def count_subsets(self) -> dict[str, int]:
        """Return the number of videos in each subset, sorted by name."""
        counts = pc.value_counts(self.batch.column("subsets").flatten()).to_pylist()
        return dict(sorted((count["values"], count["counts"]) for count in counts))

    def find(self, key: bytes) -> int:
        """Return the row of an id, given as UTF-8, or −1."""
        row = self.bisect(key)
        return row if row < self.rows and self._read_key(row) == key else -1

    def find_rows(self, ids: Sequence[str]) -> np.ndarray[Any, Any]:
        """Find many ids at once, in a tenth of the time of as many searches.

        Args:
            ids: The ids.

        Returns:
            (ids,) int32, −1 where there is no such video.

        Raises:
            CorruptError: The index is damaged.
        """
        keys = pa.array([id.encode(errors="surrogatepass") for id in ids], pa.large_binary())
        stored = self.column("id").cast(pa.large_binary())
        rows: np.ndarray[Any, Any] = pc.index_in(keys, stored).fill_null(-1).to_numpy()
        return rows

    def count_frames(self, row: int) -> int:
        """Return the number of frames of a row, which is read without checking the column."""
        frames = self._frames[row]
        if frames < 0:
            raise make_index_error(self._root, f"row {row} has {frames} frames")
        return frames

    def locate(self, stream: str, row: int) -> Location | None:
        """Return where a stream of a row is stored; None if the row does not have the stream."""
        if stream not in self._locations:
            return None
        valid, (shard, batch, first_row, rows) = self._locations[stream]
        if valid is not None and not valid[row >> 3] >> (row & 7) & 1:
            return None
        location = Location(shard[row], batch[row], first_row[row], rows[row])
        if min(location) < 0 or location.shard >= len(self.shards):
            raise make_index_error(self._root, f"{stream} of row {row} is at {tuple(location)}")
        return location

    def read_commit_time(self, stream: str, row: int) -> float | None:
        """Return when a stream of a row was committed, in seconds since 1970; None without it."""
        location = self.locate(stream, row)
        return None if location is None else self._file.records[location.shard][1] / 1e9

    def count(self, stream: str, row: int) -> int:
        """Count the frames, flow fields, patches or features of a row, 0 without the stream."""
        location = self.locate(stream, row)
        at_start, at_end = self.empty_rows.get(stream, (0, 0))
        return 0 if location is None else max(0, location.rows - at_start - at_end)

    def value(self, name: str, row: int) -> Any:
        """Return any other field of a row; None if the index is older than that field."""
        column = self.column(name)
        return None if column is None else column[row].as_py()

    def column(self, name: str) -> Any:
        """Return a column, whose values are checked once; None if the index is older than it.

        Raises:
            CorruptError: The index is damaged.
        """
        column = self._checked.get(name)
        if column is None and name in self._file.batch.schema.names:
            column = self._checked[name] = check_column(self._root, self._file, name)
        return column


def view_int32(column: Any, rows: int) -> memoryview:
    """View an int32 column in the memory map without copying it."""
    data = column.buffers()[-1]
    return memoryview(data)[: 4 * rows].cast("i") if rows else memoryview(b"").cast("i")

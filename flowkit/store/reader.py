"""Reading a store: ``Store(path)[id].snippet(t)``."""

import difflib
import operator
import os
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, overload

import numpy as np

from flowkit.errors import StoreError, UsageError
from flowkit.recipe import Recipe
from flowkit.store.format.header import StoreHeader, read_header
from flowkit.store.format.layout import Extent
from flowkit.store.format.schema import vector_dimension
from flowkit.store.index_view import IndexView, Place
from flowkit.store.shard_reader import Shards
from flowkit.store.video import Video

NEIGHBOURS = 200


class Store:
    """A store, open for reading: a sequence of videos, sorted by the UTF-8 bytes of their ids.

    It sees the index as it was when it was opened, whatever is written meanwhile. Threads and
    forked processes can share it. It pickles as path and version: the copy opens the store again on
    its first use, and raises a StoreError if the index is of another version by then, since rows
    may have moved.

    FormatError where there is no store or a newer one, StoreError where it has no index.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path).resolve()
        self._wanted: int | None = None
        self._wanted = self.index.version

    def __getstate__(self) -> dict[str, Any]:
        return {"path": self.path, "version": self.version}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.path, self._wanted = state["path"], state["version"]

    def __repr__(self) -> str:
        return f"Store({str(self.path)!r}: {len(self)} videos)"

    @cached_property
    def header(self) -> StoreHeader:
        """The content of store.json."""
        return read_header(self.path)

    @property
    def recipe(self) -> Recipe:
        """What decides the bytes of the store."""
        return self.header.recipe

    @cached_property
    def bound(self) -> float:
        """The displacement in pixels that flow is clipped at; 0 without flow."""
        return self.recipe.flow.bound if self.recipe.flow else 0.0

    @cached_property
    def index(self) -> IndexView:
        """The mapped index; ``index.batch`` is the whole of it, a ``pyarrow.RecordBatch``."""
        _ = self.header
        index = IndexView(self.path)
        if self._wanted not in (None, index.version):
            raise StoreError(
                f"{self.path}: expected index version {self._wanted}, which the store was opened "
                f"with, got {index.version}, as it was rebuilt meanwhile; open the store again"
            )
        return index

    @cached_property
    def _shards(self) -> Shards:
        return Shards(self.path, self.index.shards)

    @property
    def version(self) -> int:
        """The version of the index, which grows with each rebuild."""
        return self.index.version if self._wanted is None else self._wanted

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes, by class id."""
        return self.index.classes

    def __len__(self) -> int:
        return self.index.rows

    def __iter__(self) -> Iterator[str]:
        return iter(self.ids)

    def __contains__(self, id: object) -> bool:
        return isinstance(id, str) and self.find(id) is not None

    def find(self, id: str) -> int | None:
        """The row of a video, or None."""
        try:
            row = self.index.find(id.encode())
        except UnicodeEncodeError:
            return None
        return None if row < 0 else row

    def __getitem__(self, key: str | int) -> Video:
        """The video of an id, or in a row (from the end if negative); UsageError if none."""
        index = self.index
        if isinstance(key, str):
            row = index.find(key.encode(errors="surrogatepass"))
            if row < 0:
                raise UsageError(self._unknown(key))
            return Video(self, row)
        row = operator.index(key)
        if not -index.rows <= row < index.rows:
            raise UsageError(f"{self.path}: expected a row below {index.rows}, got {row}")
        return Video(self, row % index.rows)

    def _unknown(self, id: str) -> str:
        place = self.index.bisect(id.encode(errors="surrogatepass"))
        low, high = max(0, place - NEIGHBOURS), min(len(self), place + NEIGHBOURS)
        near = difflib.get_close_matches(id, [self.index.id(row) for row in range(low, high)])
        hint = f"; did you mean {' or '.join(map(repr, near))}?" if near else ""
        return f"{self.path}: expected the id of one of {len(self)} videos, got {id!r}{hint}"

    @property
    def ids(self) -> "Ids":
        """All ids, in order; nothing is read before it is asked for."""
        return Ids(self.index)

    def subset(self, name: str) -> np.ndarray[Any, Any]:
        """The rows of the videos in a subset, ascending int64; UsageError if nobody is in it."""
        import pyarrow.compute as pc

        column = self.index.batch.column("subsets")
        rows: np.ndarray[Any, Any] = pc.list_parent_indices(column).to_numpy()[
            pc.equal(column.flatten(), name).to_numpy(zero_copy_only=False)
        ]
        if not len(rows):
            known = ", ".join(self.subsets()) or "none"
            raise UsageError(f"{self.path}: expected a subset ({known}), got {name!r}")
        return rows

    def subsets(self) -> dict[str, int]:
        """The subsets, sorted by name, and how many videos are in each."""
        import pyarrow.compute as pc

        counts = pc.value_counts(self.index.batch.column("subsets").flatten()).to_pylist()
        return dict(sorted((count["values"], count["counts"]) for count in counts))

    def read_bytes(
        self, place: Place, columns: tuple[str, ...], t: int, length: int
    ) -> list[list[bytes]]:
        """Rows t … t + length − 1 of the bytes columns of a video; Video checks the range."""
        shard, batch, first_row, _ = place
        return self._shards.read(shard, batch, columns, first_row + t, length)

    def locate(self, shard: int, batch: int, column: str) -> tuple[Path, Extent]:
        """Locate a column of one batch in its shard file.

        Args:
            shard: Position of the shard in the index's list of shards.
            batch: Index of the batch in the shard, from 0.
            column: Name of the column, such as ``"rgb"``.

        Returns:
            The path of the shard file, and the extent of the column in it.

        Raises:
            CorruptError: The file is not what was committed.
        """
        reader = self._shards.open(shard)
        return reader.path, self._shards.extents(shard, batch)[1][column]

    def list_spans(self, place: Place) -> list[tuple[int, int, int]]:
        """The batches that the rows of a place lie in, as (batch, first row, rows)."""
        return self._shards.list_spans(*place)

    def read_fixed(self, stream: str, column: str, place: Place) -> np.ndarray[Any, Any]:
        """All rows of a video in a column of fixed size, (rows, dimension) or (rows,)."""
        shard = self._shards.open(place[0])
        found = next((known for known in shard.columns if known.name == column), None)
        if found is None or found.kind == "bytes":
            raise UsageError(f"stream {stream} has no column {column!r} of fixed size")
        parts = [
            shard.read_fixed(self._shards.extents(place[0], batch)[1][column], found, row, rows)
            for batch, row, rows in self.list_spans(place)
        ]
        if not parts:
            parts = [np.empty((0, vector_dimension(stream, self.recipe) or 0), found.dtype)]
        table = np.concatenate(parts)
        return table if found.kind == "vector" else table.reshape(-1)


class Ids(Sequence[str]):
    """The ids of a store, as a sequence that reads each when it is asked for."""

    def __init__(self, index: IndexView) -> None:
        self._index = index

    def __len__(self) -> int:
        return self._index.rows

    @overload
    def __getitem__(self, row: int) -> str: ...
    @overload
    def __getitem__(self, row: slice) -> list[str]: ...
    def __getitem__(self, row: int | slice) -> str | list[str]:
        if isinstance(row, slice):
            return [self._index.id(k) for k in range(*row.indices(len(self)))]
        if not -len(self) <= row < len(self):
            raise IndexError(row)
        return self._index.id(row % len(self))

"""List the videos of a store that meet conditions, in some order, from its index alone.

A number can be unknown: motion of a video without flow, or in a store of an older version. Such a
video meets no condition on this number, and comes last when the list is sorted by it.
"""

import operator
from collections.abc import Callable, Sequence
from difflib import get_close_matches
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from flowkit.errors import UsageError
from flowkit.store.conditions import NUMBERS, Condition
from flowkit.store.format.header import read_header
from flowkit.store.index_view import IndexView

Rows = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

INDEX_COLUMNS = {"p95": "motion_p95"}
"""Names of columns of the index that have another name here."""
INTEGERS = ("frames", "width", "height", "warnings")
COMPARISONS: dict[str, Callable[[Any, Any], Any]] = {
    "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge,
    "=": operator.eq, "!=": operator.ne,
}  # fmt: skip
SORT_KEYS = ("id", "motion", "frames", "fps", "duration")
"""Columns that the list can be sorted by."""


class VideoList:
    """The videos of a store as a table.

    Args:
        root: Folder of the store.

    Raises:
        FormatError: There is no store at ``root``.
        StoreError: The store has no index.
    """

    def __init__(self, root: Path) -> None:
        read_header(root)
        self._index = IndexView(root)

    def __len__(self) -> int:
        return self._index.rows

    def select(
        self,
        conditions: Sequence[Condition] = (),
        *,
        id_contains: str = "",
        sort: str = "id",
        descending: bool = False,
        limit: int | None = None,
    ) -> Rows:
        """Select the videos that meet all conditions.

        Args:
            conditions: The conditions.
            id_contains: Text that the id contains, in upper or lower case.
            sort: One of `SORT_KEYS`; videos with the same value are in the order of their ids.
            descending: Whether the largest value comes first.
            limit: Largest number of videos; None for all.

        Returns:
            Rows of the index.

        Raises:
            UsageError: The store has no such class or subset.
        """
        mask = np.ones(len(self), bool)
        for condition in conditions:
            mask &= self._compare(condition)
        if id_contains:
            found = pc.match_substring(
                self._index.batch.column("id"), id_contains, ignore_case=True
            )
            mask &= np.asarray(found.to_numpy(zero_copy_only=False), bool)
        rows = np.flatnonzero(mask)
        if sort != "id":
            values = self.read_numbers(sort)[rows]
            # NaN sorts last, whatever the sign.
            rows = rows[np.argsort(-values if descending else values, kind="stable")]
        elif descending:
            rows = rows[::-1]
        return rows[:limit]

    def read_numbers(self, name: str) -> npt.NDArray[np.float64]:
        """Read a column of numbers, float64 (videos,); NaN where a number is unknown."""
        batch, column = self._index.batch, INDEX_COLUMNS.get(name, name)
        values = np.full(len(self), np.nan)
        if column in batch.schema.names:
            values = convert_to_floats(batch.column(column))
        if name == "duration":
            frames, fps = self.read_numbers("frames"), self.read_numbers("fps")
            constant = np.divide(frames, fps, out=np.full(len(self), np.nan), where=fps > 0)
            values = np.where(np.isnan(values), constant, values)
        return values

    def count_classes(self) -> dict[str, int]:
        """Count the labels of each class, which is once for each video that has it once."""
        column = self._index.batch.column("labels")
        classes = view_integers(column.values.field("class"))
        counts = np.bincount(classes, minlength=len(self._index.classes))
        return dict(zip(self._index.classes, counts.tolist(), strict=True))

    def describe(self, rows: Rows) -> list[dict[str, Any]]:
        """Describe videos.

        Args:
            rows: Rows of the index.

        Returns:
            For each video its id, classes, subsets, and all of `NUMBERS`: sizes in pixels, the
            duration in seconds, motion and p95 in pixels; None where a number is unknown.
        """
        columns: dict[str, list[Any]] = {
            "id": [self._index.id(row) for row in rows.tolist()],
            "classes": self._list_texts(*self._classes, rows),
            "subsets": self._list_texts(*self._subsets, rows),
        }
        for name in NUMBERS:
            values = self.read_numbers(name)[rows]
            if name in INTEGERS:
                columns[name] = values.astype(np.int64).tolist()
            else:
                columns[name] = [None if value != value else value for value in values.tolist()]
        return [
            dict(zip(columns, values, strict=True))
            for values in zip(*columns.values(), strict=True)
        ]

    @cached_property
    def _classes(self) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
        """Offsets of the labels of each video, and the class name of each label."""
        column = self._index.batch.column("labels")
        names = np.array([*self._index.classes, ""], dtype=object)
        return view_integers(column.offsets), names[view_integers(column.values.field("class"))]

    @cached_property
    def _subsets(self) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
        """Offsets of the subsets of each video, and their names."""
        column = self._index.batch.column("subsets")
        encoded = column.values.dictionary_encode()
        names = np.array([*encoded.dictionary.to_pylist(), ""], dtype=object)
        return view_integers(column.offsets), names[view_integers(encoded.indices)]

    @staticmethod
    def _list_texts(
        offsets: npt.NDArray[Any], texts: npt.NDArray[Any], rows: Rows
    ) -> list[list[str]]:
        """List the different texts of each row, in their order."""
        starts, stops = offsets[rows].tolist(), offsets[rows + 1].tolist()
        return [
            list(dict.fromkeys(texts[start:stop].tolist()))
            for start, stop in zip(starts, stops, strict=True)
        ]

    def _compare(self, condition: Condition) -> Mask:
        """Return which videos meet a condition, (videos,)."""
        compare, value = COMPARISONS[condition.operator], condition.value
        if condition.column in NUMBERS:
            numbers = self.read_numbers(condition.column)
            is_met: Mask = compare(numbers, value) & ~np.isnan(numbers)
            return is_met
        if condition.column == "id":
            functions = dict(zip(
                COMPARISONS,
                (pc.less, pc.less_equal, pc.greater, pc.greater_equal, pc.equal, pc.not_equal),
                strict=True,
            ))  # fmt: skip
            scalar = pa.scalar(value, pa.large_string())
            result = functions[condition.operator](self._index.batch.column("id"), scalar)
            return np.asarray(result.to_numpy(zero_copy_only=False), bool)
        offsets, texts = self._classes if condition.column == "class" else self._subsets
        self._check_known(condition.column, str(value))
        has_text = np.zeros(len(self), bool)
        found = np.flatnonzero(texts == value)
        has_text[np.searchsorted(offsets, found, side="right") - 1] = True
        return has_text if condition.operator == "=" else ~has_text

    def _check_known(self, column: str, name: str) -> None:
        """Raise a UsageError if the store has no class or subset of this name."""
        known = self._index.classes if column == "class" else [*self._index.count_subsets()]
        if name in known:
            return
        matches = get_close_matches(name, known, n=1)
        shown = ", ".join(known[:10]) + (f" and {len(known) - 10} more" if len(known) > 10 else "")
        hint = f"did you mean {matches[0]!r}?" if matches else f"there are {shown or 'none'}"
        raise UsageError(f"no {column} {name!r} in the store; {hint}")


def view_integers(array: Any) -> npt.NDArray[np.int32]:
    """View an int32 array of Arrow without nulls as an array of NumPy; see `convert_to_floats`."""
    data = array.buffers()[-1] or b""
    return np.frombuffer(data, np.int32)[array.offset : array.offset + len(array)]


def convert_to_floats(column: Any) -> npt.NDArray[np.float64]:
    """Convert an int32 or float64 column of the index to float64 (videos,), with NaN for null.

    It reads the buffers itself, since ``to_numpy`` imports pandas where that is installed.
    """
    valid, data = column.buffers()
    dtype = np.int32 if pa.types.is_int32(column.type) else np.float64
    values = np.frombuffer(data or b"", dtype)[: len(column)].astype(np.float64)
    if column.null_count:
        bits = np.unpackbits(np.frombuffer(valid, np.uint8), bitorder="little")
        values[bits[: len(column)] == 0] = np.nan
    return values

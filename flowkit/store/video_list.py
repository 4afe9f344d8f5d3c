"""List the videos of a store that meet conditions, in some order, from its index alone.

A number can be unknown: motion of a video without flow, or in a store of an older version. Such a
video meets no condition on this number, and comes last when the list is sorted by it.
"""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from flowkit.store.arrow_arrays import convert_to_floats, convert_to_mask
from flowkit.store.conditions import NUMBERS, Condition
from flowkit.store.format.header import read_header
from flowkit.store.index_view import IndexView
from flowkit.store.label_columns import LabelColumns, Mask, Rows
from flowkit.store.remote.mirror import find_store_folder

INDEX_COLUMNS = {"p95": "motion_p95"}
"""Names of columns of the index that have another name here."""
INTEGERS = ("frames", "width", "height", "warnings")
COMPARISONS = {
    "<": "less", "<=": "less_equal", ">": "greater", ">=": "greater_equal",
    "=": "equal", "!=": "not_equal",
}  # fmt: skip
"""Names of the functions of NumPy and of Arrow that compare values."""
SORT_KEYS = ("id", "motion", "frames", "fps", "duration")
"""Columns that the list can be sorted by."""


class VideoList:
    """The videos of a store as a table.

    Args:
        root: Folder or URL of the store.

    Raises:
        FormatError: There is no store at ``root``.
        StoreError: The store has no index.
    """

    def __init__(self, root: Path) -> None:
        root = find_store_folder(root)
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
        numbers: npt.NDArray[np.float64] | None = None,
        descending: bool = False,
        limit: int | None = None,
    ) -> Rows:
        """Select the videos that meet all conditions.

        Args:
            conditions: The conditions.
            id_contains: Text that the id contains, in upper or lower case.
            sort: One of `SORT_KEYS`; videos with the same value are in the order of their ids.
            numbers: Numbers (videos,) to sort by instead of ``sort``; NaN where unknown.
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
            # Much faster than with `ignore_case`, which searches by a regular expression.
            found = pc.match_substring(self._lower_ids, id_contains.lower())
            mask &= convert_to_mask(found)
        rows = np.flatnonzero(mask)
        if sort != "id" or numbers is not None:
            values = (self.read_numbers(sort) if numbers is None else numbers)[rows]
            # NaN sorts last, whatever the sign.
            rows = rows[np.argsort(-values if descending else values, kind="stable")]
        elif descending:
            rows = rows[::-1]
        return rows[:limit]

    def read_numbers(self, name: str, rows: Rows | None = None) -> npt.NDArray[np.float64]:
        """Read a column of numbers.

        Args:
            name: One of `NUMBERS`.
            rows: Rows of the index; None for all.

        Returns:
            (videos,) float64, NaN where a number is unknown.
        """
        batch, column = self._index.batch, INDEX_COLUMNS.get(name, name)
        values = np.full(len(self) if rows is None else len(rows), np.nan)
        if column in batch.schema.names:
            values = convert_to_floats(batch.column(column), rows)
        if name == "duration":
            frames, fps = self.read_numbers("frames", rows), self.read_numbers("fps", rows)
            constant = np.divide(frames, fps, out=np.full(len(values), np.nan), where=fps > 0)
            values = np.where(np.isnan(values), constant, values)
        return values

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
            "classes": self.labels.list_classes(rows),
            "subsets": self.labels.list_subsets(rows),
        }
        for name in NUMBERS:
            values = self.read_numbers(name, rows)
            if name in INTEGERS:
                columns[name] = values.astype(np.int64).tolist()
            else:
                columns[name] = [None if value != value else value for value in values.tolist()]
        return [
            dict(zip(columns, values, strict=True))
            for values in zip(*columns.values(), strict=True)
        ]

    @cached_property
    def labels(self) -> LabelColumns:
        """Return the classes and subsets of all videos."""
        batch = self._index.batch
        return LabelColumns(batch.column("labels"), batch.column("subsets"), self._index.classes)

    @cached_property
    def _lower_ids(self) -> Any:
        """Return all ids in lower case, for searches."""
        return pc.utf8_lower(self._index.batch.column("id"))

    def _compare(self, condition: Condition) -> Mask:
        """Return which videos meet a condition, (videos,)."""
        compare, value = COMPARISONS[condition.operator], condition.value
        if condition.column in NUMBERS:
            numbers = self.read_numbers(condition.column)
            is_met: Mask = getattr(np, compare)(numbers, value) & ~np.isnan(numbers)
            return is_met
        if condition.column == "id":
            scalar = pa.scalar(value, pa.large_string())
            return convert_to_mask(getattr(pc, compare)(self._index.batch.column("id"), scalar))
        is_match = self.labels.match(condition.column, str(value))
        return is_match if condition.operator == "=" else ~is_match

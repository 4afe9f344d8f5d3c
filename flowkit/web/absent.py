"""List the videos that are not in the store: those that failed, and those that are missing.

A video is missing if it is annotated but not in the store. A missing video may also have failed.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from flowkit.errors import CorruptError, UsageError
from flowkit.store.annotations import read_annotation_rows
from flowkit.store.arrow_arrays import convert_to_mask, make_numbers, make_texts, view_numbers
from flowkit.store.conditions import Condition
from flowkit.store.failures import Failure
from flowkit.store.index_file import LABELS, SUBSETS
from flowkit.store.index_view import IndexView
from flowkit.store.label_columns import LabelColumns, Rows
from flowkit.store.status import find_missing, list_failures

Kind = Literal["failed", "missing"]
COLUMNS = {"id": pa.large_string(), "labels": LABELS, "subsets": SUBSETS}
"""Columns of the annotations that are read, and the types of the index."""


@dataclass(frozen=True)
class AbsentVideos:
    """Videos that are not in the store, or whose flow could not be added to it."""

    ids: Any
    """Their ids, an Arrow array, sorted by their UTF-8 bytes."""
    labels: LabelColumns
    """Their classes and subsets."""
    is_missing: np.ndarray[Any, np.dtype[np.bool_]]
    """Whether each is annotated but not in the store, (videos,)."""
    failures: dict[str, Failure]
    """Why those that failed have failed, by id."""

    def select(
        self,
        kind: Kind,
        conditions: Sequence[Condition] = (),
        *,
        id_contains: str = "",
        descending: bool = False,
    ) -> Rows:
        """Select videos, in the order of their ids.

        Args:
            kind: ``"failed"``, or ``"missing"``, which includes failed ones that are annotated.
            conditions: All must hold. No video meets a condition on a number, as all are unknown.
            id_contains: Text that the id contains, in upper or lower case.
            descending: Whether the order is reversed.

        Raises:
            UsageError: Neither the annotations nor the index have such a class or subset.
        """
        if kind == "missing":
            mask = self.is_missing.copy()
        else:
            failed = make_texts(list(self.failures))
            mask = convert_to_mask(pc.is_in(self.ids, value_set=failed))
        for condition in conditions:
            if condition.column in ("class", "subset"):
                is_match = self.labels.match(condition.column, str(condition.value))
                mask &= is_match if condition.operator == "=" else ~is_match
            elif condition.column == "id":
                raise UsageError(f"with status={kind}, filter ids by their text")
            else:
                mask[:] = False
        if id_contains:
            mask &= convert_to_mask(
                pc.match_substring(pc.utf8_lower(self.ids), id_contains.lower())
            )
        rows = np.flatnonzero(mask)
        return rows[::-1] if descending else rows

    def describe(self, rows: Rows) -> list[dict[str, Any]]:
        """Describe videos: the id, classes and subsets, and the failure if there is one."""
        values = zip(
            self.ids.take(make_numbers(rows)).to_pylist(),
            self.labels.list_classes(rows),
            self.labels.list_subsets(rows),
            strict=True,
        )
        return [
            {
                "id": id,
                "classes": classes,
                "subsets": subsets,
                "failure": describe_failure(self.failures[id]) if id in self.failures else None,
            }
            for id, classes, subsets in values
        ]


def find_absent(root: Path, index: IndexView) -> AbsentVideos:
    """Find the videos that failed or are missing.

    Args:
        root: Folder of the store.
        index: The index of the store.

    Raises:
        CorruptError: The annotations are broken.
    """
    failures = {f.id: f for f in list_failures(root, index) if not f.stream}
    failed = make_texts(sorted(failures))
    annotations = read_annotation_rows(root)
    if annotations is None:
        labels, subsets = (pa.nulls(len(failed), kind) for kind in (LABELS, SUBSETS))
        none = np.zeros(len(failed), bool)
        unlabelled = LabelColumns(labels, subsets, index.classes, index.count_subsets)
        return AbsentVideos(failed, unlabelled, none, failures)
    try:
        classes = tuple(json.loads(annotations.schema.metadata[b"classes"]))
        columns = [annotations[name].cast(kind) for name, kind in COLUMNS.items()]
    except (KeyError, TypeError, ValueError) as error:
        raise CorruptError(
            f"{root / 'annotations.arrow'}: expected annotations ({error}); write them again with "
            "`flowkit index S --labels FILE` or `--dataset NAME`"
        ) from None
    annotated = frozenset(pc.list_flatten(columns[2]).unique().to_pylist())

    def list_subsets() -> set[str]:
        return {*index.count_subsets(), *annotated}

    missing = find_missing(annotations, index)
    is_missing = np.zeros(annotations.num_rows, bool)
    is_missing[missing] = True
    is_listed = is_missing
    if failures:
        is_listed = is_missing | convert_to_mask(pc.is_in(columns[0], failed).combine_chunks())
    rows = np.flatnonzero(is_listed)
    ids, labels, subsets = (column.take(make_numbers(rows)).combine_chunks() for column in columns)
    is_missing = is_missing[rows]
    others = failed.filter(pc.invert(pc.is_in(failed, ids))) if failures else failed
    if len(others):  # failed videos without annotations
        ids, labels, subsets = (
            pa.concat_arrays([array, more])
            for array, more in (
                (ids, others),
                (labels, pa.nulls(len(others), LABELS)),
                (subsets, pa.nulls(len(others), SUBSETS)),
            )
        )
        order = pc.sort_indices(ids)
        ids, labels, subsets = (array.take(order) for array in (ids, labels, subsets))
        is_missing = np.append(is_missing, np.zeros(len(others), bool))[
            view_numbers(order.cast(pa.int32()))
        ]
    label_columns = LabelColumns(labels, subsets, classes, list_subsets)
    return AbsentVideos(ids, label_columns, is_missing, failures)


def describe_failure(failure: Failure) -> dict[str, Any]:
    """Describe a video that could not be extracted, or whose features could not be computed."""
    return {name: getattr(failure, name) for name in ("id", "kind", "reason", "attempts", "time")}

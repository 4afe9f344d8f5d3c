"""Divide the videos of a store into subsets, such as train, val and test.

The subsets are written into the store's annotations, with a record of how they were made:
stratification.py says which video gets which subset. Only videos that the store holds are divided,
and, where videos have labels, only those that have one.
"""

import math
import os
from collections.abc import Mapping
from pathlib import Path

from flowkit.annotations.table import Annotation, AnnotationTable
from flowkit.errors import UsageError
from flowkit.store.annotations import (
    lock_annotations,
    read_annotation_rows,
    read_annotations,
    read_split_records,
    replace_subsets,
    write_annotations,
)
from flowkit.store.format.header import read_header
from flowkit.store.format.locks import hold_store
from flowkit.store.index import rebuild_index
from flowkit.store.reader import Store
from flowkit.store.split_summary import SplitRecord, SplitSummary, format_count, summarize
from flowkit.store.stratification import Member, assign_subsets
from flowkit.store.video_groups import find_groups

TRAIN = "train"
"""The subset that gets the classes that cannot be divided, where a division has it."""
ORDER = ("train", "val", "test")
"""The order in which subsets of equal fractions are listed."""


def split_store(
    root: str | os.PathLike[str],
    fractions: Mapping[str, float],
    *,
    group_by: str | None = None,
    seed: int = 0,
    only: str | None = None,
    overwrite: bool = False,
) -> SplitSummary:
    """Divide the videos of a store into subsets, and write these into its annotations.

    Each class is divided in the same proportions. The class of a video is its first label. The
    result does not depend on the order of the videos, on the machine, or on the order of the
    fractions.

    Args:
        root: Folder of the store.
        fractions: The fraction of the videos for each subset, such as ``{"train": 0.8, "val": 0.1,
            "test": 0.1}``; the sum is 1. A subset with the fraction 0 is not made.
        group_by: Keeps videos of one group in one subset: the name of a column of the labels, or
            else a regular expression that is searched in the id, whose first group (or whole match)
            names the group. None keeps no videos together.
        seed: Chooses one of the possible divisions.
        only: Divide the videos of this subset only, such as "train" into train and val. The others
            keep theirs.
        overwrite: Whether subsets that the store has may be replaced. With ``only``, the videos of
            all new subsets are then divided again.

    Returns:
        What was done.

    Raises:
        UsageError: The store has such subsets already, it has no videos, the fractions do not have
            the sum 1, ``group_by`` finds no group, or a subset would be empty. Nothing is written.
        FormatError: There is no store at ``root``.
        LockedError: Another process writes to the store.

    Example:
        >>> split_store("S", {"train": 0.9, "val": 0.1}, group_by="person")  # doctest: +SKIP
    """
    path = Path(root)
    record = SplitRecord(
        fractions=check_fractions(fractions), group_by=group_by, seed=seed, only=only
    )
    read_header(path)  # a folder that is no store gets no lock files
    with hold_store(path), lock_annotations(path):
        rebuild_index(path)
        store = Store(path)
        check_subsets(store, record, overwrite)
        table = add_stored_videos(read_annotations(path), store)
        subsets, summary = divide_videos(store, table, record, overwrite)
        # A division of all videos replaces all others, and one that overwrites that of its subset.
        kept = [] if only is None else read_splits(path)
        earlier = [r for r in kept if not overwrite or r.only != only]
        table = replace_subsets(table, merge_subsets(table, subsets, record))
        write_annotations(path, table, [*earlier, record])
        rebuild_index(path)
    return summary


def divide_videos(
    store: Store, table: AnnotationTable, record: SplitRecord, overwrite: bool
) -> tuple[Mapping[str, str], SplitSummary]:
    """Divide the videos of a store; nothing is written.

    Args:
        store: The store.
        table: The annotations of all its videos, and maybe of others.
        record: The arguments of the division.
        overwrite: Whether subsets that the store has may be replaced.

    Returns:
        The new subset by video id, and what was done.

    Raises:
        UsageError: There are no videos, no video names a group, or a subset would be empty.
    """
    stored_ids = set(store.ids)
    pool = select_annotations(table, stored_ids, record, overwrite)
    if not pool:
        raise UsageError(
            f"{store.location}: expected videos to divide, found none; extract some first"
        )
    has_labels = any(annotation.labels for annotation in pool)
    divided = [a for a in pool if a.labels or not has_labels]
    groups = find_groups(divided, record.group_by)
    members = [Member(a.id, a.labels[0].name if a.labels else "", groups[a.id]) for a in divided]
    assignment = assign_subsets(members, record.fractions, record.seed)
    not_stored = len(table.annotations) - len(stored_ids) if record.only is None else 0
    summary = summarize(record, pool, members, assignment, not_stored)
    check_result(store.path, summary)
    return assignment.subsets, summary


def check_fractions(fractions: Mapping[str, float]) -> dict[str, float]:
    """Check fractions and return those above 0, the subset of lone classes first.

    Raises:
        UsageError: A fraction is not in [0, 1], or the sum is not 1.
    """
    described = ", ".join(f"{name} {fraction:g}" for name, fraction in fractions.items())
    if not all(math.isfinite(f) and 0 <= f <= 1 for f in fractions.values()):
        raise UsageError(f"expected fractions between 0 and 1, got {described or 'none'}")
    total = sum(fractions.values())
    if abs(total - 1) > 1e-6:
        missing = [name for name in ("test", "val", "train") if not fractions.get(name)]
        advice = f"; add --{missing[0]} {1 - total:g}" if total < 1 and missing else ""
        raise UsageError(
            f"expected fractions whose sum is 1, got {described or 'none'} with the sum "
            f"{total:g}{advice}"
        )

    def rank(name: str) -> tuple[bool, float, int, str]:
        place = ORDER.index(name) if name in ORDER else len(ORDER)
        return name != TRAIN, -fractions[name], place, name

    names = sorted((name for name in fractions if fractions[name] > 0), key=rank)
    return {name: float(fractions[name]) for name in names}


def check_subsets(store: Store, record: SplitRecord, overwrite: bool) -> None:
    """Raise a UsageError if the store has subsets that must not be replaced.

    With ``only``, that subset must exist, and the other new subsets must not.
    """
    subsets, expected = store.subsets(), "a store without subsets"
    described = ", ".join(f"{name} ({count:,})" for name, count in subsets.items())
    if record.only is None:
        taken = bool(subsets)
    else:
        if record.only not in subsets:
            raise UsageError(
                f"{store.location}: expected a subset {record.only!r} to divide, found "
                f"{described or 'no subsets'}"
            )
        names = [name for name in record.fractions if name != record.only]
        taken = any(name in subsets for name in names)
        expected = f"a store without the subset {' or '.join(names)}"
    if taken and not overwrite:
        records = read_splits(store.path)
        origin = f", made by `flowkit split` with seed {records[-1].seed}" if records else ""
        raise UsageError(
            f"{store.location}: expected {expected}, found {described}{origin}; "
            "give --replace to replace them"
        )


def read_splits(root: str | os.PathLike[str]) -> list[SplitRecord]:
    """Read how the subsets of a store were made; an empty list if not by `split_store`.

    There are several records where a subset has been divided further.

    Raises:
        CorruptError: The annotations are damaged.
    """
    return read_split_records(read_annotation_rows(Path(root)))


def add_stored_videos(table: AnnotationTable | None, store: Store) -> AnnotationTable:
    """Return the annotations with a row for every video of the store."""
    by_id = {} if table is None else table.by_id()
    for id in store.ids:
        if id not in by_id:
            by_id[id] = Annotation(id, (), ())
    classes = () if table is None else table.classes
    return AnnotationTable(classes, tuple(by_id[id] for id in sorted(by_id)))


def select_annotations(
    table: AnnotationTable, stored_ids: set[str], record: SplitRecord, overwrite: bool
) -> list[Annotation]:
    """Return the annotations of the stored videos that are to be divided."""
    stored = [annotation for annotation in table.annotations if annotation.id in stored_ids]
    if record.only is None:
        return stored
    names = {record.only, *record.fractions} if overwrite else {record.only}
    return [annotation for annotation in stored if not names.isdisjoint(annotation.subsets)]


def check_result(path: Path, summary: SplitSummary) -> None:
    """Raise a UsageError if a subset would have no video."""
    empty = [name for name, count in summary.videos.items() if not count]
    if not empty:
        return
    counts = ", ".join(f"{name} {count:,}" for name, count in summary.videos.items())
    unit = "video" if summary.groups is None else "group"
    number = (summary.groups or 0) + summary.ungrouped or sum(summary.videos.values())
    classes = format_count(len(summary.lone_classes), "class occurs", "classes occur")
    reason = f", and {classes} in one {unit} only" if summary.lone_classes else ""
    raise UsageError(
        f"{path}: no videos are left for {' and '.join(empty)} ({counts}): the store has "
        f"{format_count(number, unit, unit + 's')}{reason}; ask for fewer subsets, or add videos"
    )


def merge_subsets(
    table: AnnotationTable, subsets: Mapping[str, str], record: SplitRecord
) -> dict[str, tuple[str, ...]]:
    """Return all subsets by video id: the new ones, and, with ``only``, the others as they were.

    Args:
        table: All annotations.
        subsets: The new subset by video id.
        record: The arguments of the division.
    """
    if record.only is None:
        return {id: (subset,) for id, subset in subsets.items()}
    merged = {annotation.id: annotation.subsets for annotation in table.annotations}
    divided = {record.only, *record.fractions}
    for id, subset in subsets.items():
        merged[id] = (*(name for name in merged[id] if name not in divided), subset)
    return merged

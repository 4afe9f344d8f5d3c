"""Describe how the videos of a store were divided into subsets."""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from flowkit.store.video_groups import read_attributes

if TYPE_CHECKING:
    from flowkit.annotations.table import Annotation

MAX_LISTED = 5
"""How many classes a line lists."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SplitRecord:
    """How the subsets of a store were made; the same arguments make the same subsets again."""

    fractions: Mapping[str, float]
    """The fraction of the videos for each subset."""
    group_by: str | None
    """The column or the pattern that names a video's group; None if there are no groups."""
    seed: int
    """The seed of the division."""
    only: str | None
    """The subset that was divided; None for all videos."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SplitSummary:
    """What `split_store` has done."""

    record: SplitRecord
    """The arguments of the division."""
    videos: Mapping[str, int]
    """The number of videos in each of the subsets that were made."""
    classes: int
    """The number of classes of these videos, 0 if no video has a label."""
    groups: int | None
    """The number of groups; None if there are none. Videos without one are not counted."""
    grouped_by_column: bool
    """Whether groups come from a column of the labels instead of a pattern of the id."""
    ungrouped: int
    """Videos that name no group; each is a group of its own."""
    lone_classes: tuple[str, ...]
    """Classes that occur in one group, or one video, only, which is in the first subset."""
    classes_without: Mapping[str, int]
    """For each subset, the number of classes that have no video in it."""
    several_labels: int
    """Videos with several labels; the first label is their class."""
    unlabelled: int
    """Videos without a label, which are in no subset."""
    not_stored: int
    """Videos that are annotated but not in the store, and therefore in no subset."""

    def format_lines(self) -> list[str]:
        """Describe the division, in one line for each fact."""
        return format_summary(self)


def first_class(annotation: "Annotation") -> str:
    """Return the class by which a video is stratified, "" without a label."""
    return annotation.labels[0].name if annotation.labels else ""


def summarize(
    record: SplitRecord,
    pool: "list[Annotation]",
    members: "list[Annotation]",
    group_of: "Callable[[Annotation], tuple[int, str]]",
    subsets: Mapping[str, str],
    has_labels: bool,
) -> SplitSummary:
    """Count what a division did; the arguments are those of `split_store` at that point."""
    counts = Counter(subsets.values())
    groups = {group_of(annotation) for annotation in members}
    classes = {first_class(annotation) for annotation in members} if has_labels else set()
    classes_of: dict[str, set[str]] = {name: set() for name in record.fractions}
    for annotation in members:
        classes_of[subsets[annotation.id]].add(first_class(annotation))
    columns: set[str] = set()
    for annotation in members:
        columns.update(read_attributes(annotation))
    return SplitSummary(
        record=record,
        videos={name: counts[name] for name in record.fractions},
        classes=len(classes),
        groups=sum(is_named for is_named, _ in groups) if record.group_by else None,
        grouped_by_column=record.group_by in columns,
        ungrouped=sum(not is_named for is_named, _ in groups) if record.group_by else 0,
        lone_classes=(),
        classes_without={
            name: len(classes - found) if has_labels else 0 for name, found in classes_of.items()
        },
        several_labels=sum(len({label.name for label in a.labels}) > 1 for a in members),
        unlabelled=len(pool) - len(members),
        not_stored=0,
    )


def format_summary(summary: SplitSummary) -> list[str]:
    """Describe a division, in one line for each fact; see `SplitSummary.format_lines`."""
    record, total = summary.record, sum(summary.videos.values())
    parts = [
        f"{name} {count:,} ({count / total:.1%}, {record.fractions[name]:.1%} requested)"
        for name, count in summary.videos.items()
    ]
    scope = f" of subset {record.only}" if record.only else ""
    lines = [f"divided {total:,} videos{scope}: {', '.join(parts)}; seed {record.seed}"]
    if summary.classes:
        missing = [
            f"{count:,} have no video in {name}"
            for name, count in summary.classes_without.items()
            if count
        ]
        lines.append(f"{summary.classes:,} classes; {', '.join(missing) or 'all in every subset'}")
    if summary.groups is not None:
        source = "column" if summary.grouped_by_column else "pattern"
        lines.append(f"{summary.groups:,} groups by {source} '{record.group_by}'; none is cut")
    if summary.ungrouped:
        lines.append(f"{summary.ungrouped:,} videos name no group; each is divided on its own")
    if summary.lone_classes:
        unit = "video" if summary.groups is None else "group"
        listed = ", ".join(summary.lone_classes[:MAX_LISTED])
        more = ", …" if len(summary.lone_classes) > MAX_LISTED else ""
        lines.append(
            f"{len(summary.lone_classes):,} classes have one {unit} only, which is in "
            f"{next(iter(summary.videos))}: {listed}{more}"
        )
    for count, text in (
        (summary.several_labels, "have several labels; the first one is their class"),
        (summary.unlabelled, "have no label and are in no subset"),
        (summary.not_stored, "are annotated but not in the store, and are in no subset"),
    ):
        if count:
            lines.append(f"{count:,} videos {text}")
    return lines

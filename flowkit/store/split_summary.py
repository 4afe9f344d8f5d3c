"""Describe how the videos of a store were divided into subsets."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from flowkit.store.stratification import Assignment, Member

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

    def describe(self) -> str:
        """Describe the arguments in one phrase."""
        fractions = ", ".join(f"{name} {part:g}" for name, part in self.fractions.items())
        scope = f"{self.only} into " if self.only else ""
        groups = f", grouped by '{self.group_by}'" if self.group_by else ""
        return f"{scope}{fractions}, seed {self.seed}{groups}"


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
    """Videos without a label, which are in no subset, or stay in the one that was divided."""
    not_stored: int
    """Videos that are annotated but not in the store, and therefore in no subset."""

    def format_lines(self) -> list[str]:
        """Describe the division, in one line for each fact."""
        record, total = self.record, sum(self.videos.values())
        parts = [
            f"{name} {count:,} ({count / total:.1%}, {record.fractions[name]:.1%} requested)"
            for name, count in self.videos.items()
        ]
        scope = f" of subset {record.only}" if record.only else ""
        videos = format_count(total, "video", "videos")
        lines = [f"divided {videos}{scope}: {', '.join(parts)}; seed {record.seed}"]
        if self.classes:
            missing = [
                f"{format_count(count, 'has', 'have')} no video in {name}"
                for name, count in self.classes_without.items()
                if count
            ]
            classes = format_count(self.classes, "class", "classes")
            lines.append(f"{classes}; {', '.join(missing) or 'all in every subset'}")
        if self.groups is not None:
            source = "column" if self.grouped_by_column else "pattern"
            groups = format_count(self.groups, "group", "groups")
            lines.append(f"{groups} by {source} '{record.group_by}'; none is cut")
        if self.ungrouped:
            names = format_count(self.ungrouped, "video names", "videos name")
            lines.append(f"{names} no group; each is divided on its own")
        if self.lone_classes:
            unit = "video" if self.groups is None else "group"
            have = format_count(len(self.lone_classes), "class has", "classes have")
            listed = ", ".join(self.lone_classes[:MAX_LISTED])
            more = ", …" if len(self.lone_classes) > MAX_LISTED else ""
            place = next(iter(self.videos))
            lines.append(f"{have} one {unit} only, which is in {place}: {listed}{more}")
        fate = f"stay in {record.only}" if record.only else "get no subset"
        for count, text in (
            (self.several_labels, "videos with several labels, of which the first is the class"),
            (self.unlabelled, f"videos without a label, which {fate}"),
            (self.not_stored, "annotated videos that are not in the store, which get no subset"),
        ):
            if count:
                lines.append(f"{text}: {count:,}")
        return lines


def summarize(
    record: SplitRecord,
    pool: "Sequence[Annotation]",
    members: Sequence[Member],
    assignment: Assignment,
    not_stored: int,
) -> SplitSummary:
    """Count what a division did.

    Args:
        record: The arguments of the division.
        pool: The videos that were to be divided.
        members: Those that were divided, with their groups.
        assignment: The subset of each.
        not_stored: Number of annotated videos that are not in the store.
    """
    subsets = assignment.subsets
    counts = Counter(subsets.values())
    groups = {member.group for member in members} if record.group_by else set()
    classes = {member.class_name for member in members if member.class_name}
    classes_of: dict[str, set[str]] = {name: set() for name in record.fractions}
    for member in members:
        classes_of[subsets[member.id]].add(member.class_name)
    columns = {name for annotation in pool for name in annotation.attributes}
    return SplitSummary(
        record=record,
        videos={name: counts[name] for name in record.fractions},
        classes=len(classes),
        groups=sum(is_named for is_named, _ in groups) if record.group_by else None,
        grouped_by_column=record.group_by in columns,
        ungrouped=sum(not is_named for is_named, _ in groups),
        lone_classes=tuple(sorted(assignment.lone_classes)),
        classes_without={name: len(classes - found) for name, found in classes_of.items()},
        several_labels=sum(len({label.name for label in a.labels}) > 1 for a in pool),
        unlabelled=len(pool) - len(members),
        not_stored=not_stored,
    )


def format_count(count: int, one: str, many: str) -> str:
    """Return a number and what it counts, in the singular or the plural."""
    return f"{count:,} {one if count == 1 else many}"

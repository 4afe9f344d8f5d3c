"""Describe what annotations in the style of ActivityNet contain, and what was left out."""

from collections import Counter
from dataclasses import dataclass, field

from flowkit.annotations.label_files.report import count, show
from flowkit.interchange.activitynet.segments import MIN_LENGTH, SegmentProblems
from flowkit.interchange.activitynet.subsets import UNASSIGNED


@dataclass(slots=True)
class AnnotationReport:
    """What was written and what was changed or left out, for users."""

    subsets: Counter[str] = field(default_factory=Counter)
    """Number of videos by subset, as written."""
    segments: int = 0
    """Number of segments."""
    classes: tuple[str, ...] = ()
    """Names of the classes that have segments, in the order of their ``label_id``."""
    unused_classes: tuple[str, ...] = ()
    """Names of the other classes, which are left out."""
    problems: SegmentProblems = field(default_factory=SegmentProblems)
    """Labels that did not fit."""
    empty: dict[str, list[str]] = field(default_factory=dict)
    """Keys of the videos without segments that are in the database, by subset."""
    untrainable: list[str] = field(default_factory=list)
    """Keys of the videos of the training subset that have no segments, which are left out."""
    without_features: list[str] = field(default_factory=list)
    """Ids of the annotated videos that have no features, which are left out."""
    outside_split: list[str] = field(default_factory=list)
    """Keys of the videos that are in no subset of the split, which are left out."""


def describe_annotations(file: str, report: AnnotationReport) -> list[str]:
    """Describe an annotation file in one line, and what was changed or left out in a line each.

    Args:
        file: Name of the file.
        report: What was written.

    Returns:
        The lines, such as "annotations.json: 20 videos (training 15, validation 5), 307 segments of
        4 classes".
    """
    subsets = ", ".join(f"{name} {number:,}" for name, number in sorted(report.subsets.items()))
    lines = [
        f"{file}: {count(report.subsets.total(), 'video')} ({subsets}), "
        f"{count(report.segments, 'segment')} of "
        f"{count(len(report.classes), 'class', 'classes')}"
    ]
    return lines + describe_changes(report) + list_omissions(report)


def describe_changes(report: AnnotationReport) -> list[str]:
    """Describe the labels that were changed, and what is in the file without being complete.

    Args:
        report: What was written.

    Returns:
        A line for each kind of change; empty if there are none.
    """
    problems, lines = report.problems, list[str]()
    if problems.whole and not problems.timed:
        lines.append(
            "no label has a start and an end, so each segment is a whole video; if the label file "
            "has them, name their columns: --columns start=COLUMN,end=COLUMN"
        )
    elif problems.whole:
        lines.append(
            show(problems.whole, "label has no start and end, and its segment is the whole video",
                 "labels have no start and end, and their segments are the whole video")
        )  # fmt: skip
    lines.append(
        show(problems.cut, "segment was cut, since it leaves its video",
             "segments were cut, since they leave their videos")
    )  # fmt: skip
    for subset, keys in sorted(report.empty.items()):
        name = f"without segments in {subset}"
        lines.append(show(keys, f"video {name}, kept", f"videos {name}, kept"))
    if report.subsets[UNASSIGNED]:
        number = count(report.subsets[UNASSIGNED], "video has", "videos have")
        lines.append(f"{number} no subset and got the name {UNASSIGNED!r}")
    return [line for line in lines if line]


def list_omissions(report: AnnotationReport) -> list[str]:
    """List what was left out, each with the first examples.

    Args:
        report: What was written.

    Returns:
        A line for each kind of omission; empty if there are none.
    """
    problems = report.problems
    short = f"shorter than {MIN_LENGTH * 1000:g} ms"
    lines = [
        show(problems.outside, "segment left out, since it is outside of its video",
             "segments left out, since they are outside of their videos"),
        show(problems.reversed, "segment left out, since it ends before it begins",
             "segments left out, since they end before they begin"),
        show(problems.short, f"segment left out, since it is {short}",
             f"segments left out, since they are {short}"),
        show(problems.incomplete, "segment left out, since it has no complete times",
             "segments left out, since they have no complete times"),
        show(report.untrainable, "training video left out, since it has no segment",
             "training videos left out, since they have no segments"),
        show(report.without_features, "annotated video left out, since it has no features",
             "annotated videos left out, since they have no features"),
        show(report.outside_split, "video left out, since it is in no subset of the split",
             "videos left out, since they are in no subset of the split"),
        show(report.unused_classes, "class left out, since it has no segment",
             "classes left out, since they have no segments"),
    ]  # fmt: skip
    if 2 * len(problems.outside) > problems.timed:
        lines[0] += (
            "; if the times are frame numbers, say so: --columns start_frame=COLUMN,"
            "end_frame=COLUMN,fps=25"
        )
    return [line for line in lines if line]

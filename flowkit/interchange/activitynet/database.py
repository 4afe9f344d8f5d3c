"""Build the content of an annotation file in the style of ActivityNet."""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from flowkit.annotations.table import Annotation, AnnotationTable
from flowkit.errors import AnnotationError, UsageError
from flowkit.interchange.activitynet.report import AnnotationReport, list_omissions
from flowkit.interchange.activitynet.segments import Segment, fit_segments
from flowkit.interchange.activitynet.subsets import (
    TRAINING,
    AnnotationOptions,
    check_split,
    choose_subset,
)
from flowkit.interchange.activitynet.video_facts import VideoFacts

CLASS_FILE = "category_idx.txt"
"""Name of the class list beside the annotations, as in OpenTAD's configurations."""


class VideoContent(NamedTuple):
    """What is written about one video."""

    subset: str
    """Its subset, as it is written."""
    facts: VideoFacts
    """Its duration, frame rate and feature file."""
    segments: list[Segment]
    """Its segments."""


def build_annotations(
    table: AnnotationTable,
    videos: Mapping[str, VideoFacts],
    options: AnnotationOptions | None = None,
    report: AnnotationReport | None = None,
) -> dict[str, Any]:
    """Build the annotations of videos that have features.

    Every video with features is in the database, also without segments, with one exception: a video
    of the training subset needs one, because ActionFormer stops at a training video that has none.
    Classes without segments are left out, and the others keep their order: that of the class list,
    or the alphabet.

    Args:
        table: Annotations of the videos, by id. A video that is not in it has no segments.
        videos: The videos that have features, by id.
        options: How they are written; None for the defaults.
        report: What is found is added to this empty report; None to discard it.

    Returns:
        The content of the file.

    Raises:
        AnnotationError: A video is in several subsets and no split was chosen, two videos have one
            feature file, or a class name has a line break or is empty.
        UsageError: There is no video, or no subset belongs to the split.
    """
    options, report = options or AnnotationOptions(), report or AnnotationReport()
    if not videos:
        raise UsageError("no video has features, so there is nothing to annotate; compute them")
    check_split(table, options.split)
    chosen = choose_videos(table, videos, options, report)
    report.classes, report.unused_classes = divide_classes(table, chosen)
    class_ids = {name: class_id for class_id, name in enumerate(report.classes)}
    database = {key: make_entry(chosen[key], class_ids) for key in sorted(chosen)}
    report.subsets = Counter(video.subset for video in chosen.values())
    report.segments = sum(len(video.segments) for video in chosen.values())
    return {
        "version": "flowkit 1",
        "taxonomy": make_taxonomy(report.classes),
        "database": database,
    }


def choose_videos(
    table: AnnotationTable,
    videos: Mapping[str, VideoFacts],
    options: AnnotationOptions,
    report: AnnotationReport,
) -> dict[str, VideoContent]:
    """Choose the videos that are written, with their subset and segments.

    Args:
        table: Annotations of the videos.
        videos: The videos that have features, by id.
        options: How subsets are written.
        report: What does not fit is added to this.

    Returns:
        What is written about each video, by its key in the database: the name of its feature file
        without ``.npy``, by which the projects that train on it find the features.

    Raises:
        AnnotationError: A video is in several subsets, or two videos have one feature file.
        UsageError: No video remains.
    """
    by_id = table.by_id()
    report.without_features = [id for id in by_id if id not in videos]
    chosen: dict[str, VideoContent] = {}
    seen: dict[str, str] = {}
    for id, facts in videos.items():
        key, annotation = facts.key, by_id.get(id) or Annotation(id, (), ())
        if seen.setdefault(key, id) != id:
            raise AnnotationError(
                f"the videos {seen[key]!r} and {id!r} have one feature file, {facts.file}; compute "
                "the features of each into a file of its own"
            )
        subset = choose_subset(annotation, options)
        if subset is None:
            report.outside_split.append(key)
            continue
        segments = fit_segments(key, annotation.labels, facts.duration, report.problems)
        if not segments and subset.lower() in TRAINING:
            report.untrainable.append(key)
            continue
        if not segments:
            report.empty.setdefault(subset, []).append(key)
        chosen[key] = VideoContent(subset, facts, segments)
    if not chosen:
        reasons = "; ".join(list_omissions(report))
        raise UsageError(f"no video with features can be annotated: {reasons}")
    return chosen


def divide_classes(
    table: AnnotationTable, chosen: Mapping[str, VideoContent]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Divide the classes into those that have segments and the others, in the table's order.

    Args:
        table: The annotations.
        chosen: What is written about each video.

    Returns:
        Names of the classes with segments, and of those without.

    Raises:
        AnnotationError: The name of a class with segments has a line break, or is empty.
    """
    occurring = {segment.label for video in chosen.values() for segment in video.segments}
    used = tuple(name for name in table.classes if name in occurring)
    check_class_names(used)
    return used, tuple(name for name in table.classes if name not in occurring)


def check_class_names(names: Iterable[str]) -> None:
    """Check that each class can be a line of the class list.

    Args:
        names: Names of classes.

    Raises:
        AnnotationError: A name has a line break, or is empty.
    """
    for name in names:
        if "\n" in name or "\r" in name or not name:
            raise AnnotationError(
                f"class {name!r} cannot be a line of the class list {CLASS_FILE}; rename it"
            )


def make_entry(video: VideoContent, class_ids: Mapping[str, int]) -> dict[str, Any]:
    """Make the entry of a video in the database.

    Args:
        video: What is written about it.
        class_ids: Number of each class.

    Returns:
        The entry.
    """
    annotations = [
        {
            "segment": [segment.start, segment.end],
            "label": segment.label,
            "label_id": class_ids[segment.label],
        }
        for segment in video.segments
    ]
    facts = video.facts
    return {
        "subset": video.subset,
        "duration": facts.duration,
        "fps": facts.fps,
        "frame": facts.frame,
        "annotations": annotations,
    }


def make_taxonomy(classes: tuple[str, ...]) -> list[dict[str, Any]]:
    """Make the tree of classes that ActivityNet's files have: a root with all classes below it.

    Args:
        classes: Names of the classes.

    Returns:
        The nodes, the root first.
    """
    root = {"nodeId": 0, "nodeName": "Root", "parentId": None, "parentName": None}
    nodes = [
        {"nodeId": class_id + 1, "nodeName": name, "parentId": 0, "parentName": "Root"}
        for class_id, name in enumerate(classes)
    ]
    return [root, *nodes]

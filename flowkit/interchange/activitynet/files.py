"""Write an annotation file and the two lists beside it that OpenTAD's configurations name."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from flowkit.annotations.table import AnnotationTable
from flowkit.errors import UsageError
from flowkit.interchange.activitynet.database import (
    CLASS_FILE,
    build_annotations,
    check_class_names,
)
from flowkit.interchange.activitynet.report import AnnotationReport
from flowkit.interchange.activitynet.subsets import (
    AnnotationOptions,
    check_split,
    choose_subset,
)
from flowkit.interchange.activitynet.video_facts import VideoFacts
from flowkit.path_text import printable_path
from flowkit.store.format.atomic import convert_disk_errors, write_atomic

MISSING_FILE = "missing_files.txt"
"""Name of the list of videos without features, as in OpenTAD's configurations."""


def write_annotations(
    path: Path,
    table: AnnotationTable,
    videos: Mapping[str, VideoFacts],
    options: AnnotationOptions | None = None,
) -> AnnotationReport:
    """Write the annotations of videos that have features, with the class list beside them.

    Each file is replaced as a whole: after an interruption it is the old or the new one. The
    annotations are written last. ``missing_files.txt`` is empty, because only videos with features
    are in the annotations.

    Args:
        path: The file to write, such as ``feats/annotations.json``. Its folder is created if it is
            missing.
        table: Annotations of the videos, by id.
        videos: The videos that have features, by id.
        options: How the annotations are written; None for the defaults.

    Returns:
        What was written and what was left out, for `describe_annotations`.

    Raises:
        AnnotationError: As `build_annotations` does.
        UsageError: As `build_annotations` does; also if the path is that of another file.
        StoreError: A file cannot be written; `DiskFullError` if there is no room.
    """
    check_path(path)
    report = AnnotationReport()
    content = build_annotations(table, videos, options, report)
    names = "".join(f"{name}\n" for name in report.classes)
    with convert_disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path.with_name(CLASS_FILE), names.encode())
    write_atomic(path.with_name(MISSING_FILE), b"")
    write_atomic(path, format_content(content).encode())
    return report


def check_annotations(
    path: Path,
    table: AnnotationTable,
    ids: Iterable[str],
    options: AnnotationOptions | None = None,
) -> None:
    """Check what `write_annotations` would refuse, before the features are computed.

    Args:
        path: The file to write.
        table: Annotations of the videos, by id.
        ids: The videos whose features are to be computed.
        options: How the annotations are written; None for the defaults.

    Raises:
        AnnotationError: A video is in several subsets and no split was chosen, or a class name has
            a line break.
        UsageError: The path is that of another file, or no subset belongs to the split.
    """
    options = options or AnnotationOptions()
    check_path(path)
    check_split(table, options.split)
    by_id = table.by_id()
    names: set[str] = set()
    for id in ids:
        if id in by_id:
            choose_subset(by_id[id], options)
            names.update(label.name for label in by_id[id].labels)
    check_class_names(sorted(names))


def check_path(path: Path) -> None:
    """Check that annotations can be written to a path.

    Args:
        path: The file to write.

    Raises:
        UsageError: It is a folder, the JSON file of a video, or one of the lists.
    """
    if path.is_dir():
        raise UsageError(
            f"{printable_path(path)} is a folder; name a file such as "
            f"{printable_path(path / 'annotations.json')}"
        )
    if path.suffix == ".json" and path.with_suffix(".npy").exists():
        raise UsageError(
            f"{printable_path(path)} describes the features of a video of this name; choose "
            "another name for the annotations"
        )
    if path.name in (CLASS_FILE, MISSING_FILE):
        raise UsageError(f"{path.name} is the name of another file; choose one such as a.json")


def format_content(content: Mapping[str, Any]) -> str:
    """Format the content of an annotation file as JSON with a line for each video.

    Args:
        content: As `build_annotations` returns it.

    Returns:
        ASCII text, because ActionFormer and OpenTAD open the file with the encoding of the locale.
    """
    others = [
        f"{json.dumps(key)}: {json.dumps(content[key])},\n" for key in ("version", "taxonomy")
    ]
    videos = [
        f"{json.dumps(key)}: {json.dumps(entry)}" for key, entry in content["database"].items()
    ]
    return "{" + "".join(others) + '"database": {\n' + ",\n".join(videos) + "\n}}\n"

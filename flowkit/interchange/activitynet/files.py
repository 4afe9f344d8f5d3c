"""Write an annotation file and the two lists beside it that OpenTAD's configurations name."""

import json
from collections.abc import Mapping
from pathlib import Path

from flowkit.annotations.table import AnnotationTable
from flowkit.errors import UsageError
from flowkit.interchange.activitynet.database import CLASS_FILE, build_annotations
from flowkit.interchange.activitynet.report import AnnotationReport
from flowkit.interchange.activitynet.subsets import AnnotationOptions
from flowkit.interchange.activitynet.video_facts import VideoFacts
from flowkit.path_text import printable_path
from flowkit.store.format.atomic import write_atomic

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
        path: The file to write, such as ``feats/annotations.json``. Its folder must exist.
        table: Annotations of the videos, by id.
        videos: The videos that have features, by id.
        options: How the annotations are written; None for the defaults.

    Returns:
        What was written and what was left out, for `describe_annotations`.

    Raises:
        AnnotationError: As `build_annotations` does.
        UsageError: As `build_annotations` does; also if the folder does not exist, or the path is
            that of the JSON file of a video.
        StoreError: A file cannot be written; `DiskFullError` if there is no room.
    """
    if not path.parent.is_dir():
        raise UsageError(f"no folder {printable_path(path.parent)} for {path.name}; create it")
    if path.with_suffix(".npy").exists() and path.suffix == ".json":
        raise UsageError(
            f"{printable_path(path)} describes the features of a video of this name; choose "
            "another name for the annotations"
        )
    if path.name in (CLASS_FILE, MISSING_FILE):
        raise UsageError(f"{path.name} is the name of another file; choose one such as a.json")
    report = AnnotationReport()
    # ASCII, because ActionFormer and OpenTAD open the file with the encoding of the locale.
    content = build_annotations(table, videos, options, report)
    names = "".join(f"{name}\n" for name in report.classes)
    write_atomic(path.with_name(CLASS_FILE), names.encode())
    write_atomic(path.with_name(MISSING_FILE), b"")
    write_atomic(path, (json.dumps(content, indent=1) + "\n").encode())
    return report

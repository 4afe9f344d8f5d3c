"""Write the annotations that go with a folder of feature files, from the JSON files beside these.

The annotations have the style of ActivityNet (flowkit/interchange/activitynet). What they say about
a video is read from its JSON file: duration, frame rate and number of the frames that the rows were
computed from.

ActionFormer and OpenTAD compute the time of a row from one frame rate for the whole video. Where
the frame rate varies, they are wrong by what `measure_drift` returns, and the report says so.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from flowkit.annotations.label_files.report import show
from flowkit.annotations.table import AnnotationTable
from flowkit.errors import CorruptError, StoreError, UsageError
from flowkit.interchange.activitynet import (
    AnnotationOptions,
    AnnotationReport,
    VideoFacts,
    check_annotations,
    describe_annotations,
    describe_loader_settings,
    write_annotations,
)
from flowkit.path_text import printable_path
from flowkit.store.format.locks import make_lock_folder, wait_for_lock
from train.feature_files.folder import FeatureFolder
from train.feature_files.windows import WindowSampling

MAX_DRIFT = 1.0
"""Largest distance, in rows, between the time of a row and the one that loaders compute, that is
not reported.
"""


def annotate_features(
    path: Path,
    table: AnnotationTable,
    info_paths: Iterable[Path],
    options: AnnotationOptions | None = None,
) -> list[str]:
    """Write the annotations of the videos that have features.

    Args:
        path: The file to write, such as ``feats/annotations.json``.
        table: Annotations of the videos.
        info_paths: The JSON files of the videos, all in the feature folder. Those that do not exist
            are of videos without features.
        options: How the annotations are written; None for the defaults.

    Returns:
        Lines for users: what was written, what was changed or left out, and the settings with which
        ActionFormer and OpenTAD read the folder.

    Raises:
        CorruptError: A JSON file is damaged.
        AnnotationError: As `write_annotations` does.
        UsageError: As `write_annotations` does; also if the path is that of a video's JSON file.
        StoreError: A file cannot be written.
    """
    info_paths = list(info_paths)
    if not any(map(Path.exists, info_paths)):
        raise UsageError("no video has features, so there is nothing to annotate; compute them")
    check_name(path, info_paths)
    state = FeatureFolder(info_paths[0].parent).state
    # If jobs that compute parts of the videos end at the same time, each writes the file, and the
    # last one has the videos of all.
    with wait_for_lock(make_lock_folder(state) / "annotations"):
        facts: dict[str, VideoFacts] = {}
        drifting: list[str] = []
        info: Mapping[str, Any] = {}
        for info_path in filter(Path.exists, info_paths):
            info = read_info(info_path)
            duration, fps = float(info["duration"]), float(info["frame_rate"])
            file = f"{info_path.stem}.npy"
            facts[info["id"]] = VideoFacts(duration, fps, file, info["frames"])
            drift = measure_drift(info)
            if drift > MAX_DRIFT:
                seconds = drift * get_windows(info).stride / fps
                drifting.append(f"{facts[info['id']].key} ({seconds:.2f} s)")
        report = write_annotations(path, table, facts, options)
    lines = describe_annotations(path.name, report)
    if drifting:
        lines.append(
            show(drifting, "video has a varying frame rate", "videos have varying frame rates")
            + "; loaders assume a constant one and place rows wrong by up to these times: compute "
            "the features with --fps"
        )
    return [*lines, *describe_loaders(info, report)]


def check_annotation_request(
    path: Path,
    table: AnnotationTable,
    info_paths: Mapping[str, Path],
    options: AnnotationOptions | None = None,
) -> None:
    """Check what `annotate_features` would refuse, before the features are computed.

    Args:
        path: The file to write.
        table: Annotations of the videos.
        info_paths: The JSON file of each video, by id; they need not exist.
        options: How the annotations are written; None for the defaults.

    Raises:
        AnnotationError: As `check_annotations` does.
        UsageError: As `check_annotations` does; also if the path is that of a video's JSON file.
    """
    check_name(path, list(info_paths.values()))
    check_annotations(path, table, info_paths, options)


def check_name(path: Path, info_paths: Sequence[Path]) -> None:
    """Check that annotations do not replace the JSON file of a video.

    Args:
        path: The file to write.
        info_paths: The JSON files of the videos, all in one folder.

    Raises:
        UsageError: They would.
    """
    if path.name not in {info_path.name for info_path in info_paths}:
        return
    if path.parent.resolve() == info_paths[0].parent.resolve():
        raise UsageError(
            f"{printable_path(path)} is for the features of a video of this name; choose another "
            "name for the annotations"
        )


def describe_loaders(info: Mapping[str, Any], report: AnnotationReport) -> tuple[str, ...]:
    """Describe how ActionFormer and OpenTAD are configured for the folder.

    Args:
        info: The JSON file of any video.
        report: What was written.

    Returns:
        Two lines; none if a row has several crops, which these loaders cannot read.
    """
    shapes = [file["shape"] for file in info["files"]]
    if any(len(shape) != 2 for shape in shapes):
        return ()
    windows = get_windows(info)
    return describe_loader_settings(
        window=windows.extent, stride=windows.stride, first_frame=-windows.offset,
        channels=sum(shape[1] for shape in shapes), classes=len(report.classes),
        subsets=report.subsets,
    )  # fmt: skip


def read_info(path: Path) -> dict[str, Any]:
    """Read the JSON file of a video.

    Args:
        path: The file.

    Returns:
        Its content.

    Raises:
        StoreError: It cannot be read.
        CorruptError: It is damaged, or no JSON file of a video.
    """
    expected = {
        "id", "duration", "frame_rate", "frames", "files", "recipe", "start_seconds", "end_seconds",
        "padding",
    }  # fmt: skip
    try:
        info = json.loads(path.read_bytes())
    except OSError as error:
        raise StoreError(
            f"{printable_path(path)} cannot be read ({error.strerror}): check its permissions, and "
            "run again"
        ) from error
    except ValueError as error:
        raise CorruptError(
            f"{printable_path(path)} is damaged ({error}): remove it, and run again"
        ) from error
    if not (isinstance(info, dict) and expected <= info.keys()):
        raise CorruptError(
            f"{printable_path(path)}: expected the description of the features of a video, got "
            "something else: remove it, and run again"
        )
    return info


def get_windows(info: Mapping[str, Any]) -> WindowSampling:
    """Return the windows that a JSON file of a video describes."""
    return WindowSampling(**info["recipe"]["windows"])


def measure_drift(info: Mapping[str, Any]) -> float:
    """Measure how far the rows of a video are from where loaders place them.

    Args:
        info: The JSON file of the video.

    Returns:
        The largest distance between the middle of a window and the time that follows from its index
        and a constant frame rate, in rows. Windows that repeat frames do not count.
    """
    windows, fps = get_windows(info), info["frame_rate"]
    middles = (np.array(info["start_seconds"]) + np.array(info["end_seconds"])) / 2
    rows = np.arange(len(middles))
    placed = (rows * windows.stride - windows.offset + windows.extent / 2) / fps
    own = np.setdiff1d(rows, [row for row, _ in info["padding"]])
    if not len(own):
        return 0.0
    return float(np.abs(middles - placed)[own].max() * fps / windows.stride)

"""Write the annotations that go with a folder of feature files, from the JSON files beside these.

The annotations have the style of ActivityNet (flowkit/interchange/activitynet). What they say about
a video is read from its JSON file: duration, frame rate and number of the frames that the rows were
computed from.

ActionFormer and OpenTAD compute the time of a row from one frame rate for the whole video. Where
the frame rate varies, they are wrong by what `measure_drift` returns, and the report says so.
"""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from flowkit.annotations.label_files.report import show
from flowkit.annotations.table import AnnotationTable
from flowkit.errors import CorruptError, UsageError
from flowkit.interchange.activitynet import (
    AnnotationOptions,
    VideoFacts,
    describe_annotations,
    describe_loader_settings,
    write_annotations,
)
from flowkit.path_text import printable_path
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
        info_paths: The JSON files of the videos, whose names are those of the feature files. Those
            that do not exist are of videos without features.
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
    if path in info_paths:
        raise UsageError(
            f"{printable_path(path)} describes the features of a video of this name; choose "
            "another name for the annotations"
        )
    facts: dict[str, VideoFacts] = {}
    drifting: list[str] = []
    info: Mapping[str, Any] = {}
    for info_path in info_paths:
        if not info_path.exists():
            continue
        info = read_info(info_path)
        name = info_path.name.removesuffix(".json")
        facts[info["id"]] = VideoFacts(
            float(info["duration"]), float(info["frame_rate"]), f"{name}.npy", info["frames"]
        )
        drift = measure_drift(info)
        if drift > MAX_DRIFT:
            drifting.append(
                f"{name} ({drift * get_windows(info).stride / info['frame_rate']:.2f} s)"
            )
    report = write_annotations(path, table, facts, options)
    lines = describe_annotations(path.name, report)
    if drifting:
        lines.append(
            show(drifting, "video has a varying frame rate", "videos have varying frame rates")
            + "; loaders assume a constant one and place rows wrong by up to these times: compute "
            "the features with --fps"
        )
    shapes = [file["shape"] for file in info["files"]]
    if all(len(shape) == 2 for shape in shapes):  # rows of several crops are not for these loaders
        windows = get_windows(info)
        lines += describe_loader_settings(
            window=windows.extent, stride=windows.stride, first_frame=-windows.offset,
            channels=sum(shape[1] for shape in shapes), classes=len(report.classes),
            subsets=report.subsets,
        )  # fmt: skip
    return lines


def read_info(path: Path) -> dict[str, Any]:
    """Read the JSON file of a video.

    Args:
        path: The file.

    Returns:
        Its content.

    Raises:
        CorruptError: It is damaged, or no JSON file of a video.
    """
    expected = {"id", "duration", "frame_rate", "frames", "files", "recipe"}
    try:
        info = json.loads(path.read_bytes())
    except (ValueError, OSError) as error:
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

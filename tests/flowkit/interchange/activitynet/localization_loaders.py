"""Replicas of how ActionFormer and OpenTAD read a folder of features, with NumPy alone.

They are written after the behaviour of happyharrycn/actionformer_release (``libs/datasets``:
thumos14.py, anet.py; ``libs/utils/metrics.py``) and sming256/OpenTAD (``opentad/datasets``:
thumos.py, anet.py, base/, builder.py; ``transforms/loading.py``), including what these expect
without a check. Only the arithmetic and the selection of videos are here; random crops are not.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np


@dataclass
class Item:
    """One video, as a network receives it."""

    key: str
    features: np.ndarray
    """(T, C), float32."""
    segments: np.ndarray | None
    """(N, 2), in rows; None without segments."""
    labels: np.ndarray | None
    """(N,), int64; None without segments."""
    fps: float
    duration: float


def read_database(path: Path) -> dict[str, Any]:
    with path.open(encoding="ascii") as file:  # so that any locale can read it
        return json.load(file)["database"]


# ---------------------------------------------------------------------------- ActionFormer


def collect_label_ids(database: dict[str, Any], num_classes: int, one_class: bool = False):
    label_ids = {}
    for entry in database.values():
        for action in entry["annotations"]:  # the key must be there
            label_ids[action["label"]] = action["label_id"]
    assert one_class or len(label_ids) == num_classes
    # The networks turn labels into one-hot vectors of this length.
    assert all(0 <= label_id < len(label_ids) for label_id in label_ids.values())
    return label_ids


def load_actionformer_thumos(
    folder, json_file, splits, *, stride, num_frames, num_classes, default_fps=None, downsampling=1
) -> list[Item]:
    database = read_database(json_file)
    label_ids = collect_label_ids(database, num_classes)
    items = []
    for key, entry in database.items():
        path = folder / f"{key}.npy"
        if entry["subset"].lower() not in splits or not path.exists():
            continue
        features = np.load(path).astype(np.float32)[::downsampling, :]
        fps = entry["fps"] if default_fps is None else default_fps
        segments = labels = None
        if entry["annotations"]:
            seconds = np.array([a["segment"] for a in entry["annotations"]], np.float32)
            labels = np.array([label_ids[a["label"]] for a in entry["annotations"]])
            step = stride * downsampling
            segments = seconds * fps / step - 0.5 * num_frames / step
        items.append(Item(key, features, segments, labels, fps, entry["duration"]))
    return items


def remove_duplicates(actions, tolerance=1e-3):
    kept: list[dict[str, Any]] = []
    for action in actions:
        start, end = action["segment"]
        is_repeated = any(
            abs(start - other["segment"][0]) <= tolerance
            and abs(end - other["segment"][1]) <= tolerance
            and action["label_id"] == other["label_id"]
            for other in kept
        )
        if end - start >= tolerance and not is_repeated:
            kept.append(action)
    return kept


def load_actionformer_anet(
    folder, json_file, splits, *, stride, num_frames, num_classes, length=None, default_fps=None,
    trunc_thresh=0.5, training=False,
) -> list[Item]:  # fmt: skip
    """With ``length``, features are resized to this many rows; ``stride`` 0: they already are."""
    database = read_database(json_file)
    label_ids = collect_label_ids(database, num_classes, one_class=num_classes == 1)
    items = []
    for key, entry in database.items():
        if entry["subset"].lower() not in splits:
            continue
        features = np.load(folder / f"{key}.npy").astype(np.float32)  # the file must be there
        fps = entry["fps"] if default_fps is None else default_fps
        step, span = stride, num_frames
        if stride > 0 and length is not None:
            step = span = ((len(features) - 1) * stride + num_frames) / length
        elif stride <= 0:
            step = span = entry["duration"] * fps / len(features)
        rows = len(features) if length is None else length
        offset = 0.5 * span / step
        segments = labels = None
        if entry["annotations"]:
            actions = remove_duplicates(entry["annotations"])
            seconds = np.array([a["segment"] for a in actions], np.float32)
            labels = np.array([0 if num_classes == 1 else label_ids[a["label"]] for a in actions])
            segments = seconds * fps / step - offset
            if training:
                last = rows + offset
                inside = (np.minimum(segments[:, 1], last) - segments[:, 0]) / np.diff(segments)[
                    :, 0
                ]
                kept = (segments[:, 0] < last) & (inside >= trunc_thresh)
                assert kept.any()  # an empty list of tensors cannot be stacked
                segments, labels = np.minimum(segments[kept], last), labels[kept]
        items.append(Item(key, features, segments, labels, fps, entry["duration"]))
    return items


# ---------------------------------------------------------------------------- OpenTAD


def read_class_map(json_file: Path, path: Path) -> list[str]:
    """Read the class list; OpenTAD makes one from the JSON where there is none."""
    if path.exists():
        return path.read_text(encoding="utf8").splitlines()
    database = read_database(json_file)
    return sorted({a["label"] for e in database.values() for a in e["annotations"]})


def select_opentad(json_file: Path, subset: str, block_list: Path):
    blocked = block_list.read_text().splitlines()  # the file must be there
    for key, entry in read_database(json_file).items():
        if key not in blocked and entry["subset"] in subset:  # a part of the name is enough
            yield key, entry


def load_opentad_padding(
    folder, json_file, subset, *, stride, offset_frames, in_frames=True, fps=-1.0, sample_stride=1
) -> list[Item]:
    """``in_frames``: as for THUMOS, with whole frames; otherwise as for ActivityNet."""
    classes = read_class_map(json_file, folder / "category_idx.txt")
    items = []
    for key, entry in select_opentad(json_file, subset, folder / "missing_files.txt"):
        rate = entry["frame"] / entry["duration"] if in_frames or fps <= 0 else fps
        found = []
        for action in entry["annotations"]:
            if in_frames and action["label"] == "Ambiguous":
                continue
            start, end = action["segment"]
            if in_frames:
                start = int(start / entry["duration"] * entry["frame"])
                end = int(end / entry["duration"] * entry["frame"])
            else:
                start, end = start * rate, end * rate
            pair = (start, end), classes.index(action["label"])
            if pair not in found:
                found.append(pair)
        if not found:
            continue
        features = np.load(folder / f"{key}.npy").astype(np.float32)[::sample_stride]
        segments = np.array([bounds for bounds, _ in found], np.float32)
        segments = (segments - offset_frames) / (stride * sample_stride)
        labels = np.array([label for _, label in found])
        items.append(Item(key, features, segments, labels, rate, entry["duration"]))
    assert items, f"no data found in {subset}"
    return items


def load_opentad_resize(folder, json_file, subset, *, min_scale=0.01) -> list[Item]:
    """Segments stay in seconds here: the row of a time is its share of the duration."""
    classes = read_class_map(json_file, folder / "category_idx.txt")
    items = []
    for key, entry in select_opentad(json_file, subset, folder / "missing_files.txt"):
        actions = [
            action
            for action in entry["annotations"]
            if (action["segment"][1] - action["segment"][0]) / entry["duration"] > min_scale
        ]
        if actions:
            features = np.load(folder / f"{key}.npy").astype(np.float32)
            segments = np.array([action["segment"] for action in actions], np.float32)
            labels = np.array([classes.index(action["label"]) for action in actions])
            items.append(Item(key, features, segments, labels, -1.0, entry["duration"]))
    assert items, f"no data found in {subset}"
    return items

"""Collect the facts of the page of one video."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from flowkit.errors import CorruptError, FlowkitError, UsageError
from flowkit.store import Video
from flowkit.store.format.jpeg import decode_grey
from flowkit.store.format.records import read_record
from flowkit.streams import STREAMS
from flowkit.web.keys import make_key
from flowkit.web.open_store import StoreView

MOTION_SAMPLES = 200
"""Flow fields at most whose mean length the curve under the player shows."""
MOTION_STEP = 4
"""Every so many pixels, in both directions, are read for the curve."""


def describe_video(root: Path, view: StoreView, video: Video) -> dict[str, Any]:
    """Describe a video as JSON values, for ``/api/video/KEY``.

    Args:
        root: Folder of the store.
        view: The open store.
        video: The video.
    """
    flow = view.store.recipe.flow
    motion = video.motion
    neighbours = find_neighbours(view, video)
    return {
        "version": view.version,
        "id": video.id,
        "key": make_key(video.id),
        "previous": neighbours[0],
        "next": neighbours[1],
        "labels": [
            {"name": label.name, "start": label.start, "end": label.end} for label in video.labels
        ],
        "subsets": video.subsets,
        "streams": video.streams,
        "frames": video.num_frames,
        "fps": video.fps,
        "times": list_times(video),
        "duration": video.duration,
        "width": video.width,
        "height": video.height,
        "flow": None
        if flow is None or "flow" not in video.streams
        else {
            "bound": flow.bound,
            "step": flow.step,
            "first": video.flow_frames.start,
            "count": video.num_flow,
        },
        "patches": view.store.index.count("audio", view.store.find(video.id) or 0),
        "motion": None if motion is None else {"mean": motion.mean, "p95": motion.p95},
        "source": video.source,
        "fingerprint": asdict(video.fingerprint),
        "committed": describe_records(root, view, video),
    }


def find_neighbours(view: StoreView, video: Video) -> tuple[str | None, str | None]:
    """Return the keys of the videos before and after a video, in the order of ids."""
    row = view.store.find(video.id)
    assert row is not None
    ids = view.store.ids
    previous = make_key(ids[row - 1]) if row > 0 else None
    following = make_key(ids[row + 1]) if row + 1 < len(ids) else None
    return previous, following


def list_times(video: Video) -> list[float]:
    """List when each frame is shown, in seconds; empty for a video without frames."""
    try:
        return [round(float(time), 6) for time in video.times()]
    except (UsageError, CorruptError):
        return []


def describe_records(root: Path, view: StoreView, video: Video) -> list[dict[str, Any]]:
    """Describe what each shard's commit record says about a video: warnings and provenance."""
    row, index, records = view.store.find(video.id), view.store.index, []
    assert row is not None
    seen = set()
    for stream in video.streams:
        location = index.locate(stream, row)
        shard = index.shards[location[0]] if location else ""
        if shard in seen:
            continue
        seen.add(shard)
        try:
            record = read_record((root / shard).with_suffix(".json"))
            entry = next(entry for entry in record.videos if entry.id == video.id)
            facts = {"warnings": entry.warnings, "provenance": entry.provenance}
        except (FlowkitError, OSError, StopIteration) as error:
            facts = {"error": " ".join(str(error).split()) or "the record lacks this video"}
        folder = shard.rpartition("/")[0]
        streams = [
            name
            for name in video.streams
            if (STREAMS[name].folder if name in STREAMS else name) == folder
        ]
        records.append({"shard": shard, "streams": streams, **facts})
    return records


def measure_motion(view: StoreView, video: Video) -> dict[str, Any]:
    """Measure the mean length of the flow over time, for ``/api/video/KEY/motion``.

    At most `MOTION_SAMPLES` evenly spaced flow fields are read, so that a long video takes no
    longer than a short one.

    Args:
        view: The open store.
        video: A video with flow.

    Returns:
        The frames of the fields, and their mean length in pixels; None where a field is damaged.

    Raises:
        UsageError: The video has no flow.
    """
    fields = video.flow_frames
    count = min(len(fields), MOTION_SAMPLES)
    chosen = [fields[round(k)] for k in np.linspace(0, len(fields) - 1, count)] if count else []
    return {"frames": chosen, "pixels": [measure_field(video, t, view.store.bound) for t in chosen]}


def measure_field(video: Video, t: int, bound: float) -> float | None:
    """Measure the mean length of flow field t in pixels; None if it is damaged."""
    try:
        x, y = (decode_grey(jpeg)[::MOTION_STEP, ::MOTION_STEP] for jpeg in video.flow_bytes(t))
    except CorruptError:
        return None
    x, y = (np.maximum(q, 1).astype(np.float32) - 128 for q in (x, y))
    return round(float(np.hypot(x, y).mean()) * bound / 127, 4)

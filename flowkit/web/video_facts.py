"""Collect the facts of the page of one video."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from flowkit.errors import CorruptError, UsageError
from flowkit.recipe import LogMelRecipe
from flowkit.store import Video
from flowkit.store.format.jpeg import decode_grey
from flowkit.streams import PATCH_SHAPE
from flowkit.web.commit_facts import describe_records
from flowkit.web.keys import make_key
from flowkit.web.open_store import StoreView

MOTION_SAMPLES = 200
"""Largest number of flow fields that are read for the curve of motion under the player."""
MOTION_STEP = 4
"""Step in both directions between the pixels of a field that are read for the curve."""
TIME_PRECISION = 2e-6
"""Seconds by which the times of a constant frame rate are off: they are whole microseconds."""


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
    times, interval, times_error = list_times(video)
    row = view.store.find(video.id)
    patches = 0 if row is None else view.store.index.count("audio", row)
    hop_seconds = (view.store.recipe.audio or LogMelRecipe()).hop_seconds
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
        "times": times,
        "interval": interval,
        "times_error": times_error,
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
        "patches": patches,
        "sound_seconds": round(patches * PATCH_SHAPE[0] * hop_seconds, 6),
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


def list_times(video: Video) -> tuple[list[float] | None, float | None, str | None]:
    """List when each frame is shown.

    Returns:
        The times in seconds, and None; or None, and the seconds from each frame to the next where
        that is constant to `TIME_PRECISION`, since the list of an hour has 100,000 numbers. A
        video without frames, or with neither times nor a frame rate, has an empty list. Then the
        error if the times are damaged, with an empty list; None without one.
    """
    try:
        times = video.times()
    except UsageError:
        return [], None, None
    except CorruptError as error:
        return [], None, " ".join(str(error).split())
    if len(times) > 1:
        interval = float(times[-1] - times[0]) / (len(times) - 1)
        even = times[0] + interval * np.arange(len(times))
        if interval > 0 and np.abs(times - even).max() <= TIME_PRECISION:
            return None, interval, None
    return np.round(times, 6).tolist(), None, None


def measure_motion(view: StoreView, video: Video) -> dict[str, Any]:
    """Measure the mean length of the flow over time, for ``/api/video/KEY/motion``.

    At most `MOTION_SAMPLES` evenly spaced flow fields are read, so that a long video takes no
    longer than a short one.

    Args:
        view: The open store.
        video: The video.

    Returns:
        The frames of the fields, none for a video without flow; their mean length in pixels, None
        where a field is damaged; and a scale for colours, None without fields: nine fields of ten
        have at most 2 % of their pixels above it.
    """
    fields = video.flow_frames
    count = min(len(fields), MOTION_SAMPLES)
    chosen = [fields[round(k)] for k in np.linspace(0, len(fields) - 1, count)] if count else []
    lengths = [measure_field(video, t, view.store.bound) for t in chosen]
    known = [pair[1] for pair in lengths if pair is not None]
    return {
        "frames": chosen,
        "pixels": [None if pair is None else pair[0] for pair in lengths],
        "scale": round(float(np.quantile(known, 0.9)), 4) if known else None,
    }


def measure_field(video: Video, t: int, bound: float) -> tuple[float, float] | None:
    """Measure the mean length of flow field t in pixels, and the one that its fastest 2 % exceed.

    Returns:
        Both lengths; None if the field is damaged.
    """
    try:
        x, y = (decode_grey(jpeg)[::MOTION_STEP, ::MOTION_STEP] for jpeg in video.flow_bytes(t))
    except CorruptError:
        return None
    if x.shape != y.shape:
        return None
    x, y = (np.maximum(q, 1).astype(np.float32) - 128 for q in (x, y))
    lengths = np.hypot(x, y) * bound / 127
    return round(float(lengths.mean()), 4), float(np.quantile(lengths, 0.98))

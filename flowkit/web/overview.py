"""Collect the facts of the overview page: what a store holds, in numbers."""

import math
import time
from collections import Counter
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from flowkit.store.integrity.outcome import read_outcome
from flowkit.store.status import (
    count_streams,
    describe_features,
    describe_recipe,
    list_running_parts,
    list_shard_files,
)
from flowkit.web.absent import AbsentVideos, describe_failure
from flowkit.web.open_store import OpenStore, StoreView

HISTOGRAMS = ("duration", "fps", "motion", "frames")
"""Numbers of the videos whose distribution is shown."""
BINS = 24
"""Bars of a histogram, about."""
LISTED = 200
"""Videos that are listed of those that failed or are missing; their number is always exact."""


@dataclass(frozen=True, kw_only=True)
class Histogram:
    """The distribution of a number over the videos."""

    edges: list[float]
    """Edges of the bars, one more than `counts`; empty if no video has the number."""
    counts: list[int]
    """Number of videos in each bar. A bar has its lower edge; the last one all above it."""
    unknown: int
    """Number of videos whose number is unknown."""
    mean: float | None
    """Mean of the known numbers."""
    low: float | None
    """The smallest number."""
    high: float | None
    """The largest number."""


def describe_store(open_store: OpenStore) -> dict[str, Any]:
    """Describe a store as JSON values, for ``/api/overview``.

    What the index says is kept until it changes; files, failures and locks are read each time.

    Args:
        open_store: The open store.
    """
    root, view = open_store.root, open_store.get()
    header, files, index = view.store.header, list_shard_files(root), view.store.index
    features, outcome = header.recipe.features, read_outcome(root)
    return {
        "name": root.resolve().name,
        "path": view.store.location,
        "version": view.version,
        "read_at": time.time(),
        "dataset": header.dataset,
        "creator": header.creator,
        "created": header.created,
        "recipe": describe_recipe(header.recipe),
        "features": {name: describe_features(features[name]) for name in features},
        **describe_videos(view),
        **describe_absent(open_store.get_absent()),
        "shards": {
            folder: {"count": len(sizes), "bytes": sum(sizes)}
            for folder, sizes in files.sizes.items()
        },
        "writing": files.writing,
        "running": list_running_parts(root),
        "leftover": files.leftover,
        "stale": len(files.committed.difference(index.shards)),
        "quarantined": count_quarantined(root),
        "verified": None if outcome is None else asdict(outcome),
    }


@lru_cache(maxsize=1)
def describe_videos(view: StoreView) -> dict[str, Any]:
    """Describe the videos that the store has, from its index."""
    videos = view.videos
    duration = float(np.nansum(videos.read_numbers("duration")))
    return {
        "videos": len(videos),
        "frames": int(np.nansum(videos.read_numbers("frames"))),
        "duration": duration,
        "streams": count_streams(view.store.index),
        "subsets": view.store.subsets(),
        "classes": count_classes(view),
        "histograms": {
            name: vars(make_histogram(videos.read_numbers(name))) for name in HISTOGRAMS
        },
    }


def count_classes(view: StoreView) -> list[dict[str, Any]]:
    """Count the videos of each class, the most frequent class first.

    Returns:
        For each class its name, its number of videos, and ``by_subset``, this number for each
        subset in the order of their names.
    """
    labels = view.videos.labels
    counts, by_subset = (array.tolist() for array in labels.count_by_class())
    classes = zip(labels.classes, counts, by_subset, strict=True)
    return [
        {"name": name, "videos": count, "by_subset": parts}
        for name, count, parts in sorted(classes, key=lambda entry: (-entry[1], entry[0]))
    ]


def describe_absent(absent: AbsentVideos) -> dict[str, Any]:
    """Describe the videos that failed, and those that are annotated but not in the store."""
    failures = sorted(absent.failures.values(), key=lambda failure: failure.id)
    missing = np.flatnonzero(absent.is_missing)
    return {
        "failures": {
            "kinds": dict(Counter(failure.kind for failure in failures).most_common()),
            "total": len(failures),
            "listed": [describe_failure(failure) for failure in failures[:LISTED]],
        },
        "missing": {
            "total": len(missing),
            "listed": [absent.ids[row].as_py() for row in missing[:LISTED].tolist()],
        },
    }


def make_histogram(values: np.ndarray[Any, np.dtype[np.float64]]) -> Histogram:
    """Count numbers in bars of equal, round width; those above the 99th percentile in the last.

    Args:
        values: One number for each video, NaN where it is unknown.
    """
    known = values[~np.isnan(values)]
    unknown = len(values) - len(known)
    if not len(known):
        return Histogram(edges=[], counts=[], unknown=unknown, mean=None, low=None, high=None)
    low, high = float(known.min()), float(known.max())
    mean, top = float(known.mean()), float(np.percentile(known, 99))
    edges, counts = [low, high], [len(known)]
    if top > low:
        edges, counts = count_in_bars(known, low, top)
        edges[-1] = max(edges[-1], high)
    return Histogram(edges=edges, counts=counts, unknown=unknown, mean=mean, low=low, high=high)


def count_in_bars(
    known: np.ndarray[Any, np.dtype[np.float64]], low: float, top: float
) -> tuple[list[float], list[int]]:
    """Count numbers in about `BINS` bars of round width from ``low`` to ``top``.

    Returns:
        The edges of the bars, and their counts; the last bar has all numbers above its lower edge.
    """
    step = choose_step((top - low) / BINS)
    if not (known % 1).any():
        step = max(step, 1.0)  # a bar narrower than 1 would hold no whole number
    first, last = math.floor(low / step), math.floor(top / step) + 1
    edges = np.array([float(f"{k * step:.12g}") for k in range(first, last + 1)])
    bars = np.searchsorted(edges, known, side="right") - 1
    counts = np.bincount(bars.clip(0, len(edges) - 2), minlength=len(edges) - 1)
    return edges.tolist(), counts.tolist()


def choose_step(width: float) -> float:
    """Return the smallest of 1, 2 or 5 times a power of ten that is not below ``width``."""
    power = 10.0 ** math.floor(math.log10(width))
    return next(k * power for k in (1, 2, 5, 10) if k * power >= width * (1 - 1e-9))


def count_quarantined(root: Path) -> int:
    """Count the damaged shards that `flowkit verify --repair` has moved aside."""
    return sum(1 for _ in (root / "quarantine").rglob("*.arrow"))

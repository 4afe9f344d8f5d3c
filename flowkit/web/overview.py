"""Collect the facts of the overview page: what a store holds, in numbers."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from flowkit.store.annotations import read_annotation_rows
from flowkit.store.failures import Failure, read_failures
from flowkit.store.status import describe_features, describe_recipe, read_status
from flowkit.web.open_store import StoreView

HISTOGRAMS = ("duration", "fps", "motion", "frames")
"""Numbers of the videos whose distribution is shown."""
BINS = 32
"""Bars of a histogram."""
LISTED = 200
"""Videos that are listed of those that failed or are missing; their number is always exact."""


@dataclass(frozen=True, kw_only=True)
class Histogram:
    """The distribution of a number over the videos."""

    edges: list[float]
    """Edges of the bars, one more than `counts`; empty if no video has the number."""
    counts: list[int]
    """Number of videos in each bar."""
    unknown: int
    """Number of videos whose number is unknown."""


def describe_store(root: Path, view: StoreView) -> dict[str, Any]:
    """Describe a store as JSON values, for ``/api/overview``.

    Args:
        root: Folder of the store.
        view: The open store.
    """
    status = read_status(root)
    recipe = view.store.recipe
    failures = [f for f in read_failures(root).values() if view.store.find(f.id) is None]
    return {
        "name": root.resolve().name,
        "path": str(root.resolve()),
        "version": view.version,
        "read_at": time.time(),
        "dataset": status.dataset,
        "creator": status.creator,
        "created": status.created,
        "recipe": describe_recipe(recipe),
        "features": {name: describe_features(f) for name, f in recipe.features.items()},
        "videos": status.videos,
        "frames": status.frames,
        "duration": float(np.nansum(view.videos.read_numbers("duration"))),
        "streams": status.streams,
        "subsets": status.subsets,
        "classes": count_classes(view),
        "histograms": {
            name: vars(make_histogram(view.videos.read_numbers(name))) for name in HISTOGRAMS
        },
        "failures": {
            "kinds": status.failures,
            "total": len(failures),
            "listed": [describe_failure(failure) for failure in failures[:LISTED]],
        },
        "missing": {"total": status.missing, "listed": list_missing(root, view)},
        "shards": {
            folder: {"count": count, "bytes": status.bytes[folder]}
            for folder, count in status.shards.items()
        },
        "writing": status.writing,
        "running": status.running,
        "leftover": status.leftover,
        "stale": status.stale,
    }


def count_classes(view: StoreView) -> list[dict[str, Any]]:
    """Count the videos of each class, the most frequent class first."""
    counts = view.videos.count_classes()
    names = sorted(counts, key=lambda name: (-counts[name], name))
    return [{"name": name, "videos": counts[name]} for name in names]


def make_histogram(values: np.ndarray[Any, np.dtype[np.float64]]) -> Histogram:
    """Count numbers in bars of equal width; numbers beyond the 99th percentile are in the last.

    Args:
        values: One number for each video, NaN where it is unknown.
    """
    known = values[~np.isnan(values)]
    unknown = len(values) - len(known)
    if not len(known):
        return Histogram(edges=[], counts=[], unknown=unknown)
    low, high = float(known.min()), float(np.percentile(known, 99))
    if high <= low:
        return Histogram(edges=[low, low], counts=[len(known)], unknown=unknown)
    counts, edges = np.histogram(known.clip(low, high), BINS, (low, high))
    edges[-1] = known.max()
    return Histogram(edges=edges.tolist(), counts=counts.tolist(), unknown=unknown)


def describe_failure(failure: Failure) -> dict[str, Any]:
    """Describe a video that could not be extracted, or whose features could not be computed."""
    return {
        "id": failure.id,
        "kind": failure.kind,
        "reason": failure.reason,
        "attempts": failure.attempts,
        "time": failure.time,
    }


def list_missing(root: Path, view: StoreView) -> Sequence[str]:
    """List the first videos that are annotated but not in the store."""
    rows = read_annotation_rows(root)
    if rows is None:
        return []
    missing = []
    for id in rows["id"].to_pylist():
        if view.store.find(id) is None:
            missing.append(id)
            if len(missing) == LISTED:
                break
    return missing

"""List what a folder without a server needs of runs: `flowkit view --static`."""

from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode

from flowkit.store import Store
from train.web.open_runs import OpenRun
from train.web.predictions import ORDERS, Filter, judge_videos, list_videos, sort_videos
from train.web.run_facts import check_labels

LEFT_OUT = (
    "Attention, and scores of single segments, are computed when they are asked for, which this "
    "folder cannot do: flowkit view with the store and the run shows them."
)
"""Why attention and the scores of segments are not in the folder."""


def list_addresses(runs: dict[str, OpenRun]) -> Iterator[str]:
    """List the addresses about runs.

    Args:
        runs: The runs by key.
    """
    yield "/api/runs"
    for key, run in runs.items():
        yield f"/api/runs/{key}"
        yield f"/api/runs/{key}/curves"
        if run.run.recipe.labels != "one":
            continue
        for score in run.list_scores():
            for name in ("confusion", "scored"):
                yield f"/api/runs/{key}/{name}?{urlencode({'score': score})}"
        for other in runs:
            if other != key:
                yield f"/api/runs/{key}/gains?{urlencode({'against': other})}"


def list_video_addresses(key: str) -> list[str]:
    """List the addresses about the video of a key."""
    return [f"/api/video/{key}/runs"]


def list_scored_videos(run: OpenRun, score: str, store: Store) -> dict[str, Any]:
    """List all videos of a score, for ``/api/runs/RUN/scored``.

    Args:
        run: The run.
        score: Name of the score.
        store: The store that is shown.

    Returns:
        The videos in the order of their ids, as ``/api/runs/RUN/videos`` has them; the indices of
        their classes and of the predicted ones; and for each order the places of the videos.

    Raises:
        UsageError: Videos have many labels.
    """
    check_labels(run)
    scores = run.load_scores(score)
    everything = Filter(order="id", limit=len(scores.ids))
    predicted, confidence, loss = judge_videos(run, score, scores)
    return {
        "score": score,
        "videos": list_videos(run, score, store, everything)["videos"],
        "true": scores.labels.tolist(),
        "predicted": predicted.tolist(),
        "orders": {
            order: sort_videos(order, scores.labels, predicted, confidence, loss).tolist()
            for order in ORDERS
        },
    }

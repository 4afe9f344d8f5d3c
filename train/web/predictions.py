"""List the videos of a run by how it scored them, and the best classes of one video."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from flowkit.errors import UsageError
from flowkit.store import Store
from flowkit.web.keys import make_key
from train.evaluation.evaluate import join_name
from train.evaluation.scores import F32, Scores, convert_to_probabilities, predict_classes
from train.runs.phases import list_scorings
from train.tasks.registry import find_task
from train.web.open_runs import OpenRun
from train.web.run_facts import check_labels

TOP = 5
"""Classes of a video that are listed."""
ORDERS = ("wrong", "loss", "confidence", "id")
"""Orders of videos: wrong ones first (the surest first), largest loss, largest probability, id."""
MAX_VIDEOS = 120
"""Videos of a page at most."""


@dataclass(frozen=True, kw_only=True)
class Filter:
    """Which videos of a score to list."""

    true: int | None = None
    """Only videos of this class."""
    predicted: int | None = None
    """Only videos for which this class was predicted; −1 for a class that no tested video has."""
    order: str = "wrong"
    """One of `ORDERS`."""
    offset: int = 0
    """Videos to skip."""
    limit: int = 48
    """Videos to list at most."""


def compute_probabilities(run: OpenRun, name: str, scores: Scores) -> F32:
    """Compute the probabilities of a score, as `flowkit predict` does.

    Args:
        run: The run.
        name: Name of the score, such as ``iter_1/fusion``.
        scores: The score.

    Returns:
        (N, C) probabilities, whose order is that of the averages by which the run is evaluated.
    """
    recipe = run.run.recipe
    # testing.over: whether the views of a video are averaged as logits or as probabilities.
    averages = scores.get_averages(recipe.testing.over)
    for scoring in list_scorings(recipe):
        if scoring.fusion and name == join_name(scoring.name, "fusion"):
            averages = averages / sum(scoring.fusion)
    return convert_to_probabilities(averages, recipe)


def list_videos(run: OpenRun, name: str, store: Store, chosen: Filter) -> dict[str, Any]:
    """List videos by how a run scored them, for ``/api/runs/RUN/videos``.

    Args:
        run: The run.
        name: Name of the score.
        store: The store that is shown.
        chosen: Which videos, and in which order.

    Returns:
        JSON values: the ``score``, how many videos are chosen (``total``) and how many of them are
        ``wrong``, the ``offset``, and ``videos``, those of the page.

    Raises:
        UsageError: Videos have many labels, or the order is unknown.
    """
    check_labels(run)
    if chosen.order not in ORDERS:
        raise UsageError(f"sort is one of {', '.join(ORDERS)}, got {chosen.order!r}")
    scores = run.load_scores(name)
    labels = scores.labels
    predicted, confidence, loss = judge_videos(run, name, scores)
    keep = np.ones(len(labels), bool)
    if chosen.true is not None:
        keep &= labels == chosen.true
    if chosen.predicted is not None and chosen.predicted >= 0:
        keep &= predicted == chosen.predicted
    elif chosen.predicted is not None:
        keep &= ~np.isin(predicted, labels)
    rows = sort_videos(chosen.order, labels, predicted, confidence, loss)
    rows = rows[keep[rows]]
    page = rows[chosen.offset : chosen.offset + chosen.limit].tolist()
    classes = run.run.classes
    return {
        "score": name,
        "total": len(rows),
        "wrong": int((labels != predicted)[keep].sum()),
        "offset": chosen.offset,
        "videos": [
            {
                **describe_video(store, scores.ids[n]),
                "true": classes[labels[n]],
                "predicted": classes[predicted[n]],
                "right": bool(labels[n] == predicted[n]),
                "confidence": round(float(confidence[n]), 4),
                "loss": round(float(loss[n]), 4),
            }
            for n in page
        ],
    }


def judge_videos(run: OpenRun, name: str, scores: Scores) -> tuple[npt.NDArray[np.int64], F32, F32]:
    """Compute what a score says about each of its videos, which have one label each.

    Args:
        run: The run.
        name: Name of the score.
        scores: The score.

    Returns:
        The predicted class, its probability, and the negative log probability of the true class,
        (N,) each.
    """
    averages = scores.get_averages(run.run.recipe.testing.over)
    # With the labels, since a tie with the right class counts as wrong.
    predicted = predict_classes(averages, scores.labels)
    probabilities = compute_probabilities(run, name, scores)
    rows = np.arange(len(scores.labels))
    loss = -np.log(probabilities[rows, scores.labels].clip(1e-30))
    return predicted, probabilities[rows, predicted], loss


def sort_videos(
    order: str,
    labels: npt.NDArray[np.int64],
    predicted: npt.NDArray[np.int64],
    confidence: F32,
    loss: F32,
) -> npt.NDArray[np.int64]:
    """Return the rows (N,) of a score in one of `ORDERS`; ids have the order of the store."""
    if order == "id":
        return np.arange(len(labels))
    if order == "wrong":
        return np.lexsort((-confidence, labels == predicted))
    return np.argsort(-(loss if order == "loss" else confidence), kind="stable")


def describe_video(store: Store, id: str) -> dict[str, Any]:
    """Return the id of a video, and the key and middle frame of one that the store has."""
    row = store.find(id)
    if row is None:
        return {"id": id, "key": None, "frame": None}
    video = store[row]
    frame = video.num_frames // 2 if "rgb" in video.streams else None
    return {"id": id, "key": make_key(id), "frame": frame}


def describe_predictions(run: OpenRun, id: str) -> dict[str, Any]:
    """List the best classes of a video for each score of a run.

    Args:
        run: The run.
        id: Id of the video.

    Returns:
        The key and name of the run, whether it was evaluated, and ``groups`` of scores, such as
        ``iter_1``, each with its branches and their fusion; none if the run did not score the
        video.
    """
    titles = find_task(run.run.recipe).score_titles
    available = run.list_scores()
    groups = []
    for scoring in list_scorings(run.run.recipe):
        branches = []
        for branch, title in titles.items():
            name = join_name(scoring.name, branch)
            best = list_best(run, name, id) if name in available else None
            if best is not None:
                branches.append({"branch": branch, "title": title, "top": best})
        if branches:
            groups.append({"name": scoring.name, "branches": branches})
    return {"key": run.key, "name": run.name, "evaluated": bool(available), "groups": groups}


def list_best(run: OpenRun, name: str, id: str) -> list[dict[str, Any]] | None:
    """List the `TOP` most probable classes of a video; None if the score does not have it."""
    scores = run.load_scores(name)
    if id not in scores.ids:
        return None
    row = scores.ids.index(id)
    one = Scores(
        scores.ids[row : row + 1],
        scores.labels[row : row + 1],
        scores.logits[row : row + 1],
        scores.softmax[row : row + 1],
    )
    probabilities = compute_probabilities(run, name, one)[0]
    order = np.argsort(-probabilities, kind="stable")[:TOP].tolist()
    label = scores.labels[row]
    right = np.flatnonzero(label) if label.ndim else np.array([label])
    return [
        {"class": run.run.classes[c], "probability": round(float(probabilities[c]), 6),
         "right": bool((right == c).any())}
        for c in order
    ]  # fmt: skip

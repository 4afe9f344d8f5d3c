"""Order the grid of videos by how runs scored them."""

from collections.abc import Mapping
from functools import partial

import numpy as np
import numpy.typing as npt

from flowkit.errors import FlowkitError
from flowkit.web.browse import Order
from flowkit.web.open_store import StoreView
from train.web.open_runs import OpenRun
from train.web.predictions import judge_videos
from train.web.run_facts import check_labels

F64 = npt.NDArray[np.float64]
KINDS = ("wrong first", "loss", "confidence")
"""Orders of each run: wrong videos, the most confident first, and then right ones, the least
confident first; the loss; and the probability of the predicted class.
"""


def make_orders(runs: Mapping[str, OpenRun]) -> dict[str, Order]:
    """Make the orders of all runs that were evaluated on videos with one label each.

    Args:
        runs: The runs by key.

    Returns:
        Orders by name, such as ``cma: loss``. They use the score that represents the run.
    """
    orders: dict[str, Order] = {}
    for run in runs.values():
        try:
            check_labels(run)
            run.choose_score("")
        except FlowkitError:  # the page of the run says why
            continue
        for kind in KINDS:
            orders[f"{run.name}: {kind}"] = partial(rank_videos, run, kind)
    return orders


def rank_videos(run: OpenRun, kind: str, view: StoreView) -> F64:
    """Compute the numbers of an order, float64 (videos of the store,).

    Args:
        run: The run.
        kind: One of `KINDS`.
        view: The open store.

    Returns:
        NaN for videos that the run did not test.

    Raises:
        RunError: The run was not evaluated, or its scores cannot be read.
    """
    name = run.choose_score("")
    scores = run.load_scores(name)
    predicted, confidence, loss = judge_videos(run, name, scores)
    is_right = predicted == scores.labels
    numbers = {
        "wrong first": np.where(is_right, confidence, -confidence),
        "loss": loss,
        "confidence": confidence,
    }[kind]
    values = np.full(len(view.store), np.nan)
    for id, number in zip(scores.ids, numbers.tolist(), strict=True):
        row = view.store.find(id)
        if row is not None:
            values[row] = number
    return values

"""Score each segment of a video alone: files of scores have only the averages over segments."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from flowkit.errors import UsageError
from flowkit.store import Store
from train.evaluation.predict import choose_scoring, combine_scores
from train.evaluation.scores import F32, combine_views, convert_to_probabilities
from train.evaluation.scoring import list_jobs
from train.recipe.recipe import AudioRecipe, Branch, ImageRecipe
from train.runs.phases import Scoring
from train.runs.run import Run, Settings
from train.tasks.registry import find_task
from train.web.attention_maps import describe_snippets, make_cancellable
from train.web.predictions import TOP


def explain_no_segments(run: Run) -> str:
    """Say why a run has no scores of single segments; empty if it has them."""
    recipe = run.recipe
    if isinstance(recipe, AudioRecipe):
        return "Only segments of images are scored alone; this run scores patches of sound."
    if not isinstance(recipe, ImageRecipe):
        return "The network of this run sees the whole video at once."
    if recipe.network.pyramid is not None:
        return "The network of this run sees all segments at once."
    missing = [name for name in choose_scoring(run).phases.values() if not run.is_finished(name)]
    return f"The phase {missing[0]} is not finished." if missing else ""


def describe_segments(
    run: Run, store: Store, row: int, check: Callable[[], None]
) -> dict[str, Any]:
    """Compute the best classes of each segment with the last score of a finished run.

    Args:
        run: A run on images.
        store: The store.
        row: Row of the video in the store.
        check: Called before each module of a network; raises an error to stop it.

    Returns:
        ``branches`` has for each branch, and for the fusion, the `TOP` best classes of each
        segment, and ``times``: the first frame of what is read in the middle of each segment.
        Branches that were trained alone may read other frames; those of the fusion are then null,
        and ``times`` beside ``branches`` are those of the first branch.

    Raises:
        UsageError: The run has no scores of single segments (`explain_no_segments`).
        RunError: The weights of a phase are damaged.
        StoreError: The video lacks a stream that a network reads, or its data are damaged.
    """
    reason = explain_no_segments(run)
    if reason:
        raise UsageError(reason)
    scoring = choose_scoring(run)
    segments, times = score_segments(run, scoring, store, row, check)
    titles = find_task(run.recipe).score_titles
    kind = 0 if run.recipe.testing.over == "logits" else 1
    values: dict[str, list[F32]] = {
        branch: [convert_to_probabilities(pair[kind], run.recipe) for pair in pairs]
        for branch, pairs in segments.items()
    }
    if scoring.fusion is not None:
        values["fusion"] = [
            combine_scores(run, scoring, dict(zip(segments, pairs, strict=True)))
            for pairs in zip(*segments.values(), strict=True)
        ]
        differ = len({*times.values()}) > 1
        times["fusion"] = None if differ else next(iter(times.values()))
    return {
        "scoring": scoring.name,
        "times": next(times[branch] for branch in titles if branch in times),
        "branches": [
            {"branch": branch, "title": titles[branch], "times": times[branch],
             "segments": [list_top(run, one) for one in values[branch]]}
            for branch in titles
            if branch in values
        ],
    }  # fmt: skip


def score_segments(
    run: Run, scoring: Scoring, store: Store, row: int, check: Callable[[], None]
) -> tuple[dict[Branch, list[tuple[F32, F32]]], dict[str, tuple[int, ...] | None]]:
    """Score each segment of a video with each branch.

    Args:
        run: A run on images.
        scoring: The phases of the branches.
        store: The store.
        row: Row of the video in the store.
        check: Called before each module of a network; raises an error to stop it.

    Returns:
        By branch: the averaged logits and probabilities of each segment, and the first frame of
        what is read in it.
    """
    segments: dict[Branch, list[tuple[F32, F32]]] = {}
    times: dict[str, tuple[int, ...] | None] = {}
    for job in list_jobs(run, scoring, Settings(), row):
        phase, recipe = job.phase, job.run.recipe
        task = find_task(recipe)
        network = make_cancellable(task.load_finished_network(run, phase, job.branches), check)
        dataset: Any = task.open_dataset(store, phase, "test", row)
        batch = dataset.batch([0])
        starts = describe_snippets(dataset, row).times
        scores = task.test_scores(network, batch, phase, torch.device("cpu"))
        for branch in job.branches:
            # The views of a sample are all crops of its first segment, then those of the second …
            by_segment = scores[branch][0].unflatten(0, (len(starts), -1))
            views, times[branch] = recipe.testing.views, starts
            segments[branch] = [combine_views(v, recipe.labels, views) for v in by_segment]
    return segments, times


def list_top(run: Run, probabilities: F32) -> list[dict[str, Any]]:
    """List the `TOP` most probable classes."""
    order = np.argsort(-probabilities, kind="stable")[:TOP].tolist()
    return [
        {"class": run.classes[c], "probability": round(float(probabilities[c]), 6)} for c in order
    ]

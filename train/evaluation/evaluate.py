"""Evaluate a finished run: score its test videos with the network of each phase.

The metrics of a run have these names:

    iter_0/rgb, iter_0/flow, iter_0/fusion     the branches alone, fused 1:1
    iter_1/rgb, iter_1/flow, iter_1/fusion     after the phase iter_1, fused 5:1
    iter_2/…                                   after the phase iter_2, fused 1:5, and so on
    NAME/rgb                                   of a control experiment: the RGB score of iter_1 with
                                               one component removed or changed
    mean/…                                     means over splits, where there are several

Without iterations the names are just rgb, flow and fusion. Runs on audio have audio, and runs on
feature sets have sets. Every video of the subset is scored exactly once. Runs on audio score only
videos that have sound; `n` is the number of scored videos.

A branch is the network of one stream, after which its score is named. A `Scoring` is one group of
scores, such as iter_1: it lists the phase whose network computes the score of each branch.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from flowkit.datasets.loading import EpochSampler
from flowkit.store import Store
from train.distributed.parallel import choose_layout
from train.evaluation.scores import Scores, average_views, fuse_scores, measure
from train.recipe.recipe import Branch, Recipe
from train.runs.phases import Phase, Scoring, list_phases, list_scorings, list_split_scorings
from train.runs.run import Run, RunError, Settings
from train.tasks.registry import find_task
from train.tasks.samples import OtherClassFlow, make_loader

Progress = Callable[[int, int], None]


def evaluate(
    run: Run,
    store: Store,
    settings: Settings,
    progress: Callable[[str], Progress] = lambda name: lambda done, total: None,
) -> dict[str, dict[str, float]]:
    """Score the test videos with every phase, and save scores in the run folder.

    Args:
        run: The finished run.
        store: The store with the test videos.
        settings: Device, precision and processes.
        progress: Called with the name of each step. It returns a function that is then called with
            the number of videos scored so far and their total.

    Returns:
        Metrics by the name of the score, as listed in the module docstring.

    Raises:
        RunError: The run is not finished, or the store has classes other than the run's.
    """
    unfinished = [phase.name for phase in run.list_unfinished_phases()]
    if unfinished:
        raise RunError(
            f"{run.path} is not finished (phases to train: {', '.join(unfinished)}); run flowkit "
            "train again to continue it"
        )
    run.check_store(store)
    torch.set_num_threads(settings.threads)
    results: dict[str, dict[str, float]] = {}
    for scoring in list_scorings(run.recipe):
        for branch, scores in score_phases(run, scoring, store, settings, progress).items():
            name = join_name(scoring.name, branch)
            scores.save(run.path / "scores" / f"{name}.npz")
            results[name] = measure(scores.get_averages(run.recipe.testing.over), scores.labels)
    results.update(average_splits(run.recipe, results))
    return results


def score_phases(
    run: Run,
    scoring: Scoring,
    store: Store,
    settings: Settings,
    progress: Callable[[str], Progress] = lambda name: lambda done, total: None,
    video: tuple[str, int] | None = None,
) -> dict[str, Scores]:
    """Compute the scores of each branch of a scoring, and of their fusion.

    Args:
        run: The run.
        scoring: Which phases compute the scores, and how they are fused.
        store: The store with the videos.
        settings: Device, precision and processes.
        progress: See `evaluate`.
        video: The only video to score, which needs no label: the name of a subset that it is in,
            and its row in the store. Default: all test videos.

    Returns:
        The scores by branch, and ``fusion`` if the scoring has one.
    """
    phases = {phase.name: phase for phase in list_phases(run.recipe)}
    scores: dict[str, Scores] = {}
    for name in dict.fromkeys(scoring.phases.values()):
        branches = tuple(branch for branch, phase in scoring.phases.items() if phase == name)
        report = progress(f"{scoring.name or 'scores'}: {' and '.join(branches)}")
        scores |= score_videos(
            run, phases[name], branches, scoring.control, store, settings, report, video
        )
    if scoring.fusion is not None:
        over = run.recipe.testing.over
        scores["fusion"] = fuse_scores(scores["rgb"], scores["flow"], scoring.fusion, over)
    return scores


def score_videos(
    run: Run,
    phase: Phase,
    branches: tuple[Branch, ...],
    control: str | None,
    store: Store,
    settings: Settings,
    report: Progress,
    video: tuple[str, int] | None,
) -> dict[str, Scores]:
    """Score videos with the network of one phase.

    Args:
        run: The run.
        phase: The phase whose network is used.
        branches: Branches to score.
        control: How the flow is changed in a control experiment, or None.
        store: The store with the videos.
        settings: Device, precision and processes.
        report: Called with the number of videos scored so far and their total.
        video: See `score_phases`.

    Returns:
        The scores of each branch.
    """
    recipe = run.recipe.for_split(phase.split)
    device, task = torch.device(settings.device), find_task(recipe)
    network = task.load_finished_network(run, phase, branches)
    network.to(device, memory_format=choose_layout(device))
    dataset: Any = task.open_dataset(store, phase, "test", video[0] if video else None)
    if control == "other-class-flow":
        dataset = OtherClassFlow(dataset, recipe.seed)
    keys: Any = EpochSampler(len(dataset), training=False)
    if video:
        keys = [(0, int(np.flatnonzero(dataset.subset.rows == video[1])[0]))]
    loader = make_loader(dataset, keys, task.test_batch_size, settings, training=False)
    rows: list[int] = []
    labels: list[Any] = []
    averages: dict[str, list[Any]] = {branch: [] for branch in branches}
    for batch in loader:
        for branch, videos in task.test_scores(network, batch, phase, device).items():
            for logits in videos:
                pair = average_views(logits, recipe.labels, recipe.testing.views)
                averages[branch].append(pair)
        rows += batch["row"].tolist()
        labels += list(batch["label"].numpy())
        report(len(rows), len(keys))
    ids = tuple(store.index.id(row) for row in rows)
    return {
        branch: Scores(ids, np.array(labels), *map(np.stack, zip(*pairs, strict=True)))
        for branch, pairs in averages.items()
    }


def average_splits(
    recipe: Recipe, results: dict[str, dict[str, float]]
) -> dict[str, dict[str, float]]:
    """Average the metrics over splits, as ``mean/…``; ``n`` is summed.

    Returns:
        The means, or an empty dictionary if the recipe has no splits.
    """
    means: dict[str, dict[str, float]] = {}
    for scoring in list_split_scorings(recipe, None) if recipe.splits else []:
        for branch in find_task(recipe).score_titles:
            name = join_name(scoring.name, branch)
            splits = [results.get(f"split_{split}/{name}", {}) for split in recipe.splits]
            if all(splits):
                means[f"mean/{name}"] = {
                    key: float(np.mean([split[key] for split in splits])) for key in splits[0]
                } | {"n": sum(split["n"] for split in splits)}
    return means


def join_name(scoring: str, branch: str) -> str:
    """Join the names of a scoring and a branch into the name of a score."""
    return f"{scoring}/{branch}" if scoring else branch

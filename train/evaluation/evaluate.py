"""Evaluate a finished run: score its test videos with the network of each phase.

The scores of a run have these names. A fusion is the weighted mean of the branches RGB : flow, with
the weights below unless the recipe has others:

    iter_0/rgb, iter_0/flow, iter_0/fusion     the branches alone, fused 1 : 1
    iter_1/rgb, iter_1/flow, iter_1/fusion     after the phase iter_1, which trains cross-modality
                                               attention in RGB, fused 5 : 1
    iter_2/…                                   after the phase iter_2, the same in flow, fused
                                               1 : 5; and so on
    NAME/rgb                                   of a control experiment: the RGB score of iter_1 with
                                               the flow of another video, or of a phase whose
                                               attention is replaced by equal weights
    split_K/…, mean/…                          where the recipe has splits: of each, and their means

Without the phases iter_1, iter_2, … the names are just rgb, flow and fusion. Runs on audio have
audio, and runs on feature sets have sets. Every video of the subset is scored exactly once. Runs on
audio score only videos that have sound; `n` is the number of scored videos.

`evaluate` computes and saves scores; `evaluations.py` keeps them with their results, and
`testing.py` changes the test settings of a run.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from flowkit.store import Store
from train.evaluation.processes import open_processes
from train.evaluation.scores import measure
from train.evaluation.scoring import Progress, score_phases
from train.evaluation.testing import check_test_settings
from train.recipe.recipe import Recipe
from train.runs.phases import list_scorings, list_split_scorings
from train.runs.run import Run, RunError, Settings
from train.tasks.registry import find_task


def evaluate(
    run: Run,
    store: Store,
    settings: Settings,
    progress: Callable[[str], Progress] = lambda name: lambda done, total: None,
    folder: Path | None = None,
) -> dict[str, dict[str, float]]:
    """Score the test videos with every phase, and save scores.

    Args:
        run: The finished run.
        store: The store with the test videos.
        settings: Device, precision, processes, threads and batch.
        progress: Called with the name of each step. It returns a function that is then called with
            the number of videos scored so far and their total.
        folder: The folder whose subfolder ``scores`` the scores are saved in. Default: the run's.

    Returns:
        Metrics by the name of the score, as listed in the module docstring.

    Raises:
        RunError: The run is not finished, or the store has classes other than the run's.
        UsageError: The store cannot serve the test settings.
    """
    unfinished = [phase.name for phase in run.list_unfinished_phases()]
    if unfinished:
        raise RunError(
            f"{run.path} is not finished (phases to train: {', '.join(unfinished)}); run flowkit "
            "train again to continue it"
        )
    run.check_store(store)
    check_test_settings(run, store, settings)
    torch.set_num_threads(settings.threads)
    results: dict[str, dict[str, float]] = {}
    with open_processes(settings) as processes:
        for scoring in list_scorings(run.recipe):
            scored = score_phases(run, scoring, store, settings, progress, processes=processes)
            for branch, scores in scored.items():
                name = join_name(scoring.name, branch)
                scores.save((folder or run.path) / "scores" / f"{name}.npz")
                results[name] = measure(scores.get_averages(run.recipe.testing.over), scores.labels)
    results.update(average_splits(run.recipe, results))
    return results


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
    """Join the name of a scoring, such as ``iter_1``, and a branch into the name of a score."""
    return f"{scoring}/{branch}" if scoring else branch

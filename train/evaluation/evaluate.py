"""Evaluate a finished run: compute every score that its recipe lists, and count parameters.

    iter_0/rgb, iter_0/flow, iter_0/fusion     the branches alone, fused 1:1
    iter_1/rgb, iter_1/flow, iter_1/fusion     after the first iteration, fused 5:1; …
    a control's name/rgb                       the same with one component removed or changed
    mean/…                                     means over splits, where there are several

Without iterations the names are just rgb, flow and fusion. Audio runs have audio, and runs on
feature sets have sets. Every video of the subset is scored once, without padding, dropping or
replacing any. Audio runs only score videos that have sound; `n` is the number of scored videos.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from flowkit.datasets.loading import EpochSampler
from flowkit.store import Store
from train.distributed.parallel import choose_layout
from train.evaluation.scores import Scores, average_views, fuse_scores, measure
from train.recipe.recipe import Branch, Recipe, of_split
from train.runs.phases import Phase, Scoring, list_phases, list_scorings, scorings_of
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
        progress: Given the name of a step, returns a function that is called with the number of
            videos scored and their total.

    Returns:
        Metrics by the name of the score, as listed in the module docstring.

    Raises:
        RunError: The run is not finished, or the store has other classes.
    """
    left = [phase.name for phase in run.unfinished()]
    if left:
        raise RunError(
            f"{run.path} is not finished (left: {', '.join(left)}); flowkit train goes on with it"
        )
    run.check_store(store)
    torch.set_num_threads(settings.threads)
    results: dict[str, dict[str, float]] = {}
    for scoring in list_scorings(run.recipe):
        scores = score_phases(run, scoring, store, settings, progress)
        for name, value in scores.items():
            value.save(run.path / "scores" / f"{path_of(scoring.name, name)}.npz")
            metrics = measure(value.of(run.recipe.testing.over), value.labels)
            results[path_of(scoring.name, name)] = metrics
    results.update(average_splits(run.recipe, results))
    return results


def score_phases(
    run: Run,
    scoring: Scoring,
    store: Store,
    settings: Settings,
    progress: Callable[[str], Progress],
) -> dict[str, Scores]:
    """Compute the scores of each branch of a scoring, and of their fusion."""
    phases = {phase.name: phase for phase in list_phases(run.recipe)}
    recipe = of_split(run.recipe, scoring.split)
    found: dict[str, Scores] = {}
    for name in dict.fromkeys(scoring.phases.values()):
        wanted = tuple(branch for branch, phase in scoring.phases.items() if phase == name)
        report = progress(f"{scoring.name or 'scores'}: {' and '.join(wanted)}")
        found.update(
            score_videos(run, recipe, phases[name], wanted, scoring, store, settings, report)
        )
    if scoring.fusion is not None:
        found["fusion"] = fuse_scores(
            found["rgb"], found["flow"], scoring.fusion, recipe.testing.over
        )
    return found


def score_videos(
    run: Run,
    recipe: Recipe,
    phase: Phase,
    wanted: tuple[Branch, ...],
    scoring: Scoring,
    store: Store,
    settings: Settings,
    report: Progress,
) -> dict[str, Scores]:
    """Score all test videos with the network of one phase.

    Args:
        run: The run.
        recipe: Its recipe for the split of the scoring.
        phase: The phase whose network is used.
        wanted: Branches to score.
        scoring: The scoring that the scores belong to.
        store: The store with the test videos.
        settings: Device, precision and processes.
        report: Called with the number of videos scored and their total.

    Returns:
        The scores of each branch.
    """
    device, task = torch.device(settings.device), find_task(recipe)
    network = task.load_finished_network(run, phase, wanted)
    network.to(device, memory_format=choose_layout(device))
    dataset: Any = task.open_dataset(store, phase, "test")
    if scoring.control == "other-class-flow":
        dataset = OtherClassFlow(dataset, recipe.seed)
    sampler = EpochSampler(len(dataset), training=False)
    loader = make_loader(dataset, sampler, task.test_batch_size, settings, training=False)
    rows: list[int] = []
    labels: list[Any] = []
    means: dict[str, list[Any]] = {branch: [] for branch in wanted}
    for batch in loader:
        for branch, videos in task.test_scores(network, batch, phase, device).items():
            for logits in videos:
                means[branch].append(average_views(logits, recipe.labels, recipe.testing.views))
        rows += batch["row"].tolist()
        labels += list(batch["label"].numpy())
        report(len(rows), len(dataset))
    ids = tuple(store.index.id(row) for row in rows)
    return {
        branch: Scores(ids, np.array(labels), *map(np.stack, zip(*pairs, strict=True)))
        for branch, pairs in means.items()
    }


def average_splits(
    recipe: Recipe, results: dict[str, dict[str, float]]
) -> dict[str, dict[str, float]]:
    """Average the metrics over splits, as ``mean/…``; ``n`` is summed.

    Returns:
        The means, or an empty dictionary if the recipe has no splits.
    """
    if not recipe.splits:
        return {}
    means = {}
    for scoring in scorings_of(recipe, None):
        for branch in find_task(recipe).score_titles:
            name = path_of(scoring.name, branch)
            own = [results.get(f"split_{split}/{name}") for split in recipe.splits]
            if all(own):
                parts = [part for part in own if part]
                means[f"mean/{name}"] = {
                    key: float(np.mean([part[key] for part in parts]))
                    if key != "n"
                    else sum(part[key] for part in parts)
                    for key in parts[0]
                }
    return means


def path_of(scoring: str, branch: str) -> str:
    """Join the names of a scoring and a branch into the name of a score."""
    return f"{scoring}/{branch}" if scoring else branch


def count_costs(recipe: Recipe) -> dict[str, dict[str, float]]:
    """Count the parameters of each score's network, and their ratio to a whole network."""
    return find_task(recipe).count_costs()

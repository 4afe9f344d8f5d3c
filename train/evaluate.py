"""Evaluation of a finished run: every score that its recipe lists, and what it costs.

    iter_0/rgb, iter_0/flow, iter_0/fusion     the branches alone, fused 1:1
    iter_1/rgb, iter_1/flow, iter_1/fusion     after the first iteration, fused 5:1; …
    a control's name/rgb                       the same with something taken away
    mean/…                                     over splits, where there are several

Without iterations the names are rgb, flow and fusion alone. Every video of the subset is scored
once: nothing is padded, dropped or replaced.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from flowkit.datasets import EpochSampler
from flowkit.store import Store
from models.two_stream import count_parameters
from train.alternate import Phase, Scoring, list_phases, list_scorings, scorings_of
from train.backbones import Inputs, find_inputs, make_backbone
from train.networks import add_pyramid, finished_network, make_network
from train.parallel import choose_layout
from train.recipe import Recipe, Stream, of_split
from train.run import Run, RunError, Settings
from train.samples import (
    OtherClassFlow,
    make_dataset,
    make_loader,
    needed_streams,
    prepare_images,
)  # fmt: skip
from train.scores import Scores, average_views, fuse_scores, measure

VIEWS = 250  # images that go through a network at once
Progress = Callable[[int, int], None]


def evaluate(
    run: Run,
    store: Store,
    settings: Settings,
    progress: Callable[[str], Progress] = lambda name: lambda done, total: None,
) -> dict[str, dict[str, float]]:
    """Score the test videos with every phase; metrics by name of score, as in this file's header.

    Keeps scores and results in the run folder. Raises RunError for an unfinished run or a store
    of other classes.
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
    """The scores of each branch, and of their fusion."""
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
    wanted: tuple[Stream, ...],
    scoring: Scoring,
    store: Store,
    settings: Settings,
    report: Progress,
) -> dict[str, Scores]:
    """Scores of one phase's network for all test videos, by branch."""
    device = torch.device(settings.device)
    network = finished_network(run, phase, wanted[0] if len(wanted) == 1 else "both")
    network.drop_identities()
    network.to(device, memory_format=choose_layout(device))
    streams = needed_streams(phase)
    snippets = make_dataset(recipe, store, streams, "test")
    dataset: Any = snippets
    if scoring.control == "other-class-flow":
        dataset = OtherClassFlow(snippets, recipe.seed)
    sampler = EpochSampler(len(snippets), training=False)
    loader = make_loader(dataset, sampler, 1, settings, training=False)
    inputs = find_inputs(recipe, recipe.testing.segments)
    rows, labels = [], []
    means: dict[str, list[Any]] = {branch: [] for branch in wanted}
    for done, batch in enumerate(loader, 1):
        for branch, logits in score_views(network, batch, streams, device, inputs).items():
            means[branch].append(average_views(logits, recipe.labels, recipe.testing.views))
        rows.append(int(batch["row"]))
        labels.append(batch["label"][0].numpy())
        report(done, len(snippets))
    ids = tuple(store.index.id(row) for row in rows)
    return {
        branch: Scores(ids, np.array(labels), *map(np.stack, zip(*pairs, strict=True)))
        for branch, pairs in means.items()
    }


def score_views(
    network: Any,
    batch: dict[str, torch.Tensor],
    streams: tuple[Stream, ...],
    device: torch.device,
    inputs: Inputs,
) -> dict[str, torch.Tensor]:
    """Logits (V, C) of all views of one video, by branch; a few hundred images at a time.

    Where a network sees K frames at once, the views of its crops: (V / K, C).
    """
    parts = []
    with torch.inference_mode():
        images = prepare_images(batch, streams, device, inputs)
        count = max(1, VIEWS // inputs.images)
        for first in range(0, len(images[streams[0]]), count):
            part: dict[str, torch.Tensor] = {
                stream: images[stream][first : first + count] for stream in streams
            }
            parts.append(network(**part))
    return {branch: torch.cat([part[branch] for part in parts]) for branch in parts[0]}


def average_splits(
    recipe: Recipe, results: dict[str, dict[str, float]]
) -> dict[str, dict[str, float]]:
    """The means over splits, as ``mean/…``; ``n`` is the sum. Nothing without splits."""
    if not recipe.splits:
        return {}
    means = {}
    for scoring in scorings_of(recipe, None):
        for branch in ("rgb", "flow", "fusion"):
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
    """The name of a score."""
    return f"{scoring}/{branch}" if scoring else branch


# --- what a score costs --------------------------------------------------------------------------


def count_costs(recipe: Recipe) -> dict[str, dict[str, float]]:
    """Parameters by name of score, and their ratio to one plain branch (Table 2 of the paper).

    The RGB score of iter_1 is counted twice: with the flow branch's blocks, which are still the
    identity then, and without them.
    """
    plain = one_branch(recipe)
    costs = {"one branch": plain, "two branches": 2 * plain}
    for phase in list_phases(replace(recipe, splits=())) if recipe.iterations else []:
        if phase.name == "iter_1":
            with torch.device("meta"):  # only counted, so without numbers
                network = make_network(recipe, phase, "rgb")
            costs["iter_1/rgb, identities kept"] = network.count_used_parameters()
            network.to_flow.clear()
            costs["iter_1/rgb, identities dropped"] = network.count_used_parameters()
    return {name: {"parameters": count, "ratio": count / plain} for name, count in costs.items()}


def one_branch(recipe: Recipe) -> int:
    with torch.device("meta"):
        trunk = make_backbone(recipe, "rgb")
        branch = add_pyramid(recipe, trunk) if recipe.network.pyramid else trunk
    return count_parameters(branch)

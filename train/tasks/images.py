"""Images: what is done with two-stream networks by the loop and the evaluation (task.py)."""

from dataclasses import replace
from typing import Any

import torch

from flowkit.store import Store
from models.networks.two_stream import TwoStream, count_parameters
from train.recipe.recipe import Recipe, Stream, of_split
from train.runs.journal import Log
from train.runs.phases import Phase, list_phases, phases_of
from train.runs.run import Run
from train.tasks.backbones import Inputs, find_inputs, make_backbone
from train.tasks.networks import (
    add_pyramid,
    check_networks,
    finished_network,
    make_network,
    start_network,
)  # fmt: skip
from train.tasks.samples import USES, Use, make_dataset, needed_streams, prepare_images
from train.tasks.weights import load_initial

VIEWS = 250  # images that go through a network at once


def check_images(recipe: Recipe, store: Store) -> None:
    """Find out what is wrong with a training on images before its run is begun.

    Raises UsageError, or StoreError, where the recipe's network cannot be built or fed, weights
    are of another network, or videos have other labels than the recipe is for.
    """
    check_networks(recipe)
    splits = recipe.splits or (None,)
    for split in splits:
        for use in USES:
            make_dataset(of_split(recipe, split), store, recipe.streams, use)
    for phase in phases_of(recipe, splits[0]) if recipe.network.weights else ():
        load_initial(make_network(recipe, phase, phase.stream), recipe, phase)


def start_images(run: Run, phase: Phase, store: Store, log: Log) -> TwoStream:
    """The network that a phase begins with, without what would train along for nothing."""
    network = start_network(run, phase, log)
    # Else the frozen branch would hang on the trained one, and gradients be led through it to
    # be multiplied by zero.
    network.drop_identities(("flow" if phase.branch == "rgb" else "rgb",))
    return network


def finish_images(run: Run, phase: Phase, wanted: tuple[Any, ...]) -> TwoStream:
    """The network of a finished phase for some scores, without what does not change them."""
    network = finished_network(run, phase, wanted[0] if len(wanted) == 1 else "both")
    network.drop_identities()
    return network


def sample_images(
    recipe: Recipe, store: Store, phase: Phase, use: Use, subset: str | None = None
) -> Any:
    """What a phase's network sees of videos."""
    return make_dataset(recipe, store, needed_streams(phase), use, subset)


def score_images(
    network: Any, batch: dict[str, torch.Tensor], recipe: Recipe, phase: Phase, device: torch.device
) -> dict[str, torch.Tensor]:
    """What a network says of a batch in training: scores by branch, and losses of its own."""
    inputs = find_inputs(recipe, recipe.data.num_segments)
    given: dict[str, torch.Tensor] = network(
        **prepare_images(batch, needed_streams(phase), device, inputs)
    )
    return given


def score_image_views(
    network: Any, batch: dict[str, torch.Tensor], recipe: Recipe, phase: Phase, device: torch.device
) -> dict[str, torch.Tensor]:
    """Logits (1, V, C) of a batch of one test video, by branch."""
    inputs = find_inputs(recipe, recipe.testing.segments)
    given = score_views(network, batch, needed_streams(phase), device, inputs)
    return {branch: logits[None] for branch, logits in given.items()}


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


# --- what a score costs --------------------------------------------------------------------------


def count_image_costs(recipe: Recipe) -> dict[str, dict[str, float]]:
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

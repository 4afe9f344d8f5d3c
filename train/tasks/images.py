"""Training on images: two-stream networks of RGB frames and optical flow."""

from collections.abc import Mapping
from dataclasses import replace
from typing import ClassVar

import torch
from torch import nn

from flowkit.datasets.video_dataset import VideoDataset
from flowkit.recipe import Recipe as StoreRecipe
from flowkit.store import Store
from models.networks.two_stream import Scores, TwoStream, count_parameters
from train.recipe.recipe import Branch, ImageRecipe, Stream, of_split
from train.runs.journal import Log
from train.runs.phases import Phase, list_phases, phases_of
from train.runs.run import Run
from train.tasks.backbones import Inputs, find_inputs, make_backbone
from train.tasks.networks import (
    add_pyramid,
    check_networks,
    finished_network,
    make_network,
    select_weights,
    set_train_mode,
    start_network,
)  # fmt: skip
from train.tasks.samples import USES, Use, make_dataset, needed_streams, prepare_images
from train.tasks.task import Batch, Task
from train.tasks.weights import load_initial

IMAGES_AT_ONCE = 250
"""Images that go through a network at once in testing."""


class ImageTask(Task[ImageRecipe, TwoStream]):
    """Train a two-stream network on RGB frames and optical flow.

    V is the number of segments times crops; for networks of clips, of clips times crops. The
    branches, and so the scores, are ``rgb`` and ``flow``; evaluation adds their ``fusion``.
    """

    name = "images"
    test_batch_size = 1
    score_titles: ClassVar[Mapping[str, str]] = {"rgb": "RGB", "flow": "flow", "fusion": "fusion"}

    def check(self, store: Store) -> None:
        """Build each network, open each dataset, and load the weight files."""
        recipe = self.recipe
        check_networks(recipe)
        splits = recipe.splits or (None,)
        for split in splits:
            for use in USES:
                make_dataset(of_split(recipe, split), store, recipe.streams, use)
        if recipe.network.weights:
            for phase in phases_of(recipe, splits[0]):
                load_initial(self.build_network(phase), recipe, phase)

    def build_network(self, phase: Phase) -> TwoStream:
        """Build both branches, with the attention between or inside them."""
        return make_network(self.recipe, phase, phase.stream)

    def start_network(self, run: Run, phase: Phase, store: Store, log: Log) -> TwoStream:
        """Build the network and load weight files and the branches of earlier phases."""
        network = start_network(run, phase, log)
        # Otherwise the frozen branch would depend on the trained one, and gradients would be
        # propagated through it only to be multiplied by zero.
        network.drop_identities(("flow" if phase.branch == "rgb" else "rgb",))
        return network

    def set_train_mode(self, network: TwoStream, phase: Phase) -> None:
        """Train one branch, or parts of it, and freeze the other."""
        set_train_mode(network, phase)

    def trained_part(self, network: TwoStream, phase: Phase) -> nn.Module:
        """Return the trained branch with its attention blocks."""
        branch: nn.Module = network.list_branch_modules(phase.branch)
        return branch

    def select_weights(self, network: TwoStream, phase: Phase) -> Batch:
        """Return the weights of the trained branch, or of both where they are connected."""
        return select_weights(network, phase)

    def load_finished_network(
        self, run: Run, phase: Phase, branches: tuple[Branch, ...]
    ) -> TwoStream:
        """Load the network without blocks that are still the identity."""
        network = finished_network(run, phase, choose_scores(branches))
        network.drop_identities()
        return network

    def count_costs(self) -> dict[str, dict[str, float]]:
        """Count parameters relative to one plain branch (Chi et al. 2019, Table 2).

        The RGB score of iter_1 is counted twice: with the flow branch's blocks, which are still
        the identity at that point, and without them.
        """
        recipe = self.recipe
        plain = count_branch_parameters(recipe)
        costs = {"one branch": plain, "two branches": 2 * plain}
        for phase in list_phases(replace(recipe, splits=())) if recipe.iterations else []:
            if phase.name == "iter_1":
                with torch.device("meta"):  # parameters are counted, so no values are needed
                    network = self.build_network(phase)
                costs["iter_1/rgb, identities kept"] = network.count_used_parameters()
                network.to_flow.clear()
                costs["iter_1/rgb, identities dropped"] = network.count_used_parameters()
        return {
            name: {"parameters": count, "ratio": count / plain} for name, count in costs.items()
        }

    def open_dataset(
        self, store: Store, phase: Phase, use: Use, subset: str | None = None
    ) -> VideoDataset:
        """Open snippets, clips or windows of the streams that the phase's network reads."""
        return make_dataset(self.recipe, store, needed_streams(phase), use, subset)

    def train_scores(
        self, network: nn.Module, batch: Batch, phase: Phase, device: torch.device
    ) -> Batch:
        """Return logits (B·V, C) of the trained branch, and the losses of pyramid attention."""
        inputs = find_inputs(self.recipe, self.recipe.data.num_segments)
        images = prepare_images(batch, needed_streams(phase), device, inputs)
        outputs: Batch = network(**images)
        return outputs

    def test_scores(
        self, network: TwoStream, batch: Batch, phase: Phase, device: torch.device
    ) -> Batch:
        """Return logits (1, V, C) of one video, by branch."""
        inputs = find_inputs(self.recipe, self.recipe.testing.segments)
        scores = score_views(network, batch, needed_streams(phase), device, inputs)
        return {branch: logits[None] for branch, logits in scores.items()}

    def add_losses(self, loss: torch.Tensor, outputs: Batch) -> tuple[torch.Tensor, Batch]:
        """Add the two losses of pyramid attention, with the recipe's weights."""
        pyramid = self.recipe.network.pyramid
        if pyramid is None:
            return loss, {}
        terms = {"classes": loss.detach()}
        for name in ("interactive", "attention"):
            loss = loss + getattr(pyramid, name) * outputs[name].float()
            terms[name] = outputs[name].detach()
        return loss, terms

    def recipe_for_video_file(self, store_recipe: StoreRecipe) -> StoreRecipe:
        """Extract frames and flow, without audio and features."""
        return replace(store_recipe, audio=None, features={})


def score_views(
    network: nn.Module,
    batch: Batch,
    streams: tuple[Stream, ...],
    device: torch.device,
    inputs: Inputs,
) -> Batch:
    """Run a network on all views of one video, at most `IMAGES_AT_ONCE` images at a time.

    Args:
        network: A two-stream network in eval mode.
        batch: One video: (1, V, …) uint8 for each stream.
        streams: The streams that the network reads.
        device: The device of the network.
        inputs: What the network takes as one input.

    Returns:
        Logits (V, C) by branch; (V / K, C) for a network that sees K frames at once.
    """
    parts: list[Batch] = []
    with torch.inference_mode():
        images = prepare_images(batch, streams, device, inputs)
        count = max(1, IMAGES_AT_ONCE // inputs.images)
        for first in range(0, len(images[streams[0]]), count):
            part = {stream: images[stream][first : first + count] for stream in streams}
            parts.append(network(**part))
    return {branch: torch.cat([part[branch] for part in parts]) for branch in parts[0]}


def choose_scores(branches: tuple[Branch, ...]) -> Scores:
    """Return which scores a two-stream network must make to give those of these branches."""
    if branches == ("rgb",) or branches == ("flow",):
        return branches[0]
    return "both"


def count_branch_parameters(recipe: ImageRecipe) -> int:
    """Count the parameters of an RGB branch without cross-modality blocks."""
    with torch.device("meta"):
        trunk = make_backbone(recipe, "rgb")
        branch = add_pyramid(recipe, trunk) if recipe.network.pyramid else trunk
    return count_parameters(branch)

"""Training on images: two-stream networks of RGB frames and optical flow."""

from collections.abc import Mapping
from dataclasses import replace
from typing import ClassVar

import torch
from torch import nn

from flowkit.datasets.video_dataset import VideoDataset
from flowkit.recipe import StoreRecipe
from flowkit.store import Store
from flowkit.streams import StreamName
from models.networks.two_stream import Scores, TwoStream
from train.recipe.recipe import Branch, ImageRecipe
from train.runs.journal import Log
from train.runs.phases import Phase, list_split_phases
from train.runs.run import Run
from train.tasks import networks, samples
from train.tasks.backbones import InputDescription, describe_input
from train.tasks.costs import Cost, measure_image_costs
from train.tasks.samples import USES, TensorDict, Use, list_network_streams, prepare_images
from train.tasks.task import Task
from train.tasks.weights import load_initial_weights

IMAGES_AT_ONCE = 250
"""Images in one forward pass of testing."""


class ImageTask(Task[ImageRecipe, TwoStream]):
    """Train a two-stream network on RGB frames and optical flow.

    V, the views of a video, are its segments times crops; for networks of clips, its clips times
    crops. The branches, and so the scores, are ``rgb`` and ``flow``, named after the streams that
    they read; evaluation adds their ``fusion``. CMA is cross-modality attention. Pyramid attention
    (Du et al. 2018) attends to feature maps of several scales in each branch; its interactive loss
    and its attention loss are added to that of the classes.
    """

    name = "images"
    test_batch_size = 1
    test_keys = ("segments", "crops", "over", "views", "fusion", "controls")
    score_titles: ClassVar[Mapping[str, str]] = {"rgb": "RGB", "flow": "flow", "fusion": "fusion"}

    def check(self, store: Store) -> None:
        """Check the networks, the datasets and the weight files by building and opening them."""
        recipe = self.recipe
        networks.check_networks(recipe)
        for split_recipe in recipe.list_split_recipes():
            for use in USES:
                samples.make_dataset(split_recipe, store, recipe.streams, use)
        if recipe.network.weights:
            for phase in list_split_phases(recipe, None):
                load_initial_weights(self.build_network(phase), recipe, phase)

    def build_network(self, phase: Phase) -> TwoStream:
        """Build both branches, with the recipe's attention between or inside them."""
        return networks.make_network(self.recipe, phase, phase.stream)

    def start_network(self, run: Run, phase: Phase, store: Store, log: Log) -> TwoStream:
        """Build the network and load weight files and the branches of earlier phases."""
        network = networks.start_network(run, phase, log)
        # With blocks that change nothing yet, the frozen branch would still depend on the trained
        # one, and gradients would be propagated through it only to be multiplied by zero.
        network.drop_identities(("flow" if phase.branch == "rgb" else "rgb",))
        return network

    def set_train_mode(self, network: TwoStream, phase: Phase) -> None:
        """Train one branch, or parts of it, and freeze the other."""
        networks.set_train_mode(network, phase)

    def get_trained_module(self, network: TwoStream, phase: Phase) -> nn.Module:
        """Return the trained branch with its attention blocks."""
        branch: nn.Module = network.list_branch_modules(phase.branch)
        return branch

    def select_weights(self, network: TwoStream, phase: Phase) -> TensorDict:
        """Return the weights of the trained branch, or of both where they are connected."""
        return networks.select_weights(network, phase)

    def load_finished_network(
        self, run: Run, phase: Phase, branches: tuple[Branch, ...] = ()
    ) -> TwoStream:
        """Load the network without attention blocks that are still the identity."""
        scores: Scores = branches[0] if branches == ("rgb",) or branches == ("flow",) else "both"
        network = networks.load_phase_network(run, phase, scores)
        network.drop_identities()
        return network

    def measure_costs(self, run: Run | None = None) -> dict[str, Cost]:
        """Measure the costs of all scores, and of branches without attention.

        These are the costs in Table 2 of Chi et al. 2019.
        """
        return measure_image_costs(self.recipe, run)

    def open_dataset(
        self, store: Store, phase: Phase, use: Use, video: int | None = None
    ) -> VideoDataset:
        """Open snippets, clips or windows of the streams that the phase's network reads."""
        return samples.make_dataset(self.recipe, store, list_network_streams(phase), use, video)

    def train_scores(
        self, network: nn.Module, batch: TensorDict, phase: Phase, device: torch.device
    ) -> TensorDict:
        """Return logits of the trained branch, and the losses of pyramid attention.

        Logits are (B·V, C); (B·V / K, C) for a network that sees K frames at once.
        """
        inputs = describe_input(self.recipe, self.recipe.data.num_segments)
        images = prepare_images(batch, list_network_streams(phase), device, inputs)
        outputs: TensorDict = network(**images)
        return outputs

    def test_scores(
        self, network: TwoStream, batch: TensorDict, phase: Phase, device: torch.device
    ) -> TensorDict:
        """Return logits by branch: (B, V, C), or (B, V / K, C) if K frames are seen at once."""
        inputs = describe_input(self.recipe, self.recipe.testing.segments)
        logits = score_views(network, batch, list_network_streams(phase), device, inputs)
        videos = len(batch["label"])
        return {branch: views.unflatten(0, (videos, -1)) for branch, views in logits.items()}

    def add_losses(
        self, loss: torch.Tensor, outputs: TensorDict
    ) -> tuple[torch.Tensor, TensorDict]:
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
        """Extract frames, and flow only if a branch reads it.

        Frames are kept for a network of flow alone: they cost little, are drawn, and may be what
        flow is computed from (`FlowRecipe.source`).
        """
        flow = store_recipe.flow if "flow" in self.recipe.streams else None
        return replace(store_recipe, flow=flow, audio=None, features={})


def score_views(
    network: nn.Module,
    batch: TensorDict,
    streams: tuple[StreamName, ...],
    device: torch.device,
    inputs: InputDescription,
) -> TensorDict:
    """Run a network on all views of videos, at most `IMAGES_AT_ONCE` images at a time.

    One input of a network is never divided, even if it has more images.

    Args:
        network: A two-stream network in eval mode.
        batch: B videos: (B, V, …) uint8 for each stream.
        streams: The streams that the network reads.
        device: The device of the network.
        inputs: Describes one input of the network.

    Returns:
        Logits (B·V, C) by branch; (B·V / K, C) for a network that sees K frames at once.
    """
    chunks: list[TensorDict] = []
    with torch.inference_mode():
        images = prepare_images(batch, streams, device, inputs)
        chunk_size = max(1, IMAGES_AT_ONCE // inputs.num_images)
        for start in range(0, len(images[streams[0]]), chunk_size):
            chunk = {stream: images[stream][start : start + chunk_size] for stream in streams}
            chunks.append(network(**chunk))
    return {branch: torch.cat([chunk[branch] for chunk in chunks]) for branch in chunks[0]}

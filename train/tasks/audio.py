"""Training on audio: networks of log-mel patches.

Long et al., "Attention Clusters", CVPR 2018, §5.2: a VGG-16 is trained on patches of 96 windows ×
64 mel bands "just as for RGB and flow", with TSN's segments, to provide local features of audio.

Deviations from the paper, and choices that it leaves open:

- If the recipe names the weight file of an RGB network, the first convolution starts from the mean
  of its weights over the channels, as the first convolution of flow does.
- Videos without sound are left out of training and testing, because there is nothing to score.

The network is a single branch, ``audio``, named after the stream that it reads.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import torch
from torch import nn

from flowkit.datasets.patches import PatchDataset
from flowkit.errors import UsageError, VideoError
from flowkit.recipe import StoreRecipe
from flowkit.store import Store
from flowkit.streams import PATCH_SHAPE
from models.backbones.backbone import Backbone
from models.weights.pretrained import read_weights
from train.recipe.recipe import AudioRecipe
from train.runs.journal import Log
from train.runs.phases import Phase, list_phases
from train.runs.run import Run
from train.tasks.backbones import make_backbone, seed_initial_weights
from train.tasks.costs import Cost, measure_cost
from train.tasks.networks import train_last_layer, train_parts
from train.tasks.samples import USES, TensorDict, Use, check_labels
from train.tasks.task import Task
from train.tasks.weight_search import find_weight_file
from train.tasks.weights import (
    convert_weights_errors,
    describe_loaded_weights,
    load_backbone_weights,
    select_backbone_weights,
)

PATCHES_AT_ONCE = 250
"""Patches in one forward pass of testing."""


class AudioTask(Task[AudioRecipe, Backbone]):
    """Train a VGG-16 on log-mel patches of 96 windows × 64 mel bands.

    V is the number of patches of a video, or K in training. The only branch is ``audio``.
    """

    name = "audio"
    test_batch_size = 1
    max_test_batch_size = 1
    score_titles: ClassVar[Mapping[str, str]] = {"audio": "audio"}

    # --- networks --------------------------------------------------------------------------------

    def check(self, store: Store) -> None:
        """Check the datasets, the network and its weight file by opening and building them."""
        phase = list_phases(self.recipe)[0]
        for recipe in self.recipe.list_split_recipes():
            for use in USES:
                dataset = AudioTask(recipe).open_dataset(store, phase, use)
                if not len(dataset):
                    raise UsageError(
                        f"{store.location}: expected videos with sound, but none of the "
                        f"{dataset.silent} videos of subset {dataset.subset.name!r} has any"
                    )
        network = self.build_network(phase)
        self._load_weight_file(network, phase)
        self.set_train_mode(network, phase)

    def build_network(self, phase: Phase) -> Backbone:
        """Build a backbone with one input channel."""
        with seed_initial_weights(self.recipe, phase):
            return make_backbone(self.recipe, "audio")

    def start_network(self, run: Run, phase: Phase, store: Store, log: Log) -> Backbone:
        """Build the network, load its weight file, and log how many videos have no sound."""
        task = AudioTask(self.recipe.for_split(phase.split))
        for use in USES:
            dataset = task.open_dataset(store, phase, use)
            if dataset.silent:
                log(
                    f"{phase.name}: left out {dataset.silent} videos without sound of subset "
                    f"{dataset.subset.name!r} ({use})"
                )
        network = self.build_network(phase)
        self._load_weight_file(network, phase, log)
        return network

    def _load_weight_file(
        self, network: Backbone, phase: Phase, log: Log = lambda text: None
    ) -> None:
        """Load the recipe's weight file, if it names one, and log what was loaded."""
        name = self.recipe.network.weights.get("audio")
        if name is None:
            log(f"{phase.name}: the network starts from random weights")
            return
        with convert_weights_errors(name, "audio"):
            weights, left_out = select_backbone_weights(read_weights(find_weight_file(name)), "rgb")
            loaded = load_backbone_weights(network, weights, self.recipe, "audio")
        log(f"{phase.name}: {describe_loaded_weights(loaded, name, left_out)}")

    def set_train_mode(self, network: Backbone, phase: Phase) -> None:
        """Train the whole network, or the parts that the recipe names."""
        # training.partial_bn needs no case here: VGG-16 has no batch norm to freeze.
        network.train().requires_grad_(True)
        if phase.training.only_last:
            train_last_layer(network, network)
        elif phase.training.only:
            train_parts(network, phase.training.only)

    def measure_costs(self, run: Run | None = None) -> dict[str, Cost]:
        """Measure the network on one patch. The number of patches depends on the video."""
        with torch.device("meta"):  # shapes are enough, so no values are needed
            network = make_backbone(self.recipe, "audio").eval()
            patch = torch.empty(1, 1, *PATCH_SHAPE)
        return {"network": measure_cost(lambda: network(patch))}

    # --- data and scores -------------------------------------------------------------------------

    def open_dataset(
        self, store: Store, phase: Phase, use: Use, video: int | None = None
    ) -> PatchDataset:
        """Open the patches of videos with sound: K of each video, or all of them in testing.

        A ``video`` that is named must have sound.
        """
        recipe = self.recipe
        dataset = PatchDataset(
            store,
            getattr(recipe.subsets, use) if video is None else video,
            0 if use == "test" else recipe.data.num_segments,
            training=use == "train",
            leave_out_silent=video is None,
            multi_label=video is not None or recipe.labels == "many",
            seed=recipe.seed,
        )
        if video is None:
            check_labels(dataset.subset, recipe.classes)
        return dataset

    def train_scores(
        self, network: nn.Module, batch: TensorDict, phase: Phase, device: torch.device
    ) -> TensorDict:
        """Return logits (B·K, C) of all patches."""
        patches = batch["audio"].to(device, non_blocking=True).flatten(0, 1)
        return {"audio": network(patches)}

    def test_scores(
        self, network: Backbone, batch: TensorDict, phase: Phase, device: torch.device
    ) -> TensorDict:
        """Return logits (1, V, C) of all patches of one video."""
        with torch.inference_mode():
            patches = batch["audio"][0].split(PATCHES_AT_ONCE)
            logits = torch.cat([network(chunk.to(device)) for chunk in patches])
        return {"audio": logits[None]}

    # --- prediction ------------------------------------------------------------------------------

    def recipe_for_video_file(self, store_recipe: StoreRecipe) -> StoreRecipe:
        """Extract audio alone."""
        return replace(store_recipe, rgb=None, flow=None, features={})

    def check_video_file(self, run: Run, video: Path, store: Store) -> None:
        """Check that the video has sound."""
        if not len(store[0].audio()):
            raise VideoError(
                "no-sound",
                f"{video} has no sound, but the network of {run.path} classifies sound alone",
            )

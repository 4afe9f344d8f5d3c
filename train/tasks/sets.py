"""Training on feature sets: attention over local features that were extracted beforehand.

A *modality* is a feature stream of the store (``features/NAME``), such as that of RGB or audio. A
video is a set of local features for each modality; `flowkit features` computes them. A `SetNetwork`
(models/networks/feature_sets.py) computes the scores of a video from its sets. The whole network
counts as one branch, ``sets``, which is trained in one phase.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar

import torch
from torch import nn

from flowkit.datasets.feature_sets import FeatureSetDataset
from flowkit.errors import UsageError
from flowkit.recipe import StoreRecipe
from flowkit.store import Store
from models.attention.catnet import CascadeAttention
from models.attention.clusters import AttentionCluster
from models.networks.feature_sets import SetNetwork
from models.networks.fusions import FUSIONS
from models.networks.two_stream import count_parameters
from models.weights.pretrained import load_weights, read_weights
from train.recipe.recipe import FeatureSetRecipe, Sets
from train.runs.journal import Log
from train.runs.phases import Phase, list_phases
from train.runs.run import Run
from train.tasks.backbones import seed_initial_weights
from train.tasks.costs import Cost, measure_cost
from train.tasks.samples import USES, TensorDict, Use, check_labels
from train.tasks.task import Task
from train.tasks.weight_search import find_weight_file
from train.tasks.weights import convert_weights_errors, describe_loaded_weights


def build_set_module(sets: Sets, modality: str, dimension: int) -> nn.Module:
    """Build the module that turns the set of one modality into a vector.

    Args:
        sets: The section ``sets`` of the recipe.
        modality: Name of the modality.
        dimension: Dimension of its features.
    """
    if sets.method == "clusters":
        units = sets.get_by_modality("units")[modality]
        return AttentionCluster(dimension, units, sets.weighting, sets.shifting, sets.hidden)
    if sets.method == "catnet":
        return CascadeAttention(
            dimension, sets.heads, sets.normalize, sets.global_attention, sets.aggregation,
            sets.shared, sets.takes,
        )  # fmt: skip
    options: dict[str, Any] = {}
    if sets.method == "flatten":
        options["length"] = sets.get_by_modality("sample")[modality]
    return FUSIONS[sets.method](dimension, **options)


class FeatureSetTask(Task[FeatureSetRecipe, SetNetwork]):
    """Train a network of attention over sets of local features.

    A video has one view: V = 1. The only branch is ``sets``, all modalities together.
    """

    name = "sets"
    test_batch_size = 256
    score_titles: ClassVar[Mapping[str, str]] = {"sets": "sets"}
    # Reading features takes less time than sending them from another process.
    default_workers = 0

    @property
    def sets(self) -> Sets:
        """The section ``sets`` of the recipe."""
        return self.recipe.sets

    # --- networks --------------------------------------------------------------------------------

    def check(self, store: Store) -> None:
        """Compare the store's features with the recipe, and score one video of each subset."""
        tasks = [FeatureSetTask(recipe) for recipe in self.recipe.list_split_recipes()]
        for task in tasks:
            check_features(task.sets, store)
        phase = list_phases(self.recipe)[0]
        network = self.build_network(phase).eval()
        self._load_weight_file(network, phase)
        dimensions = self.sets.get_by_modality("dimensions")
        network.set_means({m: torch.zeros(d) for m, d in dimensions.items()})
        for task in tasks:
            for use in USES:
                dataset = task.open_dataset(store, phase, use)
                try:
                    task.test_scores(network, dataset.batch([0]), phase, torch.device("cpu"))
                except ValueError as error:
                    raise UsageError(f"recipe: sets: in {use}: {error}") from error

    def build_network(self, phase: Phase) -> SetNetwork:
        """Build one module for each modality and a classifier over all of them."""
        sets, dimensions = self.sets, self.sets.get_by_modality("dimensions")
        with seed_initial_weights(self.recipe, phase):
            try:
                modules = {m: build_set_module(sets, m, dimensions[m]) for m in sets.streams}
                return SetNetwork(modules, dimensions, self.recipe.classes, sets.dropout)
            except (ValueError, KeyError) as error:
                raise UsageError(f"recipe: sets: {error}") from error

    def start_network(self, run: Run, phase: Phase, store: Store, log: Log) -> SetNetwork:
        """Build the network, load its weight file, and set the means that replace empty sets."""
        # Treat numbers below 10⁻³⁸ (denormal floats) as 0. Sharp attention leaves many of them in
        # the softmax and, without the shifting operation, in gradients and in the squares that the
        # optimizer keeps. Each costs a CPU a hundred cycles, which makes a step three times as long
        # (Flash-MNIST, N = 8 without shifting).
        torch.set_flush_denormal(True)
        network = self.build_network(phase)
        self._load_weight_file(network, phase, log)
        if self.sets.may_be_empty:
            task = FeatureSetTask(self.recipe.for_split(phase.split))
            dataset = task.open_dataset(store, phase, "train")
            network.set_means({m: dataset.mean(m) for m in self.sets.may_be_empty})
        return network

    def _load_weight_file(
        self, network: SetNetwork, phase: Phase, log: Log = lambda text: None
    ) -> None:
        """Load the recipe's weight file, if it names one, and log what was loaded.

        The classifier stays random. The means are not loaded: they are computed from this training
        set.
        """
        name = self.sets.weights
        if not name:
            return
        with convert_weights_errors(name, "sets"):
            weights = read_weights(find_weight_file(name))
            loaded = load_weights(network, weights, skip=("classifier.", "mean."))
        log(f"{phase.name}: {describe_loaded_weights(loaded, name)}")

    def set_train_mode(self, network: SetNetwork, phase: Phase) -> None:
        """Train the whole network."""
        network.train()

    def find_invalid_weights(self, network: SetNetwork) -> list[str]:
        """Find invalid weights, ignoring the means, which are NaN for sets that are never empty."""
        names = super().find_invalid_weights(network)
        return [name for name in names if not name.startswith("mean.")]

    def measure_costs(self, run: Run | None = None) -> dict[str, Cost]:
        """Measure the whole network, the attention and the classifier.

        The operations are those of the sets of testing, or of training where testing uses all
        features of a video. If training does too, their number depends on the video.
        """
        with torch.device("meta"):  # shapes are enough, so no values are needed
            network = self.build_network(list_phases(self.recipe)[0]).eval()
            dimensions = self.sets.get_by_modality("dimensions")
            sample, test = (self.sets.get_by_modality(key) for key in ("sample", "test"))
            lengths = {m: test[m] or sample[m] for m in self.sets.streams}
            sets = {m: torch.empty(1, lengths[m] or 1, dimensions[m]) for m in lengths}
        cost = measure_cost(lambda: network(sets), views=1)
        if not all(lengths.values()):
            cost = replace(cost, flops=None)
        parts = {"attention": network.parts, "classifier": network.classifier}
        return {
            "network": cost,
            **{name: Cost(parameters=count_parameters(part)) for name, part in parts.items()},
        }

    # --- data and scores -------------------------------------------------------------------------

    def open_dataset(
        self, store: Store, phase: Phase, use: Use, video: int | None = None
    ) -> FeatureSetDataset:
        """Open the sets of a subset: random features in training, else evenly spaced ones."""
        recipe, sets = self.recipe, self.sets
        counts = sets.get_by_modality("sample" if use == "train" else "test")
        dataset = FeatureSetDataset(
            store,
            getattr(recipe.subsets, use) if video is None else video,
            sets.streams,
            max_features={modality: count for modality, count in counts.items() if count} or None,
            training=use == "train",
            may_be_empty=sets.may_be_empty,
            multi_label=video is not None or recipe.labels == "many",
            seed=recipe.seed,
        )
        if video is None:
            check_labels(dataset.subset, recipe.classes)
        return dataset

    def train_scores(
        self, network: nn.Module, batch: TensorDict, phase: Phase, device: torch.device
    ) -> TensorDict:
        """Return logits (B, C)."""
        features, lengths = {}, {}
        for modality in self.sets.streams:
            vectors, counts = batch[modality], batch[f"{modality}_lengths"]
            features[modality] = vectors.to(device, non_blocking=True)
            # Sets without padding need no mask.
            if int(counts.min()) < max(vectors.shape[1], 1):
                lengths[modality] = counts.to(device, non_blocking=True)
        return {"sets": network(features, lengths)}

    def test_scores(
        self, network: SetNetwork, batch: TensorDict, phase: Phase, device: torch.device
    ) -> TensorDict:
        """Return logits (B, 1, C)."""
        with torch.inference_mode():
            scores = self.train_scores(network, batch, phase, device)
        return {"sets": scores["sets"][:, None]}

    # --- prediction ------------------------------------------------------------------------------

    def recipe_for_video_file(self, store_recipe: StoreRecipe) -> None:
        """Return None, because no video file contains features."""


def check_features(sets: Sets, store: Store) -> None:
    """Compare the features of a store with those that a recipe expects.

    Args:
        sets: The recipe's section, of one split.
        store: The store to train on.

    Raises:
        UsageError: The store lacks features, or they have another dimension or were made with
            other weights than the recipe says.
    """
    stored = store.recipe.features
    dimensions = sets.get_by_modality("dimensions")
    for modality, name in sets.streams.items():
        if name not in stored:
            raise UsageError(
                f"{store.location} has no features {name!r} for the modality {modality}; it has "
                f"{', '.join(stored) or 'none'}. Extract them (flowkit features --name {name}), or "
                f"name others (--set sets.streams.{modality}=NAME)"
            )
        features, expected = stored[name], sets.made_with.get(modality)
        if features.dimension != dimensions[modality]:
            key = "dimensions" if isinstance(sets.dimensions, int) else f"dimensions.{modality}"
            raise UsageError(
                f"{store.location}: features/{name} have {features.dimension} dimensions, but the "
                f"recipe expects {dimensions[modality]} for {modality}. Use other features, or add "
                f"--set sets.{key}={features.dimension}"
            )
        if expected is not None and features.weights != expected:
            raise UsageError(
                f"{store.location}: features/{name} were computed by {features.model} with the "
                f"weights {features.weights}, but the recipe expects the weights {expected} for "
                f"{modality}. Extract the features with those, or change sets.made_with.{modality}"
            )

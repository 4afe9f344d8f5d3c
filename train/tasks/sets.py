"""Training on feature sets: attention over local features that were extracted beforehand.

A video is a set of local features for each modality (`flowkit features` extracts them). A
SetNetwork (models/networks/feature_sets.py) scores it.
"""

from collections.abc import Callable, Mapping
from typing import ClassVar

import torch
from torch import nn

from flowkit.datasets.feature_sets import FeatureSetDataset
from flowkit.errors import UsageError
from flowkit.recipe import Recipe as StoreRecipe
from flowkit.store import Store
from models.attention.catnet import CascadeAttention
from models.attention.clusters import AttentionCluster
from models.networks.feature_sets import SetNetwork
from models.networks.fusions import TSLSTM, AverageFusion, BiLSTM, Flatten, TemporalInception
from models.networks.two_stream import count_parameters
from models.weights.pretrained import load_weights, read_weights
from train.recipe.recipe import Branch, FeatureSetRecipe, Sets, of_split
from train.runs.journal import Log
from train.runs.phases import Phase, phases_of
from train.runs.run import Run
from train.tasks.backbones import seed_initial_weights
from train.tasks.samples import USES, Use
from train.tasks.task import Batch, Task
from train.tasks.weights import find_weights, load_finished, name_weight_file

# The module that turns the set of one modality into a vector, by ``sets.method``. Arguments: the
# recipe's section, the modality, and the dimension of its features.
SET_MODULES: dict[str, Callable[[Sets, str, int], nn.Module]] = {
    "clusters": lambda sets, modality, dimension: AttentionCluster(
        dimension, sets.of("units")[modality], sets.weighting, sets.shifting, sets.hidden
    ),
    "catnet": lambda sets, modality, dimension: CascadeAttention(
        dimension,
        sets.heads,
        sets.normalize,
        sets.global_attention,
        sets.aggregation,
        sets.shared,
        sets.takes,
    ),
    "average": lambda sets, modality, dimension: AverageFusion(dimension),
    "flatten": lambda sets, modality, dimension: Flatten(dimension, sets.of("sample")[modality]),
    "ts_lstm": lambda sets, modality, dimension: TSLSTM(dimension),
    "temporal_inception": lambda sets, modality, dimension: TemporalInception(dimension),
    "bilstm": lambda sets, modality, dimension: BiLSTM(dimension),
}


class FeatureSetTask(Task[FeatureSetRecipe, SetNetwork]):
    """Train a network of attention over sets of local features.

    A video is one view: V = 1. The only branch is ``sets``, all modalities together.
    """

    name = "sets"
    test_batch_size = 256
    score_titles: ClassVar[Mapping[str, str]] = {"sets": "sets"}
    # Features are read sooner than another process could send them.
    default_workers = 0

    @property
    def sets(self) -> Sets:
        """The recipe's section of feature sets."""
        return self.recipe.sets

    # --- networks --------------------------------------------------------------------------------

    def check(self, store: Store) -> None:
        """Compare the store's features with the recipe, and score one video of each subset."""
        splits = self.recipe.splits or (None,)
        tasks = [FeatureSetTask(of_split(self.recipe, split)) for split in splits]
        for task in tasks:
            check_features(task.sets, store)
        phase = phases_of(self.recipe, splits[0])[0]
        network = self.build_network(phase).eval()
        self._load_weight_file(network)
        network.set_means({m: torch.zeros(d) for m, d in self.sets.of("dimensions").items()})
        for task in tasks:
            for use in USES:
                dataset = task.open_dataset(store, phase, use)
                try:
                    task.test_scores(network, dataset.batch([0]), phase, torch.device("cpu"))
                except ValueError as error:
                    raise UsageError(f"recipe: sets: in {use}: {error}") from error

    def build_network(self, phase: Phase) -> SetNetwork:
        """Build one module for each modality and a classifier over all of them."""
        sets, dimensions = self.sets, self.sets.of("dimensions")
        with seed_initial_weights(self.recipe, phase):
            try:
                modules = {
                    modality: SET_MODULES[sets.method](sets, modality, dimensions[modality])
                    for modality in sets.streams
                }
                return SetNetwork(modules, dimensions, self.recipe.classes, sets.dropout)
            except (ValueError, KeyError) as error:
                raise UsageError(f"recipe: sets: {error}") from error

    def start_network(self, run: Run, phase: Phase, store: Store, log: Log) -> SetNetwork:
        """Build the network, load its weight file, and set the means that replace empty sets."""
        flush_denormals()
        network = self.build_network(phase)
        report = self._load_weight_file(network)
        if report:
            log(f"{phase.name}: {report}")
        if self.sets.may_be_empty:
            task = FeatureSetTask(of_split(self.recipe, phase.split))
            dataset = task.open_dataset(store, phase, "train")
            network.set_means({m: dataset.mean(m) for m in self.sets.may_be_empty})
        return network

    def _load_weight_file(self, network: SetNetwork) -> str:
        """Load the recipe's weight file, if it names one, and return a report of it.

        The classifier stays random, and the means are those of this training set.
        """
        name = self.sets.weights
        if not name:
            return ""
        with name_weight_file(name, "sets"):
            weights = read_weights(find_weights(name))
            loaded = load_weights(network, weights, skip=("classifier.", "mean."))
        return f"{len(loaded.used)} weights from {name}; skipped: {', '.join(loaded.skipped)}"

    def set_train_mode(self, network: SetNetwork, phase: Phase) -> None:
        """Train the whole network."""
        network.train()

    def find_invalid_weights(self, network: SetNetwork) -> list[str]:
        """Ignore the means, which stay unset (NaN) for sets that are never empty."""
        names = super().find_invalid_weights(network)
        return [name for name in names if not name.startswith("mean.")]

    def load_finished_network(
        self, run: Run, phase: Phase, branches: tuple[Branch, ...] = ("sets",)
    ) -> SetNetwork:
        """Load the network."""
        network = self.build_network(phase)
        load_finished(network, run, phase)
        return network

    def count_costs(self) -> dict[str, dict[str, float]]:
        """Count the parameters of the attention, of the classifier, and of both."""
        splits = self.recipe.splits
        phase = phases_of(self.recipe, splits[0] if splits else None)[0]
        with torch.device("meta"):  # parameters are counted, so no values are needed
            network = self.build_network(phase)
        total = count_parameters(network)
        parts = {"attention": network.parts, "classifier": network.classifier, "network": network}
        counts = {name: count_parameters(part) for name, part in parts.items()}
        return {
            name: {"parameters": count, "ratio": count / total} for name, count in counts.items()
        }

    # --- data and scores -------------------------------------------------------------------------

    def open_dataset(
        self, store: Store, phase: Phase, use: Use, subset: str | None = None
    ) -> FeatureSetDataset:
        """Open the sets of a subset: random features in training, evenly spaced ones otherwise."""
        recipe, sets = self.recipe, self.sets
        counts = sets.of("sample" if use == "train" else "test")
        dataset = FeatureSetDataset(
            store,
            subset or getattr(recipe.subsets, use),
            sets.streams,
            max_features={modality: count for modality, count in counts.items() if count} or None,
            training=use == "train",
            may_be_empty=sets.may_be_empty,
            multi_label=subset is not None or recipe.labels == "many",
            seed=recipe.seed,
        )
        if subset is None and recipe.labels == "one":
            wrong = (dataset.labels() >= recipe.classes).nonzero()
            if len(wrong):
                label = int(dataset.labels()[wrong[0]])
                raise UsageError(
                    f"{store.path}: {len(wrong)} videos of subset "
                    f"{getattr(recipe.subsets, use)!r} have classes beyond the recipe's "
                    f"{recipe.classes}, such as {label}; set classes, or rebuild the index"
                )
        return dataset

    def train_scores(
        self, network: nn.Module, batch: Batch, phase: Phase, device: torch.device
    ) -> Batch:
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
        self, network: SetNetwork, batch: Batch, phase: Phase, device: torch.device
    ) -> Batch:
        """Return logits (B, 1, C)."""
        with torch.inference_mode():
            scores = self.train_scores(network, batch, phase, device)
        return {branch: logits[:, None] for branch, logits in scores.items()}

    # --- prediction ------------------------------------------------------------------------------

    def recipe_for_video_file(self, store_recipe: StoreRecipe) -> None:
        """Return None, because no video file contains features."""


def flush_denormals() -> None:
    """Let the CPU treat numbers below 10⁻³⁸ as 0.

    Sharp attention leaves many of them in the softmax and, without the shifting operation, in
    gradients and the optimizer's squares. Each costs a CPU a hundred cycles, and a step three
    times its time (Flash-MNIST, N = 8 without shifting).
    """
    torch.set_flush_denormal(True)


def check_features(sets: Sets, store: Store) -> None:
    """Compare the features of a store with those that a recipe expects.

    Args:
        sets: The recipe's section, of one split.
        store: The store to train on.

    Raises:
        UsageError: The store lacks features, or they have another dimension or were made with
            other weights than the recipe says.
    """
    made = store.recipe.features
    dimensions = sets.of("dimensions")
    for modality, name in sets.streams.items():
        if name not in made:
            raise UsageError(
                f"{store.path} has no features {name!r} for {modality}; there are "
                f"{', '.join(made) or 'none'}. Extract them (flowkit features --name {name}), or "
                f"say which to take (--set sets.streams.{modality}=NAME)"
            )
        features, expected = made[name], sets.made_with.get(modality)
        if features.dimension != dimensions[modality]:
            key = "dimensions" if isinstance(sets.dimensions, int) else f"dimensions.{modality}"
            raise UsageError(
                f"{store.path}: features/{name} have {features.dimension} dimensions, the recipe "
                f"is for {dimensions[modality]} of {modality}; take other features, or say --set "
                f"sets.{key}={features.dimension}"
            )
        if expected is not None and features.weights != expected:
            raise UsageError(
                f"{store.path}: features/{name} were made by {features.model} with the weights "
                f"{features.weights}, the recipe is for {modality} of the weights {expected}; "
                f"extract them with those, or change sets.made_with.{modality}"
            )

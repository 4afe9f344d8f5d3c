"""Feature sets: what is done with attention over them by the loop and the evaluation (task.py).

A video is a set of local features for each modality, which networks extracted beforehand
(`flowkit features`); a SetNetwork (models/networks/feature_sets.py) makes scores of them.
"""

import zlib
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from flowkit.datasets.feature_sets import FeatureSetDataset
from flowkit.errors import UsageError
from flowkit.store import Store
from models.attention.catnet import CascadeAttention
from models.attention.clusters import AttentionCluster
from models.networks.feature_sets import SetNetwork
from models.networks.fusions import TSLSTM, AverageFusion, BiLSTM, Flatten, TemporalInception
from models.networks.two_stream import count_parameters
from models.weights.pretrained import load_weights, read_weights
from train.recipe.recipe import Recipe, Sets, of_split
from train.runs.journal import Log
from train.runs.phases import Phase, phases_of
from train.runs.run import Run
from train.tasks.samples import USES, Use
from train.tasks.weights import blame, find_weights, load_finished

# What makes one vector of a modality's set: of the recipe, the modality and its dimension.
PARTS: dict[str, Callable[[Sets, str, int], nn.Module]] = {
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


# --- networks ------------------------------------------------------------------------------------


def make_set_network(recipe: Recipe, phase: Phase) -> SetNetwork:
    """The network of a phase with random weights, those of the recipe's seed and the phase."""
    sets = sets_of(recipe)
    dimensions = sets.of("dimensions")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(zlib.crc32(phase.name.encode()) ^ recipe.seed)
        try:
            parts = {m: PARTS[sets.method](sets, m, dimensions[m]) for m in sets.streams}
            return SetNetwork(parts, dimensions, recipe.classes, sets.dropout)
        except (ValueError, KeyError) as error:
            raise UsageError(f"recipe: sets: {error}") from error


def load_start(network: SetNetwork, recipe: Recipe) -> str:
    """Load the recipe's weight file, if it has one, and say what it gave; UsageError otherwise.

    The classifier stays random, and means are those of the sets that are trained on.
    """
    name = sets_of(recipe).weights
    if not name:
        return ""
    with blame(name, "sets"):
        weights = read_weights(find_weights(name))
        found = load_weights(network, weights, skip=("classifier.", "mean."))
    return f"{len(found.used)} weights from {name}; skipped: {', '.join(found.skipped)}"


def start_sets(run: Run, phase: Phase, store: Store, log: Log) -> SetNetwork:
    """The network that a phase begins with, and the means that stand for its empty sets."""
    flush_denormals()
    network = make_set_network(run.recipe, phase)
    said = load_start(network, run.recipe)
    if said:
        log(f"{phase.name}: {said}")
    may_be_empty = sets_of(run.recipe).may_be_empty
    if may_be_empty:
        dataset = sample_sets(of_split(run.recipe, phase.split), store, phase, "train")
        network.set_means({m: torch.as_tensor(dataset.mean(m)) for m in may_be_empty})
    return network


def flush_denormals() -> None:
    """Let the CPU take numbers below 10⁻³⁸ for 0.

    Sharp attention leaves many of them, in the softmax and, without the shifting operation, in
    gradients and the optimizer's squares; each costs a CPU a hundred cycles, and a step three
    times its time (Flash-MNIST, N = 8 without shifting).
    """
    torch.set_flush_denormal(True)


def finish_sets(run: Run, phase: Phase, wanted: tuple[Any, ...] = ()) -> SetNetwork:
    """The network of a finished phase, in eval mode; RunError where it is not finished."""
    network = make_set_network(run.recipe, phase)
    load_finished(network, run, phase)
    return network


def count_set_costs(recipe: Recipe) -> dict[str, dict[str, float]]:
    """Parameters of the attention over all modalities, of the classifier, and of both."""
    phase = phases_of(recipe, recipe.splits[0] if recipe.splits else None)[0]
    with torch.device("meta"):  # only counted, so without numbers
        network = make_set_network(recipe, phase)
    whole = count_parameters(network)
    counts = {"attention": network.parts, "classifier": network.classifier, "network": network}
    return {
        name: {"parameters": count_parameters(part), "ratio": count_parameters(part) / whole}
        for name, part in counts.items()
    }


# --- samples and scores --------------------------------------------------------------------------


def sample_sets(
    recipe: Recipe, store: Store, phase: Phase, use: Use, subset: str | None = None
) -> FeatureSetDataset:
    """The sets of a subset: random ones of each to train on, evenly spaced ones to test.

    The recipe must be of one split. Raises UsageError where a label is outside the classes, and
    StoreError where the store lacks features.
    """
    sets = sets_of(recipe)
    count = sets.of("sample" if use == "train" else "test")
    dataset = FeatureSetDataset(
        store,
        subset or getattr(recipe.subsets, use),
        sets.streams,
        sample={modality: number for modality, number in count.items() if number} or None,
        training=use == "train",
        may_be_empty=sets.may_be_empty,
        many=subset is not None or recipe.labels == "many",
        seed=recipe.seed,
    )
    if subset is None and recipe.labels == "one":
        wrong = (dataset.labels() >= recipe.classes).nonzero()
        if len(wrong):
            label = int(dataset.labels()[wrong[0]])
            raise UsageError(
                f"{store.path}: {len(wrong)} videos of subset {getattr(recipe.subsets, use)!r} "
                f"have classes beyond the recipe's {recipe.classes}, such as {label}; set classes, "
                "or rebuild the index"
            )
    return dataset


def score_sets(
    network: Any, batch: dict[str, torch.Tensor], recipe: Recipe, phase: Phase, device: torch.device
) -> dict[str, torch.Tensor]:
    """What a network says of a batch of sets: (B, C) as ``sets``."""
    features, lengths = {}, {}
    for modality in sets_of(recipe).streams:
        own, counts = batch[modality], batch[f"{modality}_lengths"]
        features[modality] = own.to(device, non_blocking=True)
        # Sets without padding need no masks.
        if int(counts.min()) < max(own.shape[1], 1):
            lengths[modality] = counts.to(device, non_blocking=True)
    return {"sets": network(features, lengths)}


def score_set_views(
    network: Any, batch: dict[str, torch.Tensor], recipe: Recipe, phase: Phase, device: torch.device
) -> dict[str, torch.Tensor]:
    """Logits (B, 1, C) of a batch of test videos, each of which is one view."""
    with torch.inference_mode():
        scores = score_sets(network, batch, recipe, phase, device)
    return {name: logits[:, None] for name, logits in scores.items()}


# --- before a run --------------------------------------------------------------------------------


def check_sets(recipe: Recipe, store: Store) -> None:
    """Find out what is wrong with a training on sets before its run is begun.

    Raises UsageError, or StoreError, where the store lacks features or has others than the recipe
    is for, sets are empty that may not be, or the network cannot be built, filled or fed.
    """
    splits = recipe.splits or (None,)
    for split in splits:
        check_features(sets_of(of_split(recipe, split)), store)
    phase = phases_of(recipe, splits[0])[0]
    network = make_set_network(recipe, phase).eval()
    load_start(network, recipe)
    network.set_means({m: torch.zeros(d) for m, d in sets_of(recipe).of("dimensions").items()})
    for split in splits:
        for use in USES:
            own = of_split(recipe, split)
            dataset = sample_sets(own, store, phase, use)
            try:
                with torch.inference_mode():
                    score_sets(network, dataset.batch([0]), own, phase, torch.device("cpu"))
            except ValueError as error:
                raise UsageError(f"recipe: sets: in {use}: {error}") from error


def check_features(sets: Sets, store: Store) -> None:
    """UsageError where a stream is of another dimension, or of other weights, than expected."""
    made = store.recipe.features
    dimensions = sets.of("dimensions")
    for modality, name in sets.streams.items():
        if name not in made:
            raise UsageError(
                f"{store.path} has no features {name!r} for {modality}; there are "
                f"{', '.join(made) or 'none'}. Extract them (flowkit features --name {name}), or "
                f"say which to take (--set sets.streams.{modality}=NAME)"
            )
        own, wanted = made[name], sets.made_with.get(modality)
        if own.dimension != dimensions[modality]:
            key = "dimensions" if isinstance(sets.dimensions, int) else f"dimensions.{modality}"
            raise UsageError(
                f"{store.path}: features/{name} have {own.dimension} dimensions, the recipe is for "
                f"{dimensions[modality]} of {modality}; take other features, or say --set "
                f"sets.{key}={own.dimension}"
            )
        if wanted is not None and own.weights != wanted:
            raise UsageError(
                f"{store.path}: features/{name} were made by {own.model} with the weights "
                f"{own.weights}, the recipe is for {modality} of the weights {wanted}; extract "
                f"them with those, or change sets.made_with.{modality}"
            )


def sets_of(recipe: Recipe) -> Sets:
    """The recipe's section of sets, which it must have."""
    assert recipe.sets is not None
    return recipe.sets

"""Sound: what is done with networks of log-mel patches by the loop and the evaluation (task.py).

Long et al., "Attention Clusters", CVPR 2018, §5.2: a VGG-16 is trained on patches of 96 windows ×
64 mel bands "just as for RGB and flow", with TSN's segments, to make the local features of sound.

Departs from the paper, or chooses what it leaves open: the first convolution starts, as flow's,
from the mean of an RGB network's over its channels where the recipe names such a file; videos
without sound are left out, in training and testing, since they have nothing to score.
"""

import zlib
from typing import Any

import torch

from flowkit.datasets.patches import PatchDataset
from flowkit.errors import UsageError
from flowkit.store import Store
from models.backbones.backbone import Backbone
from models.networks.two_stream import count_parameters
from models.weights.pretrained import load_weights, read_weights
from models.weights.weight_files import convert_weights
from train.recipe.recipe import Recipe, of_split
from train.runs.journal import Log
from train.runs.phases import Phase, phases_of
from train.runs.run import Run
from train.tasks.backbones import make_backbone
from train.tasks.networks import rest_parts, train_last
from train.tasks.samples import USES, Use, check_labels
from train.tasks.weights import blame, find_weights, load_finished, take_trunk

PATCHES = 250  # that go through a network at once


def check_audio(recipe: Recipe, store: Store) -> None:
    """Find out what is wrong with a training on sound before its run is begun.

    Raises UsageError where weights are of another network, parts are to be trained that it has
    not, or videos have other labels than the recipe is for; StoreError where audio is lacking.
    """
    splits = recipe.splits or (None,)
    phase = phases_of(recipe, splits[0])[0]
    for split in splits:
        for use in USES:
            dataset = sample_audio(of_split(recipe, split), store, phase, use)
            if not len(dataset):
                raise UsageError(
                    f"{store.path}: expected videos with sound, none of the {dataset.silent} of "
                    f"subset {dataset.subset.name!r} has any"
                )
    network = make_audio_network(recipe, phase)
    load_start(network, recipe)
    set_audio_training(network, phase)


def make_audio_network(recipe: Recipe, phase: Phase) -> Backbone:
    """The network of a phase with random weights, those of the recipe's seed and the phase."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(zlib.crc32(phase.name.encode()) ^ recipe.seed)
        return make_backbone(recipe, "audio")


def load_start(network: Backbone, recipe: Recipe) -> str:
    """Load the recipe's weight file, if it has one, and say what it gave; UsageError otherwise."""
    name = recipe.network.weights.get("audio")
    if name is None:
        return ""
    with blame(name, "audio"):
        own, left = take_trunk(read_weights(find_weights(name)), "rgb")
        found = load_weights(
            network,
            convert_weights(network, own),
            skip=(f"{network.last}.",),
            inflate_channels=True,
        )
    return f"{len(found.used)} weights from {name}; skipped: {', '.join((*found.skipped, *left))}"


def start_audio(run: Run, phase: Phase, store: Store, log: Log) -> Backbone:
    """The network that a phase begins with; says which videos are left out for want of sound."""
    recipe = of_split(run.recipe, phase.split)
    for use in USES:
        dataset = sample_audio(recipe, store, phase, use)
        if dataset.silent:
            log(
                f"{phase.name}: left out {dataset.silent} videos of subset "
                f"{dataset.subset.name!r} ({use}), which have no sound"
            )
    network = make_audio_network(run.recipe, phase)
    said = load_start(network, run.recipe)
    if said:
        log(f"{phase.name}: {said}")
    return network


def set_audio_training(network: Backbone, phase: Phase) -> None:
    """What of the network learns in a phase. VGG-16 has no BN that could rest."""
    network.train().requires_grad_(True)
    if phase.training.only_last:
        train_last(network, network)
    elif phase.training.only:
        rest_parts(network, phase.training.only)


def finish_audio(run: Run, phase: Phase, wanted: tuple[Any, ...] = ()) -> Backbone:
    """The network of a finished phase, in eval mode; RunError where it is not finished."""
    network = make_audio_network(run.recipe, phase)
    load_finished(network, run, phase)
    return network


def count_audio_costs(recipe: Recipe) -> dict[str, dict[str, float]]:
    """Parameters of the network."""
    with torch.device("meta"):  # only counted, so without numbers
        whole = count_parameters(make_backbone(recipe, "audio"))
    return {"network": {"parameters": whole, "ratio": 1.0}}


# --- samples and scores --------------------------------------------------------------------------


def sample_audio(
    recipe: Recipe, store: Store, phase: Phase, use: Use, subset: str | None = None
) -> PatchDataset:
    """Patches of the videos of a subset that have sound: K of each, or all to test.

    The recipe must be of one split. ``subset`` names one of videos without labels, which all must
    have sound. Raises UsageError where a label is outside the classes, and StoreError where audio
    is lacking.
    """
    dataset = PatchDataset(
        store,
        subset or getattr(recipe.subsets, use),
        0 if use == "test" else recipe.data.num_segments,
        training=use == "train",
        leave_out_silent=subset is None,
        many=subset is not None or recipe.labels == "many",
        seed=recipe.seed,
    )
    if subset is None:
        check_labels(dataset, recipe.classes)
    return dataset


def score_audio(
    network: Any, batch: dict[str, torch.Tensor], recipe: Recipe, phase: Phase, device: torch.device
) -> dict[str, torch.Tensor]:
    """What a network says of all patches of a batch, (B·K, C) as ``audio``."""
    return {"audio": network(batch["audio"].to(device, non_blocking=True).flatten(0, 1))}


def score_audio_views(
    network: Any, batch: dict[str, torch.Tensor], recipe: Recipe, phase: Phase, device: torch.device
) -> dict[str, torch.Tensor]:
    """Logits (1, K, C) of all K patches of one test video, some hundred at a time."""
    with torch.inference_mode():
        parts = [network(part.to(device)) for part in batch["audio"][0].split(PATCHES)]
    return {"audio": torch.cat(parts)[None]}

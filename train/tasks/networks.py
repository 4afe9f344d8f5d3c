"""Two-stream networks: build them, load their weights, and choose what of them is trained."""

import torch
from torch import nn

from flowkit.errors import UsageError
from models.backbones.backbone import Backbone
from models.layers.batch_norm import freeze_batch_norms
from models.networks.pyramid import PyramidNetwork, PyramidTwoStream
from models.networks.two_stream import Scores, TwoStream
from models.weights.pretrained import load_weights
from train.recipe.recipe import ImageRecipe, Stream
from train.runs.journal import Log
from train.runs.phases import INITIAL, Phase, list_split_phases
from train.runs.run import Run
from train.tasks.backbones import make_backbone, seed_initial_weights
from train.tasks.weights import (
    BRANCHES,
    describe_loaded_weights,
    get_trunk,
    has_prefix,
    list_branch_prefixes,
    load_initial_weights,
    read_phase_weights,
)


def make_network(recipe: ImageRecipe, phase: Phase, scores: Scores) -> TwoStream:
    """Build the network of a phase with random weights.

    The weights depend on the recipe's seed and the name of the phase alone.

    Args:
        recipe: The recipe.
        phase: The phase.
        scores: The branches whose scores the network returns.

    Raises:
        UsageError: The backbone has no such place for the recipe's attention.
    """
    settings = recipe.network
    with seed_initial_weights(recipe, phase):
        rgb, flow = (make_backbone(recipe, stream) for stream in BRANCHES)
        if settings.pyramid is not None:
            return PyramidTwoStream(add_pyramid(recipe, rgb), add_pyramid(recipe, flow), scores)
        try:
            return TwoStream(
                rgb,
                flow,
                cma=phase.cma,
                non_local=settings.non_local,
                scores=scores,
                positions=settings.positions or None,
                uniform=phase.uniform,
            )
        except ValueError as error:
            raise UsageError(f"recipe: network.positions: {error}") from error


def add_pyramid(recipe: ImageRecipe, trunk: Backbone) -> PyramidNetwork:
    """Put the recipe's pyramid attention inside a branch.

    Args:
        recipe: A recipe with ``network.pyramid``.
        trunk: The backbone of the branch.

    Raises:
        UsageError: The backbone has no such taps.
    """
    settings = recipe.network.pyramid
    assert settings is not None
    try:
        return PyramidNetwork(
            trunk,
            settings.taps,
            (recipe.data.size, recipe.data.size),
            settings.fusion,
            settings.moves_features,
            settings.energy,
        )
    except ValueError as error:
        raise UsageError(f"recipe: network.pyramid.taps: {error}") from error


def check_networks(recipe: ImageRecipe) -> None:
    """Build the network of each phase on the meta device and run one sample through it.

    To be called before a run is created.

    Args:
        recipe: The recipe.

    Raises:
        UsageError: Attention is at places that do not exist, the backbone cannot take images or
            clips of this size, or a phase trains parts that the network does not have.
    """
    for phase in list_split_phases(recipe, None):
        with torch.device("meta"):
            network = make_network(recipe, phase, phase.stream)
            samples = {branch: torch.empty(shape_input(recipe, branch)) for branch in BRANCHES}
        set_train_mode(network, phase)
        if not any(parameter.requires_grad for parameter in network.parameters()):
            raise UsageError(f"recipe: phase {phase.name}: nothing of the network is to be trained")
        network.eval()
        try:
            with torch.no_grad():
                network(**samples)
        except (ValueError, RuntimeError) as error:
            size, clip = recipe.data.size, recipe.data.clip
            expected = f"clips of {clip.length} frames" if clip else "images"
            raise UsageError(
                f"recipe: {recipe.network.backbone} cannot take {expected} of {size}×{size} "
                f"pixels: {error}. Change data.{'clip.length or data.size' if clip else 'size'}"
            ) from error


def shape_input(recipe: ImageRecipe, branch: Stream) -> tuple[int, ...]:
    """Return the shape of a branch's input in training, with a batch of 1."""
    data = recipe.data
    fields = 2 * (data.flow_length if data.clip is None else 1)
    channels, size = 3 if branch == "rgb" else fields, (data.size, data.size)
    if data.clip is not None:
        return (1, channels, data.clip.length, *size)
    frames = (data.num_segments,) if recipe.network.pyramid else ()
    return (1, *frames, channels, *size)


def find_image_recipe(run: Run) -> ImageRecipe:
    """Return the recipe of a run on images; the caller knows that it is one."""
    assert isinstance(run.recipe, ImageRecipe)
    return run.recipe


def start_network(run: Run, phase: Phase, log: Log = lambda text: None) -> TwoStream:
    """Build the network of a phase, and load weight files and branches of earlier phases.

    Args:
        run: A run on images, whose earlier phases are finished.
        phase: The phase to start.
        log: Called with a line about each file: how many weights it gave, and what was skipped.
    """
    recipe = find_image_recipe(run)
    network = make_network(recipe, phase, phase.stream)
    for name, loaded in load_initial_weights(network, recipe, phase).items():
        log(f"{phase.name}: {describe_loaded_weights(loaded, name)}")
    for branch, source in phase.start.items():
        if source != INITIAL:
            load_branch(network, branch, run, source)
    return network


def load_phase_network(run: Run, phase: Phase, scores: Scores) -> TwoStream:
    """Load the network of a finished phase, in eval mode.

    Args:
        run: A run on images.
        phase: A phase of the run.
        scores: The branches whose scores the network returns.

    Raises:
        RunError: The phase is not finished, or its weight file is damaged.
    """
    network = make_network(find_image_recipe(run), phase, scores)
    for branch in BRANCHES if phase.cma else (phase.stream,):
        load_branch(network, branch, run, phase.name)
    network.eval()
    return network


def load_branch(network: TwoStream, branch: Stream, run: Run, phase: str) -> None:
    """Load a branch, and the attention blocks that change it, from a finished phase.

    If that phase had no cross-modality blocks, those of the network stay the identity.

    Args:
        network: The network, which is changed.
        branch: The branch.
        run: The run of the finished phase.
        phase: Name of the finished phase.
    """
    prefixes, phase_weights = list_branch_prefixes(branch), read_phase_weights(run, phase)
    weights = {name: t for name, t in phase_weights.items() if name.startswith(prefixes)}
    skipped = [p for b in BRANCHES if b != branch for p in list_branch_prefixes(b)]
    if not has_prefix(weights, f"to_{branch}."):
        skipped.append(f"to_{branch}.")
    load_weights(network, weights, skip=tuple(skipped))


def select_weights(network: TwoStream, phase: Phase) -> dict[str, torch.Tensor]:
    """Return the weights that a finished phase saves: its branch, or both if it has attention."""
    prefixes = sum(
        (list_branch_prefixes(b) for b in (BRANCHES if phase.cma else (phase.stream,))), ()
    )
    state = network.state_dict()
    return {name: tensor for name, tensor in state.items() if name.startswith(prefixes)}


# --- train mode ----------------------------------------------------------------------------------


def set_train_mode(network: TwoStream, phase: Phase) -> None:
    """Choose which parameters a phase trains, and which batch norms update their statistics.

    To be called before each epoch, because validation puts the network in eval mode.

    Args:
        network: The network, which is changed.
        phase: The phase that trains it.
    """
    network.train().requires_grad_(True)
    network.freeze("flow" if phase.branch == "rgb" else "rgb")
    branch = network.list_branch_modules(phase.branch)
    if phase.training.only_last:
        train_last_layer(branch, get_trunk(network, phase.stream))
    elif phase.training.only:
        train_parts(get_trunk(network, phase.stream), phase.training.only)
    elif phase.training.partial_bn:
        freeze_batch_norms(getattr(network, phase.branch))


def train_last_layer(branch: nn.Module, trunk: Backbone) -> None:
    """Freeze a branch, except the last layer of its backbone and the dropout before it."""
    branch.eval().requires_grad_(False)
    trunk.dropout.train()
    assert trunk.last_layer is not None
    trunk.last_layer.requires_grad_(True)


def train_parts(trunk: Backbone, only: tuple[str, ...]) -> None:
    """Freeze a backbone, except some parts of it.

    Args:
        trunk: The backbone, which is changed. Batch norm of frozen parts keeps its statistics.
        only: Names of the parts to train.

    Raises:
        UsageError: The backbone has no part of such a name.
    """
    children = dict(trunk.named_children())
    unknown = [name for name in only if name not in children]
    if unknown:
        raise UsageError(
            f"recipe: training.only: {type(trunk).__name__} has no part {unknown[0]!r}; there are "
            f"{', '.join(children)}"
        )
    for name, child in children.items():
        if name not in only and child is not trunk.dropout:
            child.eval().requires_grad_(False)

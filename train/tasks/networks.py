"""Build two-stream networks, load their weights, and set which parts of them a phase trains.

    stream      one kind of data in a store; these networks read ``rgb`` and ``flow``
    branch      the network of one stream, named after it: a backbone, or a backbone with pyramid
                attention inside (`PyramidNetwork`)
    backbone    the convolutional network of a branch, such as a ResNet, from input to scores
    phase       a part of a run that trains one branch, ``phase.branch``. For phases on images,
                ``phase.stream`` is the same name, typed as "rgb" or "flow"
    positions   the steps of a backbone after which CMA or non-local blocks are inserted: any steps;
                pyramid attention is inserted after ``taps``, which are some of the steps
    uniform     a control experiment: the attention weights of all blocks are equal

Cross-modality attention (CMA) is between the branches: the blocks ``to_rgb`` change the features of
RGB by those of flow, and ``to_flow`` the reverse. A new block is the identity: it changes nothing
until it is trained. Non-local blocks are within one branch (``non_local_rgb``, ``non_local_flow``).
"""

import torch
from torch import nn

from flowkit.errors import UsageError
from flowkit.streams import StreamName
from models.backbones.backbone import Backbone
from models.layers.batch_norm import freeze_batch_norms
from models.layers.shapes import ShapesOnly
from models.networks.pyramid import PyramidNetwork, PyramidTwoStream
from models.networks.two_stream import Scores, TwoStream
from models.weights.pretrained import WeightsError, load_weights
from train.recipe.recipe import ImageRecipe
from train.runs.journal import Log
from train.runs.phases import INITIAL, Phase, list_split_phases
from train.runs.run import Run
from train.tasks.backbones import count_channels, make_backbone, seed_initial_weights
from train.tasks.weights import (
    BRANCHES,
    describe_loaded_weights,
    get_backbone,
    has_prefix,
    list_branch_prefixes,
    load_initial_weights,
    make_misfit_error,
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
        UsageError: A name in ``network.positions`` is not a step of the backbone, or a name in
            ``network.pyramid.taps`` is not one of its taps.
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


def add_pyramid(recipe: ImageRecipe, backbone: Backbone) -> PyramidNetwork:
    """Build a branch: a backbone with the recipe's pyramid attention inside.

    Args:
        recipe: A recipe with ``network.pyramid``.
        backbone: The backbone of the branch.

    Raises:
        UsageError: A name in ``network.pyramid.taps`` is not a tap of the backbone.
    """
    settings = recipe.network.pyramid
    assert settings is not None
    try:
        return PyramidNetwork(
            backbone,
            settings.taps,
            (recipe.data.size, recipe.data.size),
            settings.fusion,  # how the attention maps of the taps are combined
            settings.moves_features,  # whether the interactive loss also trains the features
            settings.energy,  # how the interactive loss measures what attention selects
        )
    except ValueError as error:
        raise UsageError(f"recipe: network.pyramid.taps: {error}") from error


def check_networks(recipe: ImageRecipe) -> None:
    """Build the network of each phase on the meta device and run one sample through it.

    To be called before a run is created. The meta device has shapes but no values.

    Args:
        recipe: The recipe.

    Raises:
        UsageError: Attention is at positions that the backbone does not have, the backbone cannot
            process images or clips of this size, or a phase trains parts that the network does not
            have.
    """
    # The networks of all splits are equal, so the phases of one split, without its name, suffice.
    for phase in list_split_phases(recipe, None):
        try:
            with torch.device("meta"):  # pyramid attention runs an image through its backbone here
                network = make_network(recipe, phase, phase.stream)
                samples = {b: torch.empty(get_input_shape(recipe, b)) for b in BRANCHES}
            set_train_mode(network, phase)
            if not any(parameter.requires_grad for parameter in network.parameters()):
                raise UsageError(f"recipe: phase {phase.name} trains no weights of the network")
            network.eval()
            with torch.no_grad(), ShapesOnly():
                network(**samples)
        except (ValueError, RuntimeError) as error:
            size, clip = recipe.data.size, recipe.data.clip
            expected = f"clips of {clip.length} frames" if clip else "images"
            raise UsageError(
                f"recipe: {recipe.network.backbone} cannot process {expected} of {size}×{size} "
                f"pixels: {error}. Change data.{'clip.length or data.size' if clip else 'size'}"
            ) from error


def get_input_shape(recipe: ImageRecipe, branch: StreamName) -> tuple[int, ...]:
    """Return the shape of a branch's input in training, with a batch of 1."""
    data = recipe.data
    channels, size = count_channels(recipe, branch), (data.size, data.size)
    if data.clip is not None:
        return (1, channels, data.clip.length, *size)
    frames = (data.num_segments,) if recipe.network.pyramid else ()
    return (1, *frames, channels, *size)


def get_image_recipe(run: Run) -> ImageRecipe:
    """Return the recipe of a run on images, typed as `ImageRecipe`."""
    assert isinstance(run.recipe, ImageRecipe)
    return run.recipe


def start_network(run: Run, phase: Phase, log: Log = lambda text: None) -> TwoStream:
    """Build the network of a phase, and load the weights that its branches start from.

    These are weight files, or the weights of earlier phases (`Phase.weight_sources`).

    Args:
        run: A run on images, whose earlier phases are finished.
        phase: The phase to start.
        log: Called with a line about each file: how many of its weights were used, and which were
            skipped; and if the trained branch starts from random weights.

    Raises:
        UsageError: A weight file does not exist, or does not fit the network.
        RunError: An earlier phase is not finished, or its weight file is damaged or does not fit.
    """
    recipe = get_image_recipe(run)
    network = make_network(recipe, phase, phase.stream)
    loaded_files = load_initial_weights(network, recipe, phase)
    for name, loaded in loaded_files.items():
        log(f"{phase.name}: {describe_loaded_weights(loaded, name)}")
    both, suffix = recipe.network.weights.get("both"), f" for {phase.stream}"
    is_loaded = any(name == both or name.endswith(suffix) for name in loaded_files)
    if not is_loaded and phase.weight_sources[phase.stream] == INITIAL:
        log(f"{phase.name}: the {phase.stream} branch starts from random weights")
    for branch, source_phase in phase.weight_sources.items():
        if source_phase != INITIAL:
            load_branch(network, branch, run, source_phase)
    return network


def load_phase_network(run: Run, phase: Phase, scores: Scores) -> TwoStream:
    """Load the network of a finished phase, in eval mode.

    Args:
        run: A run on images.
        phase: A phase of the run.
        scores: The branches whose scores the network returns.

    Raises:
        RunError: The phase is not finished, or its weight file is damaged or does not fit.
    """
    network = make_network(get_image_recipe(run), phase, scores)
    for branch in BRANCHES if phase.cma else (phase.stream,):
        load_branch(network, branch, run, phase.name)
    network.eval()
    return network


def load_branch(network: TwoStream, branch: StreamName, run: Run, phase: str) -> None:
    """Load a branch from a finished phase, with the attention blocks that write to it.

    These are ``to_{branch}`` and ``non_local_{branch}``. If the phase had no cross-modality blocks,
    the blocks ``to_{branch}`` of the network are left as they were built: they change nothing.

    Args:
        network: The network, which is changed.
        branch: The branch.
        run: The run of the finished phase.
        phase: Name of the finished phase.

    Raises:
        RunError: The phase is not finished, or its weight file is damaged or does not fit.
    """
    prefixes, phase_weights = list_branch_prefixes(branch), read_phase_weights(run, phase)
    weights = {name: t for name, t in phase_weights.items() if name.startswith(prefixes)}
    # Prefixes of names of the network's weights that are not expected in the file.
    skipped = [p for b in BRANCHES if b != branch for p in list_branch_prefixes(b)]
    if not has_prefix(weights, f"to_{branch}."):
        skipped.append(f"to_{branch}.")
    try:
        load_weights(network, weights, skip=tuple(skipped))
    except WeightsError as error:
        raise make_misfit_error(error, run, phase) from error


def select_weights(network: TwoStream, phase: Phase) -> dict[str, torch.Tensor]:
    """Return the weights that a finished phase saves: both branches with CMA, else its own."""
    prefixes = sum(
        (list_branch_prefixes(b) for b in (BRANCHES if phase.cma else (phase.stream,))), ()
    )
    state = network.state_dict()
    return {name: tensor for name, tensor in state.items() if name.startswith(prefixes)}


# --- train mode ----------------------------------------------------------------------------------


def set_train_mode(network: TwoStream, phase: Phase) -> None:
    """Set which parameters a phase trains, and which batch norms update their statistics.

    To be called before each epoch, because validation puts the network in eval mode.

    Args:
        network: The network, which is changed.
        phase: The phase that trains it.
    """
    network.train().requires_grad_(True)
    network.freeze("flow" if phase.branch == "rgb" else "rgb")
    branch = network.list_branch_modules(phase.branch)
    if phase.training.only_last:
        train_last_layer(branch, get_backbone(network, phase.stream))
    elif phase.training.only:
        train_parts(get_backbone(network, phase.stream), phase.training.only)
    elif phase.training.partial_bn:
        freeze_batch_norms(getattr(network, phase.branch))


def train_last_layer(branch: nn.Module, backbone: Backbone) -> None:
    """Freeze a branch, except the last layer of its backbone and the dropout before it."""
    branch.eval().requires_grad_(False)
    backbone.dropout.train()
    assert backbone.last_layer is not None
    backbone.last_layer.requires_grad_(True)


def train_parts(backbone: Backbone, part_names: tuple[str, ...]) -> None:
    """Freeze a backbone, except some parts of it.

    Args:
        backbone: The backbone, which is changed. Batch norm of frozen parts keeps its statistics.
        part_names: Names of the parts to train, such as "layer4" or "fc".

    Raises:
        UsageError: A name is not the name of a part of the backbone.
    """
    children = dict(backbone.named_children())
    unknown = [name for name in part_names if name not in children]
    if unknown:
        raise UsageError(
            f"recipe: training.only: {type(backbone).__name__} has no part {unknown[0]!r}; its "
            f"parts are {', '.join(children)}"
        )
    for name, child in children.items():
        if name not in part_names and child is not backbone.dropout:
            child.eval().requires_grad_(False)

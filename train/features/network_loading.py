"""Load the network that computes features from a run of `flowkit train` or from a weight file."""

from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import cast

import torch

from flowkit.errors import UsageError
from flowkit.streams import STREAMS, StreamName
from models.backbones.backbone import Backbone, InputConvention, name_first_convolution
from models.weights.families import describe_family, identify_family
from models.weights.pretrained import WeightsError, load_weights, read_weights
from models.weights.weight_files import convert_weights
from train.features.network import FeatureNetwork, NetworkOptions, build_feature_network
from train.features.timm_loading import find_timm_name, load_from_timm
from train.recipe.recipe import AudioRecipe, FeatureSetRecipe, ImageRecipe, Network
from train.runs.phases import Phase, list_split_phases
from train.runs.run import Run
from train.tasks.audio import AudioTask
from train.tasks.backbones import FAMILIES, OPTIONS
from train.tasks.networks import load_phase_network
from train.tasks.weights import find_weight_file, get_backbone, has_prefix, select_backbone_weights

NETWORKS: dict[str, Network] = {
    **{f"resnet{d}": Network(backbone="resnet", depth=d) for d in (18, 34, 50, 101, 152)},
    "vgg16": Network(backbone="vgg16"),
    "bn_inception": Network(backbone="bn_inception"),
    "inception_resnet_v2": Network(backbone="inception_resnet_v2"),
    "i3d": Network(backbone="i3d"),
    "i3d_inception": Network(backbone="i3d_inception"),
    "p3d": Network(backbone="p3d"),
}
# Of the names of the first layer of i3d_inception, in the files of two publishers.
INCEPTION_PREFIXES = ("Conv3d_1a_7x7.", "conv3d_1a_7x7.")
MAX_LISTED_TENSORS = 3


def load_feature_network(options: NetworkOptions) -> FeatureNetwork:
    """Load the network that the user chose.

    Raises:
        UsageError: It does not compute local features, or the weights do not fit the backbone.
        RunError: The run is not finished.
        FlowkitError: It is a model of timm, which cannot be imported.
    """
    if is_run(options.model):
        return load_from_run(options)
    name = find_timm_name(options)
    return load_from_file(options) if name is None else load_from_timm(options, name)


def is_run(model: str) -> bool:
    """Return whether a path is a run folder."""
    return (Path(model) / "run.json").exists()


def make_worker_options(options: NetworkOptions, network: FeatureNetwork) -> NetworkOptions:
    """Name the files of a loaded network, so that a worker in another folder loads the same ones.

    Args:
        options: The options that the network was loaded with.
        network: The network.

    Returns:
        Options with the absolute path of the run, or of the weight file with its backbone.
    """
    if is_run(options.model):
        return replace(options, model=str(Path(options.model).absolute()))
    return replace(options, model=str(network.path.absolute()), backbone=network.recipe.model)


# --- runs ----------------------------------------------------------------------------------------


def load_from_run(options: NetworkOptions) -> FeatureNetwork:
    """Load the network (branch) of one stream from a run, in which it was trained alone."""
    if options.backbone is not None:
        raise UsageError(
            f"{options.model} is a run, whose recipe names the backbone: no --backbone"
        )
    run = Run(options.model)
    recipe, stream = choose_stream(run, options.stream)
    phase = choose_phase(run, stream, options.split)
    if isinstance(recipe, AudioRecipe):
        backbone = AudioTask(recipe).load_finished_network(run, phase)
    else:
        assert stream == "rgb" or stream == "flow"
        backbone = get_backbone(load_phase_network(run, phase, stream), stream)
    network, data = recipe.network, recipe.data
    depth = str(network.depth) if network.backbone == "resnet" else ""
    snippet = (data.flow_length, 1) if stream == "flow" else (1, 1)
    length, stride = (data.clip.length, data.clip.stride) if data.clip else snippet
    return build_feature_network(
        options,
        backbone,
        run.folder(phase.name) / "weights.pt",
        f"{network.backbone}{depth} of {run.recipe.title}",
        stream,
        (data.size, length, stride),
        data.short_side,
    )


def choose_stream(
    run: Run, requested: StreamName | None
) -> tuple[ImageRecipe | AudioRecipe, StreamName]:
    """Choose the stream of a run whose network is used.

    Args:
        run: The run.
        requested: The stream, or None for the only one.

    Returns:
        The recipe and the stream.

    Raises:
        UsageError: The run has no network of this stream, or it has attention blocks.
    """
    recipe = run.recipe
    if isinstance(recipe, FeatureSetRecipe):
        raise UsageError(
            f"{run.path} was trained on features and computes only scores: use the run or the "
            "weights that computed its features"
        )
    streams = recipe.streams
    if requested is None and len(streams) > 1:
        raise UsageError(
            f"{run.path} has networks of {' and '.join(streams)}: choose one with --stream"
        )
    stream = requested or streams[0]
    if stream not in streams:
        raise UsageError(
            f"{run.path} has a network of {' and '.join(streams)}, but none of {stream}"
        )
    has_blocks = recipe.network.cma or stream in recipe.network.non_local
    if recipe.network.pyramid or has_blocks:
        kind = "pyramid attention" if recipe.network.pyramid else "attention blocks"
        raise UsageError(
            f"{run.path} was trained with {kind} in its {stream} branch, so its features are not "
            "those of single frames or clips: use a run without attention"
        )
    return recipe, stream


def choose_phase(run: Run, stream: StreamName, split: int | None) -> Phase:
    """Return the phase in which the branch was trained alone.

    Raises:
        UsageError: The split does not exist, or a split is needed.
    """
    splits = run.recipe.splits
    if (split is None) == bool(splits) or (splits and split not in splits):
        expected = f"--split of {', '.join(map(str, splits))}" if splits else "no --split"
        raise UsageError(f"{run.path}: expected {expected}, got {split}")
    return next(phase for phase in list_split_phases(run.recipe, split) if phase.branch == stream)


# --- weight files --------------------------------------------------------------------------------


def load_from_file(options: NetworkOptions) -> FeatureNetwork:
    """Load a backbone from a weight file, whose first convolution tells which stream it reads."""
    if options.backbone not in NETWORKS:
        raise UsageError(
            f"{options.model} is not a run folder. For a weight file, expected --backbone of "
            f"{', '.join(NETWORKS)} or timm/NAME; got {options.backbone or 'none'}"
        )
    if options.split is not None:
        raise UsageError("--split is for runs with several splits; a weight file has none")
    path = find_weight_file(options.model)
    status = path.stat()
    try:
        name, stream, channels, backbone = load_backbone(
            path, (status.st_size, status.st_mtime_ns), options.backbone, options.stream
        )
    except WeightsError as error:
        raise UsageError(f"{path}: {error}; or use another --backbone") from error
    convention: InputConvention = getattr(backbone, f"{stream}_input")
    fields = channels // 2 if stream == "flow" and backbone.dims == 2 else 1
    length = convention.frames if backbone.dims == 3 else fields
    sampling = (convention.size, length, 1)
    return build_feature_network(options, backbone, path, name, stream, sampling, None)


@lru_cache(maxsize=2)  # a command needs the networks of two streams several times
def load_backbone(
    path: Path, state: tuple[int, int], requested_name: str, requested_stream: StreamName | None
) -> tuple[str, StreamName, int, Backbone]:
    """Load a backbone from a weight file, once for each state of the file.

    Args:
        path: The file.
        state: Its size and modification time, so that a changed file is loaded again.
        requested_name: Name of the backbone, as the user gave it.
        requested_stream: The stream that it must read; None for any.

    Returns:
        The name of the network, the stream that it reads, its input channels, and the backbone in
        eval mode, which all callers share.

    Raises:
        WeightsError: The weights do not fit.
    """
    weights = read_weights(path)
    branch: StreamName = (
        "flow" if requested_stream == "flow" or not has_prefix(weights, "rgb.") else "rgb"
    )
    backbone_weights, left_out = select_backbone_weights(weights, branch)
    if left_out:
        raise WeightsError(f"it has {', '.join(left_out)}, which is not part of a backbone")
    name = identify_network(requested_name, backbone_weights)
    try:
        first, shape = find_first_kernel(name, backbone_weights)
        stream = choose_source(requested_stream, name, first, shape)
        backbone = make_feature_backbone(name, in_channels=shape[1])
        last_layer = (f"{backbone.last_layer_name}.",)
        load_weights(backbone, convert_weights(backbone, backbone_weights), skip=last_layer)
    except WeightsError as error:
        raise WeightsError(f"{error}{suggest_backbone(name, backbone_weights)}") from error
    return name, stream, shape[1], backbone.eval()


def suggest_backbone(name: str, weights: dict[str, torch.Tensor]) -> str:
    """Say which network weights are of, as the end of a message; empty if it is the named one."""
    family = identify_family(weights)
    if family is not None and family.is_exact:
        if family.backbone == name:
            return ""
        return f". These are weights of {family.title}: --backbone {family.backbone}"
    return f". These are {describe_family(weights)}"


def identify_network(name: str, weights: dict[str, torch.Tensor]) -> str:
    """Decide which I3D ``i3d`` means by the names of a file's tensors.

    Args:
        name: Name of a network, as the user gave it.
        weights: Tensors by name.

    Returns:
        ``i3d_inception`` for "i3d" and the weights of that network; otherwise the name itself.
    """
    is_inception = name == "i3d" and any(
        has_prefix(weights, prefix) for prefix in INCEPTION_PREFIXES
    )
    return "i3d_inception" if is_inception else name


def make_feature_backbone(name: str, in_channels: int) -> Backbone:
    """Build a network of `NETWORKS` with random weights and no last layer."""
    settings = NETWORKS[name]
    arguments = OPTIONS.get(settings.backbone)
    backbone: Backbone = FAMILIES[settings.backbone](
        in_channels=in_channels, num_classes=0, **(arguments(settings) if arguments else {})
    )
    return backbone


def find_first_kernel(name: str, weights: dict[str, torch.Tensor]) -> tuple[str, tuple[int, ...]]:
    """Find the kernel of a network's first convolution in a file.

    It is found by its name, since a file may list its tensors in any order: the public files of
    i3d_inception start with the last layer.

    Args:
        name: Name of the network.
        weights: Tensors of the file by name, also by the names of other publishers.

    Returns:
        Its name in the network, and its shape (channels, input channels, …).

    Raises:
        WeightsError: The file has no such kernel, or one of another number of dimensions, so it is
            of another network.
    """
    with torch.device("meta"):
        network = make_feature_backbone(name, in_channels=3)
    first = name_first_convolution(network)
    kernel = convert_weights(network, weights).get(first)
    out_channels, _, *sides = network.state_dict()[first].shape
    expected = f"{first} ({', '.join(map(str, (out_channels, 'C', *sides)))})"
    if name == "i3d":
        expected += f", or {INCEPTION_PREFIXES[0]}conv3d.weight of i3d_inception"
    if kernel is None or kernel.ndim != len(sides) + 2:
        listed = [f"{n} {tuple(t.shape)}" for n, t in weights.items() if t.ndim >= 2]
        hidden = len(listed) - MAX_LISTED_TENSORS
        got = ", ".join(listed[:MAX_LISTED_TENSORS]) + (f" and {hidden} more" if hidden > 0 else "")
        raise WeightsError(
            f"it is a file of another network than {name}: expected the first convolution "
            f"{expected}, where C is 3 for RGB and 2 for flow; got {got or 'no kernels'}. Give a "
            f"weight file of {name}"
        )
    return first, tuple(kernel.shape)


def choose_source(
    requested: StreamName | None, name: str, first: str, shape: tuple[int, ...]
) -> StreamName:
    """Determine the stream of a network from its input channels: 3 RGB, 1 audio, pairs flow.

    Args:
        requested: The stream that the network must read; None for any.
        name: Name of the network.
        first: Name of the kernel of its first convolution.
        shape: Shape of this kernel, (channels, input channels, …).

    Returns:
        The stream.

    Raises:
        WeightsError: The channels fit no stream, or not ``requested``.
    """
    channels, is_3d = shape[1], len(shape) == 5
    is_flow = channels == 2 if is_3d else channels >= 2 and channels % 2 == 0
    stream = {3: "rgb", 1: "" if is_3d else "audio"}.get(channels, "flow" if is_flow else "")
    if not stream or (stream == "audio" and name != "vgg16"):
        raise WeightsError(
            f"its first convolution has {channels} input channels, but {name} reads "
            "RGB (3 channels) or flow (2 for each field; 2 for clips), and vgg16 also audio (1)"
        )
    if requested is not None and requested != stream:
        each = " for each field" if requested == "flow" and not is_3d else ""
        raise WeightsError(
            f"it is a network of {stream} ({channels} channels), but is given for {requested} "
            f"(--stream, or --weights {requested}=): expected {STREAMS[requested].channels} input "
            f"channels{each}, and {first} has the shape {shape}. Give a weight file of {requested}"
        )
    return cast(StreamName, stream)

"""Load the network that computes features from a run of `flowkit train` or from a weight file."""

from dataclasses import replace
from functools import lru_cache
from pathlib import Path

from flowkit.errors import UsageError
from flowkit.streams import StreamName
from models.backbones.backbone import Backbone, InputConvention
from models.weights.pretrained import WeightsError, load_weights, read_weights
from models.weights.weight_files import convert_weights
from train.features.network import FeatureNetwork, NetworkOptions, build_feature_network
from train.features.timm_loading import find_timm_name, load_from_timm
from train.features.weight_checks import (
    check_stream,
    find_first_kernel,
    identify_network,
    make_feature_backbone,
    require_stream,
    suggest_backbone,
)
from train.recipe.recipe import AudioRecipe, FeatureSetRecipe, ImageRecipe
from train.runs.phases import Phase, list_split_phases
from train.runs.run import Run
from train.tasks.audio import AudioTask
from train.tasks.backbones import NETWORKS
from train.tasks.networks import load_phase_network
from train.tasks.weight_search import find_weight_file
from train.tasks.weights import get_backbone, select_backbone_weights


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
    """Load the network of one stream from a run: the weights of the phase that trained it alone.

    Raises:
        UsageError: The run has no such network or split, or it does not compute local features.
        RunError: The phase is not finished, or its weight file is damaged.
    """
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
    snippet_length = data.flow_length if stream == "flow" else 1
    length, stride = (data.clip.length, data.clip.stride) if data.clip else (snippet_length, 1)
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
        UsageError: The run has no network of this stream, or several and none is requested; or it
            was trained on features, or with attention.
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
        raise UsageError(
            f"{run.path}: expected {expected}, got {'none' if split is None else split}"
        )
    return next(phase for phase in list_split_phases(run.recipe, split) if phase.branch == stream)


# --- weight files --------------------------------------------------------------------------------


def load_from_file(options: NetworkOptions) -> FeatureNetwork:
    """Load a backbone from a weight file, whose first convolution tells which stream it reads.

    Raises:
        UsageError: There is no such file or backbone, or they do not fit each other or the stream.
    """
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
        raise UsageError(f"{path}: {error}") from error
    convention: InputConvention = getattr(backbone, f"{stream}_input")
    fields = channels // 2 if stream == "flow" and backbone.dims == 2 else 1
    length = convention.frames if backbone.dims == 3 else fields
    sampling = (convention.size, length, 1)
    return build_feature_network(options, backbone, path, name, stream, sampling, None)


@lru_cache(maxsize=2)  # a command needs the networks of two streams several times
def load_backbone(
    path: Path,
    file_state: tuple[int, int],
    requested_name: str,
    requested_stream: StreamName | None,
) -> tuple[str, StreamName, int, Backbone]:
    """Load a backbone from a weight file, once for each state of the file.

    Args:
        path: The file.
        file_state: Its size and modification time, so that a changed file is loaded again.
        requested_name: Name of the backbone, as the user gave it.
        requested_stream: The stream that it must read; None for any.

    Returns:
        The name of the network, the stream that it reads, its input channels, and the backbone in
        eval mode, which all callers share.

    Raises:
        WeightsError: The weights do not fit.
    """
    weights = read_weights(path)
    # Only names of weights from a run begin with a branch; if it has one branch, that is used.
    branch: StreamName = "flow" if requested_stream == "flow" else "rgb"
    backbone_weights, left_out = select_backbone_weights(weights, branch)
    if left_out:
        raise WeightsError(
            f"it has {', '.join(left_out)} beside a backbone: expected a file of one backbone, or "
            "the folder of the run that the file is from, as --model RUN without --backbone"
        )
    name = identify_network(requested_name, backbone_weights)
    with suggest_backbone(name, backbone_weights):
        first, shape = find_first_kernel(name, backbone_weights)
        stream = require_stream(name, shape)
    check_stream(requested_stream, stream, first, shape)
    with suggest_backbone(name, backbone_weights):
        backbone = make_feature_backbone(name, in_channels=shape[1])
        last_layer = (f"{backbone.last_layer_name}.",)
        load_weights(backbone, convert_weights(backbone, backbone_weights), skip=last_layer)
    return name, stream, shape[1], backbone.eval()

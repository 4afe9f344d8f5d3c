"""Choose the network of each stream from what the user asked for."""

from difflib import get_close_matches
from typing import Any

from flowkit.errors import UsageError
from flowkit.streams import STREAMS, StreamName
from models.backbones.timm_model import PREFIX
from train.feature_files.request_options import RequestOptions
from train.features import NetworkOptions
from train.features.network_loading import is_run, load_feature_network
from train.recipe.recipe import FeatureSetRecipe
from train.runs.run import Run
from train.tasks.backbones import NETWORKS


def choose_networks(options: RequestOptions) -> dict[StreamName, NetworkOptions]:
    """Choose the network of each stream: RGB first.

    Args:
        options: What the user asked for.

    Raises:
        UsageError: The options contradict one another, or name no network.
    """
    model, weights = options.model, options.weights
    common: dict[str, Any] = {
        "split": options.split,
        "crops": options.crops or "centre",
        "size": options.size,
    }
    if model is None:
        raise UsageError("name a network: --model i3d with --weights rgb=FILE, or --model RUN")
    if not weights:
        return choose_without_weights(model, options, common)
    if is_run(model) or options.backbone is not None or options.stream is not None:
        raise UsageError(
            "--weights gives the files of a backbone that --model names; leave out --backbone and "
            "--stream, and name no run"
        )
    if model not in NETWORKS and not model.startswith(PREFIX):
        near = get_close_matches(model.lower(), NETWORKS, n=1)
        hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(NETWORKS)}"
        raise UsageError(f"--model {model}: there is no such backbone; {hint}")
    networks: dict[StreamName, NetworkOptions] = {}
    for stream, file in weights:
        stream = stream or find_stream(NetworkOptions(model=file, backbone=model))
        if stream in networks:
            raise UsageError(f"--weights names two files of {stream}; expected one for each stream")
        networks[stream] = NetworkOptions(model=file, backbone=model, stream=stream, **common)
    return sort_streams(networks)


def choose_without_weights(
    model: str, options: RequestOptions, common: dict[str, Any]
) -> dict[StreamName, NetworkOptions]:
    """Choose the networks of a run, or the one of a weight file."""
    backbone, stream = options.backbone, options.stream
    if backbone is None and model in NETWORKS and not is_run(model):
        raise UsageError(
            f"--model {model} names a backbone, which needs a weight file for each stream: "
            "--weights rgb=FILE, --weights flow=FILE"
        )
    recipe = Run(model).recipe if is_run(model) else None
    if recipe is None or isinstance(recipe, FeatureSetRecipe):  # the latter is refused by loading
        network = NetworkOptions(model=model, backbone=backbone, stream=stream, **common)
        return {find_stream(network): network}
    chosen = recipe.streams if stream is None else (stream,)
    return sort_streams(
        {
            name: NetworkOptions(model=model, backbone=backbone, stream=name, **common)
            for name in chosen
        }
    )


def find_stream(network: NetworkOptions) -> StreamName:
    """Find which stream a weight file is for, by loading it."""
    return load_feature_network(network).sampling.source


def sort_streams(networks: dict[StreamName, NetworkOptions]) -> dict[StreamName, NetworkOptions]:
    """Sort networks in the order of the streams, which is that of their columns."""
    return {name: networks[name] for name in STREAMS if name in networks}

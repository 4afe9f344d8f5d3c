"""Read the options of `flowkit features` that name networks."""

from typing import Any

from flowkit.errors import UsageError
from flowkit.streams import STREAMS, StreamName
from train.features import NetworkOptions
from train.features.network_loading import NETWORKS, is_run, load_feature_network
from train.recipe.recipe import FeatureSetRecipe
from train.runs.run import Run


def choose_networks(options: dict[str, Any]) -> dict[StreamName, NetworkOptions]:
    """Choose the network of each stream: RGB first.

    Args:
        options: The values of all options by the names of their parameters.

    Raises:
        UsageError: The options contradict one another, or name no network.
    """
    model, weights = options["model"], options["weights"]
    common = {
        "split": options["split"],
        "crops": options["crops"] or "centre",
        "size": options["size"],
    }
    if model is None:
        raise UsageError("name a network: --model i3d with --weights rgb=FILE, or --model RUN")
    if not weights:
        return choose_without_weights(options, common)
    if is_run(model) or options["backbone"] is not None or options["stream"] is not None:
        raise UsageError(
            "--weights gives the files of a backbone that --model names; leave out --backbone and "
            "--stream, and name no run"
        )
    networks: dict[StreamName, NetworkOptions] = {}
    for value in weights:
        stream, sign, file = value.partition("=")
        if not sign or stream not in STREAMS:
            file, stream = value, find_stream(NetworkOptions(model=value, backbone=model))
        if stream in networks:
            raise UsageError(f"--weights names two files of {stream}; expected one for each stream")
        networks[stream] = NetworkOptions(model=file, backbone=model, stream=stream, **common)
    return sort_streams(networks)


def choose_without_weights(
    options: dict[str, Any], common: dict[str, Any]
) -> dict[StreamName, NetworkOptions]:
    """Choose the networks of a run, or the one of a weight file."""
    model, backbone, stream = options["model"], options["backbone"], options["stream"]
    if not is_run(model):
        if backbone is None and model in NETWORKS:
            raise UsageError(
                f"--model {model} names a backbone, which needs a weight file for each stream: "
                "--weights rgb=FILE, --weights flow=FILE"
            )
        network = NetworkOptions(model=model, backbone=backbone, stream=stream, **common)
        return {find_stream(network): network}
    recipe = Run(model).recipe
    streams = () if isinstance(recipe, FeatureSetRecipe) else recipe.streams
    chosen = (stream,) if stream or not streams else streams
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

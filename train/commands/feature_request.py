"""Read the options of `flowkit features`, and compute the features that they ask for.

With --out, features are files (train/feature_files); with --name, a stream of the store
(train/features). An option that has no effect with the chosen one is refused.
"""

from dataclasses import fields, replace
from pathlib import Path
from typing import Any, cast

import click
from click.core import ParameterSource
from rich.console import Console

from flowkit.commands.sources import ChosenVideos, LabelArguments, SourceArguments, choose_sources
from flowkit.commands.terminal import print_lines
from flowkit.errors import FlowkitError, UsageError
from flowkit.extraction import parse_part
from flowkit.interchange.activitynet import AnnotationOptions
from flowkit.streams import STREAMS, StreamName
from train.feature_files import FileOptions, extract_feature_files
from train.feature_files.annotation_file import annotate_features, check_annotation_request
from train.feature_files.folder import FeatureFolder
from train.feature_files.networks import choose_networks
from train.feature_files.request import (
    apply_convention,
    choose_windows,
    describe_unused_settings,
    make_request,
)
from train.feature_files.request_options import RequestOptions, WeightFile
from train.feature_files.summary import Summary as FileSummary
from train.features import NetworkOptions, Options, Summary, extract_features
from train.features.network_loading import load_feature_network

Values = dict[str, Any]
"""Values of the options by the names of their parameters."""

OUT_ONLY = (
    "dataset", "variant", "videos", "frames", "catalog", "subset", "convention", "last_frame",
    "fps", "frame_rate", "short_side", "upscale", "resize", "no_resize", "square_pixels", "preset",
    "method", "flow_weights", "bound", "separate", "keep_extension", "update", "annotations",
    "annotation_split", "keep_subset_names", "backend",
)  # fmt: skip
"""Options that have an effect only with --out."""
NAME_ONLY = ("positions", "clip_length", "readers", "roll_seconds")
"""Options that have an effect only with --name."""
OPTION_NAMES = {"roll_seconds": "commit-seconds"}
"""Names of options, without dashes, that differ from those of their values."""
FRAME_OPTIONS = (
    "short_side", "upscale", "resize", "no_resize", "square_pixels", "fps", "frame_rate", "preset",
    "method", "flow_weights", "bound", "backend",
)  # fmt: skip
"""Options about decoding and flow, which have no effect on the images of a store."""


def compute_stream(options: Values, strict: bool) -> tuple[Summary, str]:
    """Compute features and store them in the store that they are computed from.

    Args:
        options: The values of all options.
        strict: Value of --strict.

    Returns:
        The summary, and a line that says where the features are.

    Raises:
        UsageError: An option is missing, or belongs to --out.
    """
    refuse_options(OUT_ONLY, "with --out")
    if options["labels"] != LabelArguments():
        raise UsageError("--labels and its options have an effect only with --out; leave them out")
    if options["store"] is None or options["model"] is None:
        raise UsageError("--name needs --store S and --model, the network")
    network_options = choose_stream_network(options)
    run_options = Options(part=read_part(options), strict=strict, **select_values(options, Options))
    store, name = options["store"], options["name"]
    summary = extract_features(store, name, network_options, run_options)
    return summary, f"store: {store}, stream features/{name}"


def choose_stream_network(options: Values) -> NetworkOptions:
    """Choose the network of a feature stream, and the frames or windows that it sees.

    Raises:
        UsageError: The options contradict one another, or name several networks.
    """
    network = NetworkOptions(**select_values(options, NetworkOptions))
    if options["weights"]:
        networks = choose_networks(read_request_options(options))
        if len(networks) > 1:
            raise UsageError(
                f"--name stores the features of one network, and --weights names those of "
                f"{' and '.join(networks)}: give one, and run the command again with another --name"
            )
        (chosen,) = networks.values()
        network = replace(
            network, model=chosen.model, backbone=chosen.backbone, stream=chosen.stream
        )
    if options["placement"] not in (None, "whole"):
        raise UsageError(
            f"--placement {options['placement']} has an effect only with --out: in a "
            "store, windows lie inside the video"
        )
    if options["window"] is None and options["stride"] is None:
        return network
    if options["clip_length"] is not None:
        if options["window"] is None:
            raise UsageError(
                "--clip-length has no effect with --stride, where a clip is a window: give its "
                "frames by --window"
            )
        raise UsageError("--clip-length and --window both give the frames of a clip: leave one out")
    loaded, request = load_feature_network(network), read_request_options(options)
    if loaded.is_3d and request.clip_stride is None:
        request = replace(request, clip_stride=loaded.recipe.clip_stride)
    windows = choose_windows(request, loaded.is_3d)
    if loaded.is_3d:
        network = replace(network, clip_length=windows.length, clip_stride=windows.step)
    return replace(network, crops=options["crops"] or "centre", window_stride=windows.stride)


def compute_files(options: Values, strict: bool) -> tuple[FileSummary, str]:
    """Compute features and write them to files.

    Args:
        options: The values of all options.
        strict: Value of --strict.

    Returns:
        The summary, and a line that says where the files are.

    Raises:
        UsageError: An option is missing, or belongs to --name.
    """
    refuse_options(NAME_ONLY, "with --name")
    sources = choose_videos(options)
    check_annotations(options, sources)
    given = read_request_options(options)
    request = make_request(apply_convention(given))
    if (note := describe_unused_settings(given)) is not None:
        click.echo(note, err=True)
    values = select_values(options, FileOptions)
    run_options = FileOptions(part=read_part(options), strict=strict, table=sources.table, **values)
    summary = extract_feature_files(sources.videos, request, run_options)
    if options["annotations"] is not None and not summary.interrupted:
        try:
            print_lines(write_annotations(options, sources))
        except FlowkitError:  # what was computed must be said all the same
            Console(stderr=True).print(summary.render(), soft_wrap=True)
            raise
    return summary, f"features: {options['out']}"


def select_values(options: Values, kind: type[Any]) -> Values:
    """Return the values of those options that are fields of a dataclass, by name."""
    return {field.name: options[field.name] for field in fields(kind) if field.name in options}


def read_request_options(options: Values) -> RequestOptions:
    """Read the options that decide the features."""
    values = select_values(options, RequestOptions)
    values["weights"] = tuple(map(parse_weights, options["weights"]))
    return RequestOptions(**values)


def parse_weights(value: str) -> WeightFile:
    """Parse a value of --weights: STREAM=FILE, or a file."""
    stream, equals, file = value.partition("=")
    if equals and stream in STREAMS:
        return WeightFile(cast(StreamName, stream), file)
    return WeightFile(None, value)


def check_annotations(options: Values, sources: ChosenVideos) -> None:
    """Check the options about annotations before anything is computed.

    Raises:
        UsageError: There are no labels, or an option has no effect or does not fit the labels.
        AnnotationError: The labels cannot be written as segments.
    """
    if options["annotations"] is None:
        if options["annotation_split"] is not None or options["keep_subset_names"]:
            raise UsageError(
                "--annotation-split and --keep-subset-names are about --annotations; give it too"
            )
        return
    if sources.table is None or not sources.table.classes:  # such as a folder of videos alone
        raise UsageError(
            "--annotations writes the segments of the labels, and there are none: give --labels "
            "FILE, --dataset NAME, or a store with labels"
        )
    check_annotation_request(
        options["annotations"],
        sources.table,
        list_info_paths(options, sources),
        choose_annotation_options(options),
    )


def write_annotations(options: Values, sources: ChosenVideos) -> list[str]:
    """Write the segments of the videos that have features, and return lines that describe them."""
    assert sources.table is not None
    return annotate_features(
        options["annotations"],
        sources.table,
        list_info_paths(options, sources).values(),
        choose_annotation_options(options),
    )


def list_info_paths(options: Values, sources: ChosenVideos) -> dict[str, Path]:
    """Return the JSON file of each video, by id."""
    folder = FeatureFolder(options["out"], options["keep_extension"])
    return {source.id: folder.get_info_path(source.id) for source in sources.videos.sources}


def choose_annotation_options(options: Values) -> AnnotationOptions:
    """Choose how annotations are written."""
    return AnnotationOptions(
        subset_names="labels" if options["keep_subset_names"] else "activitynet",
        split=options["annotation_split"],
    )


def refuse_options(names: tuple[str, ...], where: str) -> None:
    """Raise a UsageError if an option is given that has an effect only elsewhere."""
    find_source = click.get_current_context().get_parameter_source
    given = [n for n in names if find_source(n) not in (None, ParameterSource.DEFAULT)]
    if given:
        option = OPTION_NAMES.get(given[0], given[0].replace("_", "-"))
        raise UsageError(f"--{option} has an effect only {where}; leave it out")


def read_part(options: Values) -> tuple[int, int]:
    """Read the part of the videos that --shard names."""
    return parse_part(options["shard"]) if options["shard"] else (0, 1)


def choose_videos(options: Values) -> ChosenVideos:
    """Find the videos whose features are computed: files, or those of a store."""
    values = select_values(options, SourceArguments)
    store = values.pop("store")
    given = [name for name in ("videos", "frames", "dataset", "store") if options[name] is not None]
    if len(given) != 1:
        actual = " and ".join(f"--{name}" for name in given) or "none of them"
        raise UsageError(
            "name the videos by one of --videos DIR, --frames DIR, --dataset NAME and --store S; "
            f"got {actual}"
        )
    if store is not None:
        # Read as a source of `flowkit extract --from-store` would be.
        values["from_store"] = store
        refuse_options(FRAME_OPTIONS, "with videos, not with a store")
    sources = choose_sources(SourceArguments(**values))
    print_lines(sources.report)
    return sources

"""Define `flowkit features`, which computes local features of videos and stores them."""

from pathlib import Path
from typing import Any

import click

from flowkit.streams import STREAMS
from train.commands.options import PATH, device_option, precision_option


@click.command()
@click.option("--store", type=PATH, required=True,
              help="Store of frames, flow or audio to compute features from.")  # fmt: skip
@click.option("--model", required=True, metavar="RUN_OR_WEIGHTS",
              help="Network: a run of `flowkit train`, a weight file with --backbone, or timm/NAME, "
                   "an image model of timm.")  # fmt: skip
@click.option("--name", required=True,
              help="Name of the features; they become the stream features/NAME.")  # fmt: skip
@click.option("--backbone", metavar="NAME",
              help="Backbone of the weight file: resnet152, i3d, vgg16, timm/NAME, …")  # fmt: skip
@click.option("--stream", type=click.Choice(list(STREAMS)),
              help="Stream that the network reads. [default: that of the run if it has one, or of "
                   "the weight file]")  # fmt: skip
@click.option("--split", type=int, help="Which split of a multi-split run to use (1-based).")
@click.option("--positions", type=click.IntRange(0),
              help="Evenly spaced positions per video; 0 for every position. [default: 25; 10 for "
                   "clips; 0 for audio]")  # fmt: skip
@click.option("--crops", type=click.Choice(["centre", "three", "ten"]),
              help="Crops at each position. [default: centre; three for clips]")  # fmt: skip
@click.option("--size", type=click.IntRange(8),
              help="Crop size in pixels. [default: the network's]")  # fmt: skip
@click.option("--clip-length", type=click.IntRange(1),
              help="Frames per clip. [default: the network's]")  # fmt: skip
@click.option("--clip-stride", type=click.IntRange(1),
              help="Distance between the frames of a clip, in frames. [default: the "
                   "network's]")  # fmt: skip
@device_option
@precision_option
@click.option("--batch", type=click.IntRange(1),
              help="Images, clips or patches per batch. [default: 32 on CPU, 256 on GPU; for clips "
                   "an eighth: 4 and 32]")  # fmt: skip
@click.option("--workers", type=click.IntRange(0),
              help="Workers, with one GPU or core each; 0 to compute without Ray. "
                   "[default: all GPUs or cores]")  # fmt: skip
@click.option("--readers", type=click.IntRange(0),
              help="Processes that read images for each worker; 0 for a thread. [default: the "
                   "cores per GPU less 1; 0 on CPU]")  # fmt: skip
@click.option("--shard", metavar="I/N",
              help="Compute only part I (from 0) of N parts of the store, for batch "
                   "schedulers.")  # fmt: skip
@click.option("--limit", type=click.IntRange(1), help="Process at most this many videos.")
@click.option("--address", help="Address of a Ray cluster to use. [default: $RAY_ADDRESS]")
@click.option("--retry-failed", is_flag=True, help="Retry videos that failed in earlier runs.")
@click.option("--commit-seconds", "roll_seconds", type=float, default=300.0, show_default=True,
              help="Commit a shard at this age in seconds, or at 1 GiB.")  # fmt: skip
@click.option("--strict", is_flag=True,
              help="Exit with status 4 if any video has no features in the end.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print the summary as JSON.")
@click.pass_context
def features(
    context: click.Context, /, store: Path, name: str, shard: str | None, strict: bool,
    as_json: bool, **options: Any,
) -> None:  # fmt: skip
    """Compute local features of all videos of a store.

    Run the same command again to continue after an interruption.

    \b
    flowkit features --store S --model runs/flow --stream flow --name flow --positions 20
    flowkit features --store S --model resnet152.pth --backbone resnet152 --name rgb
    flowkit features --store S --model runs/i3d --name clips --positions 10 --crops three
    flowkit features --store S --model vgg16_audio.pth --backbone vgg16 --name audio
    flowkit features --store S --model timm/convnext_tiny.in12k_ft_in1k --name rgb

    A feature is the pooled output of the network before its last layer, stored as float16.
    """
    from dataclasses import fields

    from flowkit.commands.terminal import print_json, print_table
    from flowkit.extraction import parse_part
    from train.features import NetworkOptions, Options, extract_features

    keys = [field.name for field in fields(NetworkOptions)]
    network_options = NetworkOptions(**{key: options.pop(key) for key in keys})
    part = parse_part(shard) if shard else (0, 1)
    summary = extract_features(store, name, network_options, Options(part=part, **options))
    if as_json:
        print_json(summary.to_dict())
    else:
        print_table(summary.render())
        click.echo(f"store: {store}, stream features/{name}")
    if summary.interrupted:
        click.echo("interrupted; run the same command again to continue", err=True)
        context.exit(130)
    if strict and summary.faults:
        context.exit(4)

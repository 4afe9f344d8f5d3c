"""Define `flowkit features`, which computes local features of videos and stores them."""

from pathlib import Path

import click

from flowkit.streams import STREAMS


@click.command()
@click.option(
    "--store",
    type=click.Path(path_type=Path),
    required=True,
    help="Store of frames, flow or audio to compute features from.",
)
@click.option(
    "--model",
    required=True,
    metavar="RUN_OR_WEIGHTS",
    help="Network: a run of `flowkit train`, or a weight file with --backbone.",
)
@click.option(
    "--name", required=True, help="Name of the features; they become the stream features/NAME."
)
@click.option(
    "--backbone", metavar="NAME", help="Backbone of the weight file: resnet152, i3d, vgg16, …"
)
@click.option(
    "--stream",
    type=click.Choice(list(STREAMS)),
    help="Stream that the network reads. [default: the one it was trained on]",
)
@click.option("--split", type=int, help="Which split of a multi-split run to use (1-based).")
@click.option(
    "--positions",
    type=click.IntRange(0),
    help="Evenly spaced positions per video; 0: every position. [default: 25; "
    "10 clips; all of audio]",
)
@click.option(
    "--crops",
    type=click.Choice(["centre", "three", "ten"]),
    help="Crops at each position. [default: centre; three for clips]",
)
@click.option(
    "--size", type=click.IntRange(8), help="Crop size in pixels. [default: the network's]"
)
@click.option(
    "--clip-length", type=click.IntRange(1), help="Frames per clip. [default: the network's]"
)
@click.option(
    "--clip-stride",
    type=click.IntRange(1),
    help="Distance between the frames of a clip. [default: the network's]",
)
@click.option(
    "--device",
    type=click.Choice(["auto", "cpu", "cuda"]),
    default="auto",
    show_default=True,
    help="Device of the network; auto takes a GPU if PyTorch sees one.",
)
@click.option(
    "--precision",
    type=click.Choice(["float32", "bfloat16", "float16"]),
    default="float32",
    show_default=True,
    help="Number format of the network.",
)
@click.option("--batch", type=click.IntRange(1), help="Images, clips or patches per batch.")
@click.option(
    "--workers",
    type=click.IntRange(0),
    help="Workers, one GPU or core each; 0 works without Ray. [default: all]",
)
@click.option(
    "--readers",
    type=click.IntRange(0),
    help="Processes that read images for a worker. [default: a GPU's share of the cores; "
    "on CPUs a thread]",
)
@click.option(
    "--shard", metavar="I/N", help="Work only on part I (from 0) of N, for batch schedulers."
)
@click.option("--limit", type=click.IntRange(1), help="Process at most this many videos.")
@click.option("--address", help="Address of a Ray cluster to join. [default: $RAY_ADDRESS]")
@click.option("--retry-failed", is_flag=True, help="Try videos again that failed in earlier runs.")
@click.option(
    "--commit-seconds",
    type=float,
    default=300.0,
    show_default=True,
    help="Commit a shard at this age in seconds, or at 1 GiB.",
)
@click.option(
    "--strict", is_flag=True, help="Exit with status 4 if any video is left without features."
)
@click.option("--json", "as_json", is_flag=True, help="Print the summary as JSON.")
@click.pass_context
def features(
    context: click.Context,
    /,
    store: Path,
    model: str,
    name: str,
    backbone: str | None,
    stream: str | None,
    split: int | None,
    positions: int | None,
    crops: str | None,
    size: int | None,
    clip_length: int | None,
    clip_stride: int | None,
    shard: str | None,
    commit_seconds: float,
    strict: bool,
    as_json: bool,
    **rest: object,
) -> None:
    """Compute local features of all videos of a store; run it again to go on.

    \b
    flowkit features --store S --model runs/flow --stream flow --name flow --positions 20
    flowkit features --store S --model resnet152.pth --backbone resnet152 --name rgb
    flowkit features --store S --model runs/i3d --name clips --positions 10 --crops three
    flowkit features --store S --model vgg16_audio.pth --backbone vgg16 --name audio

    A feature is what the network pools before its last layer, kept as float16.
    """
    from flowkit.commands.terminal import print_json, print_table
    from flowkit.extraction import parse_part
    from train.features import NetworkOptions, Options, extract_features

    wanted = NetworkOptions(
        model=model,
        backbone=backbone,
        stream=stream,  # type: ignore[arg-type]
        split=split,
        positions=positions,
        crops=crops,
        size=size,
        clip_length=clip_length,
        clip_stride=clip_stride,
    )
    options = Options(
        part=parse_part(shard) if shard else (0, 1),
        roll_seconds=commit_seconds,
        **rest,  # type: ignore[arg-type]
    )
    summary = extract_features(store, name, wanted, options)
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

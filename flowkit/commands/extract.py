"""Define `flowkit extract`, which extracts videos into a frame store."""

from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from flowkit.commands.options import (
    JPEG_QUALITY,
    PATH,
    add_label_options,
    catalog_option,
    variant_option,
)
from flowkit.flow.params import DEFAULT_BOUND, PRESETS
from flowkit.path_text import argument_to_text
from flowkit.recipe import DEFAULT_QUALITY
from flowkit.streams import DEFAULT_STREAMS, STREAMS

if TYPE_CHECKING:
    from flowkit.commands.sources import ChosenVideos
    from flowkit.extraction import Options, RecipeOverrides, Target
    from flowkit.extraction.summary import Summary
    from flowkit.recipe import StoreRecipe


@click.command("extract")
# A file that cannot be read is recorded as failed, as a damaged one is, and the others extracted.
@click.argument("files", nargs=-1, type=click.Path(path_type=Path, readable=False))
@click.option("--dataset", metavar="NAME", help="Extract a dataset of the catalogue (`flowkit "
              "datasets` lists them).")  # fmt: skip
@variant_option
@click.option("--videos", metavar="DIR", type=PATH,
              help="Extract the videos of a folder. Their labels are the names of the folders "
              "in it, or come from --labels.")  # fmt: skip
@click.option("--frames", metavar="DIR", type=PATH, help="The same for videos that are folders of "
              "images: every folder below DIR with images in it is one.")  # fmt: skip
@click.option("--from-store", metavar="S", type=PATH, help="Compute the flow of videos whose RGB "
              "is in store S from these frames, and add it to S.")  # fmt: skip
@add_label_options
@catalog_option
@click.option("--subset", metavar="NAME", type=argument_to_text,
              help="Extract only videos of this subset, such as val.")  # fmt: skip
@click.option("--store", type=PATH, help="Folder of the store, or its URL, such as "
              "s3://bucket/store. [default: stores/<dataset>]")  # fmt: skip
@click.option("--working-store", metavar="DIR", type=PATH, help="With a store at a URL: folder in "
              "which shards are written before they are uploaded. [default: one in $FLOWKIT_CACHE]",
              )  # fmt: skip
@click.option("--break-lock", is_flag=True, help="With a store at a URL: replace the lock that was "
              "left there by a run that has ended.")  # fmt: skip
@click.option("--streams", metavar="S", help="Streams to extract, separated by commas: "
              f"{', '.join(STREAMS)}. [default: {','.join(DEFAULT_STREAMS)}]")  # fmt: skip
@click.option("--audio/--no-audio", default=None,
              help="Also extract sound. [default: where the dataset's recipe has it]")  # fmt: skip
@click.option("--size", metavar="WxH",
              help="Resize frames to exactly this size in pixels. [default: 256x256]")  # fmt: skip
@click.option("--short-side", metavar="N", type=int,
              help="Resize the shorter side to N pixels, and keep the aspect ratio.")  # fmt: skip
@click.option("--upscale", is_flag=True,
              help="Also enlarge videos whose shorter side is below --short-side.")  # fmt: skip
@click.option("--upsize", is_flag=True, hidden=True, help="The former name of --upscale.")
@click.option("--no-resize", is_flag=True, help="Keep the size of each video.")
@click.option("--square-pixels", is_flag=True,
              help="With --short-side or --no-resize, stretch videos whose pixels are not square, "
              "as players do.")  # fmt: skip
@click.option("--fps", type=float,
              help="Resample videos to this frame rate. [default: keep every frame]")  # fmt: skip
@click.option("--frame-rate", metavar="N", type=float, help="Frames per second of folders of "
              "images, where the labels have no column fps. [default: 25, with a warning]",
              )  # fmt: skip
@click.option("--preset", type=click.Choice(list(PRESETS)),
              help="Optical-flow preset: paper (as in the papers), accurate (also finds large "
                   "motion) or fast (for machines without a GPU). [default: paper]")  # fmt: skip
@click.option("--method", metavar="NAME", help="Optical-flow method: tvl1, or one of the learned "
              "raft_large and raft_small (they need torchvision: pip install "
              "'flowkit-video[learned]'). [default: tvl1]")  # fmt: skip
@click.option("--flow-weights", metavar="FILE", type=PATH, help="Weight file of a learned method. "
              "[default: that of torchvision, in PyTorch's cache; never downloaded]")  # fmt: skip
@click.option("--bound", type=float, help="Largest displacement in pixels that is stored; larger "
              f"ones are clipped to it. [default: {DEFAULT_BOUND:g}]")  # fmt: skip
@click.option("--step", metavar="K", type=int, help="Compute flow from frame t to frame t+K; K "
              "below 0 computes backward flow. [default: 1]")  # fmt: skip
@click.option("--rgb-quality", type=JPEG_QUALITY,
              help=f"JPEG quality of the RGB frames. [default: {DEFAULT_QUALITY}]")  # fmt: skip
@click.option("--flow-quality", type=JPEG_QUALITY,
              help=f"JPEG quality of the flow images. [default: {DEFAULT_QUALITY}]")  # fmt: skip
@click.option("--subsampling", type=click.Choice(["4:2:0", "4:2:2", "4:4:4"]),
              help="Chroma subsampling of the RGB JPEGs. [default: 4:2:0]")  # fmt: skip
@click.option("--keep-jpegs", is_flag=True, help="Store the JPEG files of folders of images as "
              "they are, where they need no resize and have at most --rgb-quality.")  # fmt: skip
@click.option("--workers", type=click.IntRange(0),
              help="Videos to extract at once, one core each [default: all cores]. 0 works in this "
              "process without Ray: one video at a time, or one per core if a GPU computes the "
              "flow. A video that crashes or hangs then stops the whole run.")  # fmt: skip
@click.option("--backend", default="auto", show_default=True, help="Optical-flow backend (`flowkit "
              "doctor` lists those that work here).")  # fmt: skip
@click.option("--shard", metavar="I/N",
              help="Extract only part I (from 0) of N of the videos, so that N machines can share "
              "the work.")  # fmt: skip
@click.option("--limit", type=click.IntRange(1), help="Extract at most this many videos.")
@click.option("--address", help="Address of a Ray cluster to use. [default: $RAY_ADDRESS]")
@click.option("--update", is_flag=True, help="Extract videos again whose source file has changed.")
@click.option("--retry-failed", is_flag=True, help="Try videos again that failed in earlier runs.")
@click.option("--min-frames", type=click.IntRange(1), default=2, show_default=True,
              help="Reject videos with fewer frames.")  # fmt: skip
@click.option("--stall-seconds", type=float, default=300.0, show_default=True,
              help="Give up on a video after this many seconds without a new frame.")  # fmt: skip
@click.option("--commit-seconds", "roll_seconds", type=float, default=300.0, show_default=True,
              help="Commit videos to the store after this many seconds or 1 GiB.")  # fmt: skip
@click.option("--strict", is_flag=True, help="Exit with status 4 if any video failed.")
@click.option("--json", "as_json", is_flag=True, help="Print the summary as JSON.")
@click.pass_context
def extract(
    context: click.Context,
    /,
    streams: str | None,
    audio: bool | None,
    shard: str | None,
    strict: bool,
    as_json: bool,
    upscale: bool,
    upsize: bool,
    working_store: Path | None,
    break_lock: bool,
    **options: Any,
) -> None:
    """Extract videos into a frame store; run it again to continue after an interruption.

    \b
    flowkit extract --dataset ucf101
    flowkit extract --videos my_videos/ --store S
    flowkit extract --videos my_videos/ --labels labels.csv --store S
    flowkit extract a.mp4 b.avi --store S --audio
    flowkit extract --frames my_frames/ --frame-rate 12 --store S
    flowkit extract --from-store S --streams flow
    flowkit extract --videos my_videos/ --store s3://bucket/store
    """
    from flowkit.commands.sources import SourceArguments, check_default_store, choose_sources
    from flowkit.commands.terminal import print_lines
    from flowkit.extraction import Options, RecipeOverrides, open_target, parse_part
    from flowkit.store.format.location import refuse_remote

    from_store = options["from_store"]
    if from_store is not None:
        refuse_remote(from_store)
    names = [field.name for field in fields(SourceArguments)]
    arguments = SourceArguments(**{name: options.pop(name) for name in names})
    chosen = choose_sources(arguments)
    folder = arguments.videos or arguments.frames
    if folder is not None and arguments.store is None:
        check_default_store(chosen.store_path, folder)
    print_lines(chosen.report)
    if from_store is not None and streams is None:
        streams = "flow"
    chosen_streams = choose_streams(streams, audio, chosen.recipe)
    run_options = Options(
        streams=chosen_streams,
        part=parse_part(shard) if shard else (0, 1),
        flow_weights=options["flow_weights"],
        **{name: options.pop(name) for name in RUN_OPTIONS},
    )
    overrides = RecipeOverrides(
        upsize=upscale or upsize, from_store=from_store is not None, **options
    )
    with open_target(
        chosen.store_path, working_store=working_store, part=run_options.part,
        break_lock=break_lock,
    ) as target:  # fmt: skip
        summary = extract_sources(chosen, target, overrides, run_options)
    context.exit(report_summary(summary, strict, as_json))


def extract_sources(
    chosen: "ChosenVideos", target: "Target", overrides: "RecipeOverrides", options: "Options"
) -> "Summary":
    """Extract the videos that the options name, from their files or from the RGB of their store."""
    from flowkit.extraction import choose_recipe, extract_stored_flow
    from flowkit.extraction import extract as extract_videos

    recipe = choose_recipe(target.root, options.streams, overrides, chosen.recipe)
    if overrides.from_store:
        return extract_stored_flow(chosen.videos, target.root, recipe, options)
    return extract_videos(
        chosen.videos, target.root, recipe, options,
        table=chosen.table, dataset=chosen.dataset, uploads=target.uploads,
    )  # fmt: skip


def report_summary(summary: "Summary", strict: bool, as_json: bool) -> int:
    """Print the summary of an extraction.

    Args:
        summary: The summary.
        strict: Value of --strict.
        as_json: Value of --json.

    Returns:
        The exit code of the command.
    """
    from flowkit.commands.terminal import print_json, print_table
    from flowkit.extraction.summary import count_kinds

    if as_json:
        print_json(summary.to_dict())
    else:
        print_table(summary.render())
        click.echo(f"store: {summary.store}")
    if summary.interrupted:
        click.echo("interrupted; run the same command again to continue", err=True)
        return 130
    # Those of this run, and those of earlier runs that were not tried again.
    failures = [*summary.failed, *summary.quarantined]
    if summary.is_failure:
        reason = f"{len(failures)} failed ({count_kinds(failures)})"
        advice = f"`flowkit status {summary.store} --failures` lists the reasons"
        click.echo(f"error: no video could be extracted: {reason}; {advice}", err=True)
    if strict and failures:
        return 4
    return 1 if summary.is_failure else 0


def choose_streams(
    streams: str | None, audio: bool | None, recipe: "StoreRecipe | None"
) -> tuple[str, ...]:
    """Choose the streams to extract.

    Args:
        streams: Value of --streams: names separated by commas. Default: `DEFAULT_STREAMS`, and
            audio if the recipe of the dataset has it.
        audio: Value of --audio or --no-audio, which overrides --streams; None if not given.
        recipe: Recipe of the dataset, if it has one.

    Returns:
        Names of the streams, with audio last.
    """
    names = DEFAULT_STREAMS if streams is None else map(str.strip, streams.split(","))
    chosen_streams = dict.fromkeys(filter(None, names))
    if audio is None:
        audio = "audio" in chosen_streams or (
            streams is None and recipe is not None and recipe.audio is not None
        )
    chosen_streams.pop("audio", None)
    return (*chosen_streams, "audio") if audio else tuple(chosen_streams)


RUN_OPTIONS = (
    "workers", "backend", "limit", "address", "update", "retry_failed", "frame_rate", "min_frames",
    "stall_seconds", "roll_seconds",
)  # fmt: skip
"""Options that are fields of `flowkit.extraction.Options` only; the others belong to the recipe, of
which ``flow_weights`` is a field of both.
"""

"""Define the options of `flowkit features`, in the groups in which its help lists them."""

from collections.abc import Callable
from typing import Any

import click

from flowkit.commands.options import (
    add_label_options,
    catalog_option,
    label_options,
    variant_option,
)
from flowkit.flow.params import DEFAULT_BOUND, PRESETS
from flowkit.path_text import argument_to_text
from flowkit.streams import STREAMS
from train.commands.options import PATH, device_option, precision_option

Command = Callable[..., Any]


def list_conventions(context: click.Context, _: click.Parameter, is_requested: bool) -> None:
    """Print the conventions and exit, if --conventions is given."""
    if not is_requested or context.resilient_parsing:
        return
    from flowkit.commands.terminal import print_table
    from train.commands.convention_list import draw_conventions

    print_table(draw_conventions())
    context.exit()


source_options = (
    click.option("--store", type=PATH,
                 help="Store of frames, flow or audio to compute features from."),
    click.option("--dataset", metavar="NAME", help="Videos of a dataset of the catalogue."),
    variant_option,
    click.option("--videos", metavar="DIR", type=PATH, help="Videos of a folder."),
    click.option("--frames", metavar="DIR", type=PATH,
                 help="Videos that are folders of images, below this one."),
    catalog_option,
    click.option("--subset", metavar="NAME", type=argument_to_text,
                 help="Compute only videos of this subset, such as val."),
)  # fmt: skip
"""Which videos."""

network_options = (
    click.option("--model", metavar="RUN_OR_NAME", help="Network: a run of `flowkit train`; the "
                 "name of a backbone (i3d, resnet152, …) with --weights; a weight file with "
                 "--backbone; or timm/NAME, an image model of timm."),
    click.option("--weights", metavar="[STREAM=]FILE", multiple=True, type=argument_to_text,
                 help="Weight file of the network of a stream: rgb=rgb_imagenet.pt."),
    click.option("--backbone", metavar="NAME",
                 help="Backbone of the weight file that --model names."),
    click.option("--stream", type=click.Choice(list(STREAMS)),
                 help="Stream that the network reads. [default: those of the run, or that of the "
                 "weight file]"),
    click.option("--split", type=int,
                 help="Which split of a multi-split run to use (1-based)."),
    click.option("--crops", type=click.Choice(["centre", "three", "ten"]),
                 help="Crops of an image. [default: centre; three for clips at --positions]"),
    click.option("--size", type=click.IntRange(8),
                 help="Crop size in pixels. [default: the network's]"),
)  # fmt: skip
"""Which network, and which crops it sees."""

window_options = (
    click.option("--conventions", is_flag=True, is_eager=True, expose_value=False,
                 callback=list_conventions, help="List the conventions with their sources, and "
                 "exit."),
    click.option("--convention", metavar="NAME", help="Use the settings of a public pipeline, "
                 "except those that are given (--conventions lists them)."),
    click.option("--window", type=int, help="Frames of a window, which gives one row. [default: "
                 "16; 1 for networks of images]"),
    click.option("--stride", type=int, help="Frames from the start of a window to that of the "
                 "next. [default: those of a window]"),
    click.option("--clip-stride", type=int, help="Frames from one frame of a window, or of a clip, "
                 "to the next. [default: 1; with --name, the network's]"),
    click.option("--placement", type=click.Choice(["whole", "covering", "centred"]),
                 help="Where windows lie: whole = only windows that lie inside the video; "
                 "covering = one more, padded window for frames that are left over; centred = "
                 "around every STRIDE-th frame. [default: whole]"),
    click.option("--last-frame", type=click.Choice(["keep", "drop"]), help="What to do with the "
                 "last frame, which has no flow: keep = use the flow before it; drop = leave it "
                 "out. [default: keep]"),
)  # fmt: skip
"""Which frames a row is computed from."""

frame_options = (
    click.option("--fps", type=float,
                 help="Resample videos to this frame rate. [default: keep every frame]"),
    click.option("--frame-rate", metavar="N", type=float,
                 help="Frames per second of folders of images."),
    click.option("--short-side", metavar="N", type=int,
                 help="Resize the shorter side to N pixels. [default: 256]"),
    click.option("--upscale", is_flag=True,
                 help="Also enlarge videos whose shorter side is below --short-side."),
    click.option("--resize", metavar="WxH", help="Resize frames to exactly this size in pixels."),
    click.option("--no-resize", is_flag=True, help="Keep the size of each video."),
    click.option("--square-pixels", is_flag=True,
                 help="Stretch videos whose pixels are not square, as players do."),
    click.option("--preset", type=click.Choice(list(PRESETS)),
                 help="Optical-flow preset: paper, accurate or fast. [default: paper]"),
    click.option("--method", metavar="NAME",
                 help="Optical-flow method: tvl1, raft_large or raft_small. [default: tvl1]"),
    click.option("--flow-weights", metavar="FILE", type=PATH,
                 help="Weight file of a learned method of optical flow."),
    click.option("--bound", type=float,
                 help="Displacement in pixels beyond which flow is clipped. "
                 f"[default: {DEFAULT_BOUND:g}]"),
    click.option("--backend", default="auto", show_default=True, help="Optical-flow backend."),
)  # fmt: skip
"""How frames and their flow are computed."""

file_options = (
    click.option("--out", metavar="DIR", type=PATH,
                 help="Write one .npy and one .json file for each video to this folder."),
    click.option("--separate/--concatenated", default=None,
                 help="Write one .npy file for each stream. [default: side by side in one]"),
    click.option("--keep-extension", is_flag=True,
                 help="Keep the extensions of the videos in the names of the files."),
    click.option("--update", is_flag=True,
                 help="Compute videos again whose source has changed."),
    click.option("--annotations", metavar="FILE", type=PATH, help="Also write the segments of "
                 "--labels to this JSON file, in the style of ActivityNet."),
    click.option("--annotation-split", metavar="N", type=int, help="Write the subsets of this "
                 "split to --annotations, where the labels have train1, test1, train2, …"),
    click.option("--keep-subset-names", is_flag=True, help="Write subsets to --annotations as the "
                 "labels call them. [default: training, validation, testing]"),
)  # fmt: skip
"""Where features are written as files."""

store_options = (
    click.option("--name", help="Store the features in the store, as its stream features/NAME: at "
                 "--positions, or of each window (--window, --stride)."),
    click.option("--positions", type=click.IntRange(0),
                 help="Evenly spaced positions per video; 0 for every position. [default: 25; 10 "
                 "for clips; 0 for audio]"),
    click.option("--clip-length", type=click.IntRange(1),
                 help="Frames per clip. [default: the network's]"),
    click.option("--readers", type=click.IntRange(0),
                 help="Processes that read images for each worker; 0 for a thread. [default: the "
                 "cores per GPU less 1; 0 on CPU]"),
    click.option("--commit-seconds", "roll_seconds", type=float, default=300.0, show_default=True,
                 help="Commit the shard file that is being written at this age in seconds, or "
                 "at 1 GiB."),
)  # fmt: skip
"""How features are stored in the store."""

run_options = (
    device_option,
    precision_option,
    click.option("--batch", type=click.IntRange(1),
                 help="Images, clips or patches per batch. [default: 32 on CPU, 256 on GPU; for "
                 "clips an eighth: 4 and 32]"),
    click.option("--workers", type=click.IntRange(0),
                 help="Workers, with one GPU or core each; 0 to compute without Ray. "
                 "[default: all GPUs or cores]"),
    click.option("--shard", metavar="I/N", help="Compute only part I (from 0) of N parts of the "
                 "videos, for batch schedulers."),
    click.option("--limit", type=click.IntRange(1), help="Process at most this many videos."),
    click.option("--address", help="Address of a Ray cluster to use. [default: $RAY_ADDRESS]"),
    click.option("--retry-failed", is_flag=True,
                 help="Retry videos that failed in earlier runs."),
    click.option("--strict", is_flag=True, help="Exit with status 4 if any video has no features "
                 "in the end. A video shorter than a window (--window, --out) then fails."),
    click.option("--json", "as_json", is_flag=True, help="Print the summary as JSON."),
)  # fmt: skip
"""How the run is executed."""

OPTION_GROUPS = {
    "Which videos": source_options,
    "Labels": label_options,
    "Which network, and which crops it sees": network_options,
    "Windows: the frames of a row": window_options,
    "Frames and flow": frame_options,
    "Files, with --out": file_options,
    "Into a store, with --name": store_options,
    "How the run is executed": run_options,
}
"""All options by the headings of the help, in its order."""


def add_feature_options(command: Command) -> Command:
    """Add all options to the command."""
    for group in reversed(OPTION_GROUPS.values()):
        if group is not label_options:
            for option in reversed(group):
                command = option(command)
    return add_label_options(command)

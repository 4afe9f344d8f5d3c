"""Compute feature files from Python: `train.compute_features`."""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal, TypedDict, Unpack

from rich.console import Console

from flowkit.annotations import AnnotationTable, LocatedVideos
from flowkit.annotations.label_files import LabelOptions
from flowkit.errors import UsageError
from flowkit.extraction import locate_stored_videos
from flowkit.extraction.api import OPTION_NAMES, choose_videos, format_size
from flowkit.streams import StreamName
from train.feature_files.options import FileOptions
from train.feature_files.request import apply_convention, make_request
from train.feature_files.request_options import RequestOptions, WeightFile
from train.feature_files.run import extract_feature_files
from train.feature_files.summary import Summary
from train.feature_files.windows import LastFrame, Placement

PathLike = str | os.PathLike[str]
NAMES = {"size": "resize", "keep_size": "no_resize", "crop_size": "size"}
"""Setting of `compute_features` → field of `RequestOptions`, where their names differ."""

FRAME_SETTINGS = (
    "fps", "frame_rate", "size", "short_side", "upscale", "keep_size", "square_pixels", "preset",
    "method", "flow_weights", "bound", "backend",
)  # fmt: skip
"""Settings of decoding and flow, which have no effect on the images of a store."""


class RunSettings(TypedDict, total=False):
    """Settings of `compute_features` that the recipe of the folder does not record."""

    batch: int
    """Images or clips per batch. Default: a number for the device."""
    backend: str
    """Flow backend: a key of `flowkit.flow.BACKENDS`. Default: "auto"."""
    frame_rate: float
    """Frame rate of folders of images. Default: not stated."""
    update: bool
    """Compute videos again whose source has changed."""
    retry_failed: bool
    """Try videos again that failed before."""
    strict: bool
    """Let a video that is shorter than a window fail, instead of padding it."""


class FeatureSettings(RunSettings, total=False):
    """Settings of `compute_features` that have a default, or that of a convention."""

    clip_stride: int
    """Frames from one frame of a window to the next. Default: 1."""
    placement: Placement
    """Where windows lie; see `WindowSampling`. Default: "whole"."""
    last_frame: LastFrame
    """What to do with the last frame, which has no flow: "keep" or "drop". Default: "keep"."""
    crops: Literal["centre", "three", "ten"]
    """Crops of each frame. Default: "centre"."""
    crop_size: int
    """Side of a crop in pixels. Default: that of the network."""
    fps: float
    """Frame rate to resample videos to. Default: every frame."""
    size: tuple[int, int]
    """Width and height in pixels that frames are resized to."""
    short_side: int
    """Length in pixels that the shorter side is resized to. Default: 256."""
    upscale: bool
    """Also enlarge frames whose shorter side is below ``short_side``."""
    keep_size: bool
    """Keep the size of each video."""
    square_pixels: bool
    """Stretch frames whose pixels are not square, with ``short_side`` or ``keep_size``."""
    preset: str
    """Flow preset: "paper" (the default), "accurate" or "fast"."""
    method: str
    """Optical-flow method: "tvl1" (the default), "raft_large" or "raft_small"."""
    flow_weights: PathLike
    """Weight file of a learned method of optical flow."""
    bound: float
    """Displacement in pixels at which flow is clipped. Default: 20."""
    stream: StreamName
    """The stream of a run that has several. Default: all of them."""
    split: int
    """The split of a run that has several, from 1."""
    separate: bool
    """Whether each stream has a file of its own. Default: side by side in one file."""
    precision: Literal["float32", "bfloat16", "float16"]
    """Number format in which the networks compute. Default: "float32"."""
    keep_extension: bool
    """Keep the extensions of the videos in the names of the files."""


def compute_features(
    out: PathLike,
    videos: PathLike | Iterable[PathLike] | None = None,
    *,
    store: PathLike | None = None,
    labels: PathLike | Iterable[PathLike] | None = None,
    model: PathLike,
    weights: Mapping[StreamName, PathLike] | PathLike | None = None,
    window: int | None = None,
    stride: int | None = None,
    convention: str | None = None,
    device: Literal["auto", "cpu", "cuda"] = "auto",
    workers: int | None = None,
    progress: bool = True,
    **settings: Unpack[FeatureSettings],
) -> Summary:
    """Compute features of videos, or of those of a store, as files in a folder.

    Call it again to continue after an interruption. `FeatureFiles` reads the folder.

    Args:
        out: The folder, created if missing.
        videos: A folder of videos, or files, or folders of images.
        store: A store, whose images are read instead of videos.
        labels: Label files; videos that they do not list are left out.
        model: A run of `fit`, or the name of a backbone whose `weights` are given.
        weights: Weight file of the network of each stream, or of the only one.
        window: Frames of a window, which gives one row. Default: 16; 1 for networks of images.
        stride: Frames from the start of a window to that of the next. Default: `window`.
        convention: Name of a public pipeline, whose settings replace those that are not given.
        device: Device of the networks; "auto" uses a GPU if PyTorch finds one.
        workers: Videos to compute at once. None: one per core; 0: this process, without Ray.
        progress: Show progress on the terminal.
        **settings: More about windows, frames and files; see `FeatureSettings`.

    Returns:
        What was computed, and which videos failed, and why.

    Raises:
        FlowkitError: UsageError (an argument is wrong), RecipeError (the folder has another
            recipe), LockedError (another run writes to it) or DiskFullError.

    Example:
        >>> summary = train.compute_features(  # doctest: +SKIP
        ...     "feats", "videos", model="i3d", window=16, stride=4, fps=25,
        ...     weights={"rgb": "rgb_imagenet.pt", "flow": "flow_imagenet.pt"})
        >>> train.FeatureFiles("feats")["a.mp4"].shape  # doctest: +SKIP
        (37, 2048)
    """
    console = Console(stderr=True, quiet=not progress)
    options = make_options(
        settings, out=Path(out), store=None if store is None else Path(store), window=window,
        stride=stride, convention=convention, model=os.fspath(model), weights=list_weights(weights),
    )  # fmt: skip
    located, table = locate_sources(videos, options.store, labels, console)
    run_options = make_run_options(settings, device=device, workers=workers, table=table)
    request = make_request(apply_convention(options))
    return extract_feature_files(located, request, run_options, console)


def make_options(settings: FeatureSettings, **given: Any) -> RequestOptions:
    """Make the options of a request from the arguments of `compute_features`.

    Raises:
        UsageError: A setting is unknown, or is about videos and there is a store; or the size is
            not a width and a height.
    """
    unknown = sorted(settings.keys() - FeatureSettings.__annotations__.keys())
    if unknown:
        known = ", ".join(FeatureSettings.__annotations__)
        raise UsageError(f"compute_features has no setting {unknown[0]!r}; settings: {known}")
    values: dict[str, Any] = {
        NAMES.get(name, name): value
        for name, value in settings.items()
        if value is not None and name not in RunSettings.__annotations__
    }
    if "resize" in values:
        values["resize"] = format_size(values["resize"])
    if "flow_weights" in values:
        values["flow_weights"] = Path(values["flow_weights"])
    options = RequestOptions(**given, **values, option_names=OPTION_NAMES)
    if options.store is not None:
        unset = {
            name
            for name, value in settings.items()
            if value is None or value is False or value == "auto"
        }
        ineffective = [n for n in FRAME_SETTINGS if n in settings and n not in unset]
        if ineffective:
            raise UsageError(
                f"{ineffective[0]} has an effect only with videos, not with a store; leave it out"
            )
    return options


def make_run_options(settings: FeatureSettings, **given: Any) -> FileOptions:
    """Make the options of a run from the arguments of `compute_features`."""
    names = (*RunSettings.__annotations__, "flow_weights")
    values: dict[str, Any] = dict(settings)
    chosen = {name: values[name] for name in names if values.get(name) is not None}
    if "flow_weights" in chosen:
        chosen["flow_weights"] = Path(chosen["flow_weights"])
    return FileOptions(**chosen, **given)


def list_weights(
    weights: Mapping[StreamName, PathLike] | PathLike | None,
) -> tuple[WeightFile, ...]:
    """List the weight files of an argument of `compute_features`."""
    if weights is None:
        return ()
    if isinstance(weights, Mapping):
        return tuple(WeightFile(stream, os.fspath(file)) for stream, file in weights.items())
    return (WeightFile(None, os.fspath(weights)),)


def locate_sources(
    videos: PathLike | Iterable[PathLike] | None,
    store: Path | None,
    labels: PathLike | Iterable[PathLike] | None,
    console: Console,
) -> tuple[LocatedVideos, AnnotationTable | None]:
    """Find the videos, or list those of a store.

    Raises:
        UsageError: Neither or both are given, or labels of a store.
    """
    if (videos is None) == (store is None):
        raise UsageError("expected either videos or store=, the source of the images")
    if store is not None:
        if labels is not None:
            raise UsageError("labels choose videos of a folder; a store has its own: leave it out")
        return locate_stored_videos(store), None
    assert videos is not None
    return choose_videos(videos, labels, LabelOptions(), console)

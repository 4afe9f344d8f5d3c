"""`flowkit.extract`: extraction as one call, for scripts and notebooks."""

import os
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import fields
from pathlib import Path
from typing import Any, TypedDict, Unpack

import numpy as np
from rich.console import Console

from flowkit.annotations import AnnotationTable, LocatedVideos, explicit_files, folder
from flowkit.annotations.label_files import (
    LabelOptions,
    locate_labelled_videos,
    read_label_files,
)
from flowkit.annotations.video_files import is_frame_folder
from flowkit.errors import UsageError
from flowkit.extraction.options import Options
from flowkit.extraction.recipe_overrides import RecipeOverrides, choose_recipe
from flowkit.extraction.run import extract as extract_located
from flowkit.extraction.summary import Summary
from flowkit.extraction.working_store import Target, open_target
from flowkit.streams import DEFAULT_STREAMS

PathLike = str | os.PathLike[str]
OPTION_NAMES = {field.name: field.name for field in fields(RecipeOverrides)} | {
    "no_resize": "keep_size", "upsize": "upscale", "streams": "streams",
}  # fmt: skip
"""How messages call the values of `RecipeOverrides` in Python."""


class RecipeSettings(TypedDict, total=False):
    """What a store contains. A setting that is not given is that of an existing store."""

    preset: str
    """Flow preset: "paper" (the default), "accurate" or "fast"."""
    method: str
    """Optical-flow method: "tvl1" (the default), or a learned one: "raft_large" or "raft_small"."""
    flow_weights: PathLike
    """Weight file of a learned method. Default: torchvision's file in PyTorch's cache, which is
    never downloaded.
    """
    bound: float
    """Displacement in pixels at which flow is truncated. Default: 20."""
    step: int
    """Frames from a frame to the one that its flow leads to, below 0 for an earlier one. Default:
    1.
    """
    size: tuple[int, int]
    """Width and height in pixels of stored frames. Default: (256, 256)."""
    short_side: int
    """Length in pixels that the shorter side is resized to, instead of ``size``."""
    keep_size: bool
    """Store frames in the size that each video has."""
    square_pixels: bool
    """Stretch frames whose pixels are not square, with ``short_side`` or ``keep_size``."""
    fps: float
    """Frame rate to resample to. Default: every frame."""
    keep_jpegs: bool
    """Store the JPEG files of folders of images as they are where that is possible."""


def extract(
    videos: PathLike | Iterable[PathLike],
    store: PathLike,
    *,
    labels: PathLike | Iterable[PathLike] | None = None,
    columns: Mapping[str, str] | None = None,
    classes: PathLike | None = None,
    file_template: str | None = None,
    streams: Iterable[str] = DEFAULT_STREAMS,
    frame_rate: float | None = None,
    workers: int | None = None,
    backend: str = "auto",
    update: bool = False,
    retry_failed: bool = False,
    working_store: PathLike | None = None,
    break_lock: bool = False,
    progress: bool = True,
    **settings: Unpack[RecipeSettings],
) -> Summary:
    """Extract videos into a frame store; call it again to continue after an interruption.

    Args:
        videos: A folder with one folder per class; with `labels`, any folder; or a list of files.
        store: Folder of the store, or its URL, such as ``s3://bucket/store``; created if missing.
        labels: Label files of a folder: CSV, JSON, Parquet or lines; other videos are left out.
        columns: What columns of the label files mean: ``{"id": "clip", "label": "gesture"}``.
        classes: A file that lists the classes, which gives numeric labels their names.
        file_template: The video of a row, if the id does not name it: ``"{id}_color.mp4"``.
        streams: Any of "rgb", "flow" and "audio".
        frame_rate: Frame rate of folders of images. Default: 25, with a warning.
        workers: Videos to extract at once. None: one per core; 0: this process, without Ray.
        backend: Flow backend: a key of `flowkit.flow.BACKENDS`, or "auto".
        update: Extract videos again whose file has changed.
        retry_failed: Try videos again that failed before.
        working_store: Folder for shards until they are at their URL. Default: one in the cache.
        break_lock: Replace the lock at a URL that a run left which has ended.
        progress: Show progress, failures and what was understood of labels on the terminal.
        **settings: What the store contains: see `RecipeSettings`.

    Returns:
        The results: what was extracted, and which videos failed, and why.

    Raises:
        FlowkitError: UsageError (a wrong argument), AnnotationError (of a label file), RecipeError
            (other settings than the store's), LockedError, StoreError, or FlowError (flow weights).

    Example:
        >>> summary = flowkit.extract(["a.mp4"], store="S", preset="fast")  # doctest: +SKIP
        >>> flowkit.Store("S")["a.mp4"].flow(0)  # (256, 256, 2) float32  # doctest: +SKIP
    """
    console = Console(stderr=True, quiet=not progress)
    label_options = make_label_options(columns, classes, file_template)
    sources = choose_videos(videos, labels, label_options, console)
    overrides = make_overrides(settings)
    options = Options(
        streams=tuple(streams), workers=workers, backend=backend, update=update,
        retry_failed=retry_failed, flow_weights=overrides.flow_weights, frame_rate=frame_rate,
    )  # fmt: skip
    target = open_target(store, working_store=working_store, break_lock=break_lock, console=console)
    return extract_to(target, sources, overrides, options, console)


def extract_to(
    target_context: AbstractContextManager[Target],
    sources: tuple[LocatedVideos, AnnotationTable | None],
    overrides: RecipeOverrides,
    options: Options,
    console: Console,
) -> Summary:
    """Extract videos, with their annotations, into a store that is open in the meantime.

    Raises:
        FlowkitError: As `extract` describes.
    """
    located, table = sources
    with target_context as target:
        recipe = choose_recipe(target.root, options.streams, overrides)
        return extract_located(
            located, target.root, recipe, options, table=table, console=console,
            uploads=target.uploads,
        )  # fmt: skip


def make_label_options(
    columns: Mapping[str, str] | None, classes: PathLike | None, file_template: str | None
) -> LabelOptions:
    """Make the options for label files from the arguments of `extract`."""
    return LabelOptions(
        columns=columns or {},
        classes=None if classes is None else Path(classes),
        file_template=file_template,
    )


def make_overrides(settings: RecipeSettings) -> RecipeOverrides:
    """Make the values of the store recipe that the caller of `extract` set.

    Raises:
        UsageError: A setting is unknown, or the size is not a width and a height.
    """
    values: dict[str, Any] = dict(settings)
    unknown = sorted(values.keys() - RecipeSettings.__annotations__.keys())
    if unknown:
        known = ", ".join(RecipeSettings.__annotations__)
        raise UsageError(f"extract has no setting {unknown[0]!r}; settings of the store: {known}")
    if values.get("size") is not None:
        values["size"] = format_size(values["size"])
    if values.get("flow_weights") is not None:
        values["flow_weights"] = Path(values["flow_weights"])
    no_resize = bool(values.pop("keep_size", False))
    return RecipeOverrides(no_resize=no_resize, names=OPTION_NAMES, **values)


def format_size(size: Any) -> str:
    """Write a size that the caller gave as ``256x256``.

    Args:
        size: Width and height in pixels.

    Raises:
        UsageError: It is something else.
    """
    if not isinstance(size, str) and np.shape(size) == (2,):
        return "{}x{}".format(*size)
    raise UsageError(f"size is (width, height) in pixels, such as (256, 256); got {size!r}")


def choose_videos(
    videos: PathLike | Iterable[PathLike],
    labels: PathLike | Iterable[PathLike] | None,
    options: LabelOptions,
    console: Console,
) -> tuple[LocatedVideos, AnnotationTable | None]:
    """Find the videos, and their labels if there are any; say what was understood of the labels.

    Raises:
        UsageError: No video is given, or arguments are not compatible: label files need ``videos``
            to be one folder.
        AnnotationError: A label file is malformed, or lists none of the videos.
    """
    if labels is None:
        if options == LabelOptions():
            return locate_videos(videos)
        raise UsageError("columns, classes and file_template describe labels; give labels too")
    if not isinstance(videos, str | os.PathLike):
        raise UsageError("labels needs videos to be one folder, the one that the labels are about")
    files = [labels] if isinstance(labels, str | os.PathLike) else labels
    found = locate_labelled_videos(Path(videos), read_label_files(list(map(Path, files)), options))
    for line in found.report:
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    return found.located, found.table


def locate_videos(
    videos: PathLike | Iterable[PathLike],
) -> tuple[LocatedVideos, AnnotationTable | None]:
    """Find the video files, and their labels where one folder of classes is given.

    Raises:
        UsageError: No video is given.
    """
    if isinstance(videos, str | os.PathLike):
        path = Path(videos)
        if path.is_dir() and not is_frame_folder(path):
            table, located = folder.scan_folder(path)
            return located, table
        videos = [path]
    paths = [Path(video) for video in videos]
    if not paths:
        raise UsageError("videos is empty: expected at least one video file or folder")
    return explicit_files(paths), None

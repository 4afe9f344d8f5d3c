"""`flowkit.extract`: extraction as one call, for scripts and notebooks."""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path

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
from flowkit.streams import DEFAULT_STREAMS

PathLike = str | os.PathLike[str]


def extract(
    videos: PathLike | Iterable[PathLike],
    store: PathLike,
    *,
    labels: PathLike | Iterable[PathLike] | None = None,
    columns: Mapping[str, str] | None = None,
    classes: PathLike | None = None,
    file_template: str | None = None,
    streams: Iterable[str] = DEFAULT_STREAMS,
    preset: str | None = None,
    method: str | None = None,
    flow_weights: PathLike | None = None,
    bound: float | None = None,
    step: int | None = None,
    size: tuple[int, int] | None = None,
    short_side: int | None = None,
    keep_size: bool = False,
    square_pixels: bool = False,
    fps: float | None = None,
    frame_rate: float | None = None,
    keep_jpegs: bool = False,
    workers: int | None = None,
    backend: str = "auto",
    update: bool = False,
    retry_failed: bool = False,
    progress: bool = True,
) -> Summary:
    """Extract videos into a frame store; call it again to continue after an interruption.

    Args:
        videos: A folder with one folder per class, whose names are labels, or with any videos and
            `labels`; or files, or folders of videos or of images.
        store: Folder of the store, created if missing. Settings that are
            not given are read from an existing store.
        labels: A label file for the videos of a folder, or several: CSV, JSON, JSON lines, Parquet
            or plain lines. Videos that it does not list are not extracted.
        columns: What the columns of the label file mean, where it is not recognized, such as
            ``{"id": "clip", "label": "gesture"}``.
        classes: A file that lists the classes, which gives numeric labels their names.
        file_template: The video of a row, if the id does not name it: ``"{id}_color.mp4"``.
        streams: Any of "rgb", "flow" and "audio".
        preset: Flow preset: "paper" (the default), "accurate" or "fast".
        method: Optical-flow method: "tvl1" (the default), or a learned one: "raft_large" or
            "raft_small".
        flow_weights: Weight file of a learned method. Default: torchvision's file in PyTorch's
            cache, which is never downloaded.
        bound: Displacement in pixels at which flow is truncated. Default: 20.
        step: Frames from a frame to the one that its flow leads to, below 0 for an earlier one.
            Default: 1.
        size: Width and height in pixels of stored frames. Default: (256, 256).
        short_side: Length in pixels that the shorter side is resized to, instead of `size`.
        keep_size: Store frames in the size that each video has.
        square_pixels: Undo non-square pixels, with `short_side` or `keep_size`.
        fps: Frame rate to resample to. Default: every frame.
        frame_rate: Frame rate of folders of images. Default: 25, with a warning.
        keep_jpegs: Store the JPEG files of folders of images as they are where that is possible.
        workers: Videos to extract at once. None: one per core; 0: this process, without Ray.
        backend: Flow backend: a key of `flowkit.flow.BACKENDS`, or "auto".
        update: Extract videos again whose file has changed.
        retry_failed: Try videos again that failed before.
        progress: Show progress on the terminal.

    Returns:
        The results: what was extracted, and which videos failed, and why.

    Raises:
        UsageError: An argument is wrong, or no video is given.
        AnnotationError: The label file is malformed, or lists none of the videos.
        RecipeError: The store was made with other parameters.
        LockedError: Another extraction writes to the store.
        DiskFullError: The disk is full.

    Example:
        >>> summary = flowkit.extract(["a.mp4"], store="S", preset="fast")  # doctest: +SKIP
        >>> flowkit.Store("S")["a.mp4"].flow(0)  # (256, 256, 2) float32  # doctest: +SKIP
    """
    label_options = LabelOptions(
        columns=columns or {},
        classes=None if classes is None else Path(classes),
        file_template=file_template,
    )
    root, console = Path(store), Console(stderr=True, quiet=not progress)
    if labels is None and label_options == LabelOptions():
        located, table = locate_videos(videos)
    else:
        located, table = locate_labelled(videos, labels, label_options, console)
    weights = None if flow_weights is None else Path(flow_weights)
    overrides = RecipeOverrides(
        size=f"{size[0]}x{size[1]}" if size else None, short_side=short_side,
        no_resize=keep_size, square_pixels=square_pixels, fps=fps, preset=preset,
        bound=bound, step=step, method=method, flow_weights=weights, keep_jpegs=keep_jpegs,
    )  # fmt: skip
    options = Options(
        streams=tuple(streams), workers=workers, backend=backend, update=update,
        retry_failed=retry_failed, flow_weights=weights, frame_rate=frame_rate,
    )  # fmt: skip
    recipe = choose_recipe(root, options.streams, overrides)
    return extract_located(located, root, recipe, options, table=table, console=console)


def locate_labelled(
    videos: PathLike | Iterable[PathLike],
    labels: PathLike | Iterable[PathLike] | None,
    options: LabelOptions,
    console: Console,
) -> tuple[LocatedVideos, AnnotationTable]:
    """Find the videos of a folder that label files list, and say what was understood.

    Raises:
        UsageError: ``videos`` is not one folder, or there is no label file.
        AnnotationError: A label file is malformed, or lists none of the videos.
    """
    if labels is None:
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

"""Export a store as folders of JPEG files in the formats of denseflow and mmaction2.

    <out>/<video>/img_00000.jpg, flow_x_00000.jpg, flow_y_00000.jpg
    <out>/export.json     format, bound, quantization, numbering, and what their loaders need
    <out>/videos.csv      folder name, id, counts, fps and labels of each exported video
    <out>/classes.txt     class names, line n being class n
    <out>/<subset>_rgb.txt, <subset>_flow.txt     mmaction2 only: its annotation lists

``<video>`` is the id of the video, encoded by `file_names.encode_id`. RGB images are copied
unchanged. Flow is decoded, converted to pixels, quantized again (export_plan.py) and encoded again.
A quantization step is 2B/255 px, so rounding adds an error of at most B/255 px (0.078 at B = 20).
The second JPEG compression adds a little more, which the report measures.

The folder of a video is written under a temporary name and then renamed, so an existing folder is
complete, and a second run skips it. Files are not fsynced: after a power failure, export to a new
folder.
"""

import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from flowkit.errors import FlowkitError, LockedError, UsageError
from flowkit.interchange.export_plan import FIRST_NUMBERS, FLOW_NAME, RGB_NAME, ExportPlan
from flowkit.interchange.file_names import encode_id, find_case_collisions, is_case_insensitive
from flowkit.interchange.video_lists import describe_video, read_videos, write_lists
from flowkit.store.format import jpeg
from flowkit.store.format.locks import try_lock
from flowkit.store.reader import Store
from flowkit.store.video import Video


@dataclass(kw_only=True)
class ExportReport:
    """The result of an export."""

    written: int = 0
    """Videos written by this run."""
    skipped: int = 0
    """Videos that an earlier run had written."""
    frames: int = 0
    """Frames of the written videos."""
    failures: dict[str, str] = field(default_factory=dict)
    """Reason for each video that could not be exported, by id."""
    case_collisions: list[tuple[str, ...]] = field(default_factory=list)
    """Groups of ids whose folder names differ only by case."""
    unlabelled: int = 0
    """Exported videos without labels, which are in no annotation list."""
    added_error_mean: float = 0.0
    """Mean error in pixels that the export added to flow, over one flow field of each video."""
    added_error_max: float = 0.0
    """Largest error in pixels that the export added to flow, over the same fields."""


def export(
    store: Store | Path | str,
    out: Path | str,
    format: str,
    ids: Iterable[str] | None = None,
    progress: Callable[[int, int], None] | None = None,
    *,
    bound: float | None = None,
    quality: int = 95,
    workers: int = 1,
) -> ExportReport:
    """Write videos of a store as folders of JPEG files.

    Args:
        store: The store, or its path.
        out: Folder to write to: new, empty, or an earlier export with the same settings.
        format: ``denseflow`` or ``mmaction2``.
        ids: Ids of the videos to export; None exports all.
        progress: Called after each video with the number of finished videos and the total.
        bound: Bound of the written flow in pixels; None means the bound of the store.
        quality: JPEG quality of the written flow images, 1–100.
        workers: Number of threads, each of which writes one video at a time.

    Returns:
        A report. A video that cannot be read is listed in its ``failures``.

    Raises:
        UsageError: If a name is unknown, or ``out`` holds something else.
        LockedError: If another export is writing to ``out``.

    Example:
        >>> report = export("stores/ucf101", "rawframes", "mmaction2", workers=4)
        >>> report.written
        13320
    """
    if format not in FIRST_NUMBERS:
        raise UsageError(f"format must be one of {', '.join(FIRST_NUMBERS)}, got {format!r}")
    store = store if isinstance(store, Store) else Store(Path(store))
    check_flow_step(store)
    video_ids = list(store if ids is None else dict.fromkeys(ids))
    for id in video_ids:
        store[id]
    plan = ExportPlan(store, Path(out), format, bound, quality)
    plan.out.mkdir(parents=True, exist_ok=True)
    report = ExportReport(case_collisions=find_case_collisions(video_ids))
    with lock_folder(plan.out):
        check_case_collisions(plan.out, report.case_collisions)
        plan.check_settings()
        rows = {row["name"]: row for row in read_videos(plan.out)}
        outcomes = write_videos(store, video_ids, plan, workers)
        for finished_videos, (id, outcome) in enumerate(outcomes, 1):
            record_outcome(report, id, outcome)
            if not isinstance(outcome, str):
                rows[encode_id(id)] = describe_video(store[id])
            if progress is not None:
                progress(finished_videos, len(video_ids))
        report.unlabelled = write_lists(store, plan.out, rows, has_lists=format == "mmaction2")
    return report


def check_flow_step(store: Store) -> None:
    """Raise a UsageError if the flow of a store leads to earlier frames.

    The formats number flow fields from the first frame on, which then has none.
    """
    if store.flow_step < 0:
        raise UsageError(
            f"the flow of {store.path} leads from frame t to frame t{store.flow_step}, and "
            "exported flow must lead to a later frame: export a store with --step 1 or more"
        )


def choose_ids(
    store: Store, ids: Iterable[str] = (), subsets: Iterable[str] = ()
) -> list[str] | None:
    """Combine ids and the videos of subsets.

    Args:
        store: Store that holds the subsets.
        ids: Ids of videos.
        subsets: Names of subsets.

    Returns:
        All ids without duplicates; None if neither ids nor subsets are given.

    Raises:
        UsageError: If a subset is unknown.
    """
    in_subsets = (store[int(row)].id for name in subsets for row in store.subset(name))
    return list(dict.fromkeys((*ids, *in_subsets))) if ids or subsets else None


@contextmanager
def lock_folder(out: Path) -> Iterator[None]:
    """Lock a folder so that one export at a time writes to it, and remove what killed ones left.

    Args:
        out: Folder to lock; it must exist.

    Yields:
        None, while the folder is locked.

    Raises:
        LockedError: If another export holds the lock.
    """
    with (out / ".export.lock").open("w") as lock:
        if not try_lock(lock.fileno()):
            raise LockedError(f"another export is writing to {out}; wait until it has finished")
        for leftover in out.glob(".part-*"):
            shutil.rmtree(leftover)
        yield


def check_case_collisions(out: Path, collisions: list[tuple[str, ...]]) -> None:
    """Check that the file system can hold folder names that differ only by case.

    Args:
        out: Folder to write to.
        collisions: Groups of ids whose folder names differ only by case.

    Raises:
        UsageError: If names collide and the file system ignores case.
    """
    if collisions and is_case_insensitive(out):
        raise UsageError(
            f"{len(collisions)} groups of ids differ only by case (first: "
            f"{' and '.join(collisions[0])}) and the file system of {out} ignores case: export to "
            "another file system, or export fewer videos with --ids or --subset"
        )


Outcome = tuple[int, float, float] | str | None
"""Frames of a written video with the mean and the largest added error in pixels; None if the video
was already there; or the reason why it could not be written.
"""


def write_videos(
    store: Store, ids: list[str], plan: ExportPlan, workers: int
) -> Iterator[tuple[str, Outcome]]:
    """Write videos in threads.

    If the caller stops early, queued videos are dropped.

    Args:
        store: Store that holds the videos.
        ids: Ids of the videos.
        plan: Plan of the export.
        workers: Number of threads.

    Yields:
        Id and outcome of each video, in the order of ``ids``.
    """
    pool = ThreadPoolExecutor(workers)
    try:
        yield from zip(ids, pool.map(lambda id: write_video(store[id], plan), ids), strict=True)
    finally:
        pool.shutdown(cancel_futures=True)


def write_video(video: Video, plan: ExportPlan) -> Outcome:
    """Write the folder of one video, unless a complete one exists.

    Args:
        video: Video of the store.
        plan: Plan of the export.

    Returns:
        What happened; see `Outcome`.
    """
    folder = plan.out / encode_id(video.id)
    files = video.num_flow * 2 + (video.num_frames if "rgb" in video.streams else 0)
    if not files:
        return f"it has no rgb or flow to write, only {', '.join(video.streams)}"
    if folder.is_dir():
        if len(list(folder.iterdir())) == files:
            return None
        shutil.rmtree(folder)
    temporary = plan.out / f".part-{os.urandom(8).hex()}"
    temporary.mkdir()
    try:
        error = write_files(video, temporary, plan)
        temporary.rename(folder)
    except (FlowkitError, ValueError) as problem:  # the JPEG decoder raises ValueError
        shutil.rmtree(temporary)
        return str(problem)
    return video.num_frames, *error


def write_files(video: Video, folder: Path, plan: ExportPlan) -> tuple[float, float]:
    """Write the images of one video.

    Args:
        video: Video of the store.
        folder: Folder to write to.
        plan: Plan of the export.

    Returns:
        Mean and largest error in pixels that the export added to the x component of the middle
        flow field; 0 without flow.
    """
    error = (0.0, 0.0)
    if "rgb" in video.streams:
        for t in range(video.num_frames):
            (folder / RGB_NAME.format(plan.first_number + t)).write_bytes(video.rgb_bytes(t))
    for t in range(video.num_flow):
        for axis, data in zip("xy", video.flow_bytes(t), strict=True):
            plane = jpeg.decode_grey(data)
            exported = jpeg.encode_grey(plan.conversion[plane], plan.quality)
            (folder / FLOW_NAME.format(axis, plan.first_number + t)).write_bytes(exported)
            if t == video.num_flow // 2 and axis == "x":
                added = abs(
                    plan.written_pixels[jpeg.decode_grey(exported)] - plan.stored_pixels[plane]
                )
                error = float(added.mean()), float(added.max())
    return error


def record_outcome(report: ExportReport, id: str, outcome: Outcome) -> None:
    """Add the outcome of one video to a report.

    Args:
        report: Report to update.
        id: Id of the video.
        outcome: What happened to it.
    """
    if outcome is None:
        report.skipped += 1
    elif isinstance(outcome, str):
        report.failures[id] = outcome
    else:
        frames, mean, largest = outcome
        report.frames += frames
        report.written += 1
        report.added_error_mean += (mean - report.added_error_mean) / report.written
        report.added_error_max = max(report.added_error_max, largest)

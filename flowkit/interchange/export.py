"""Export a store as folders of JPEG files in the formats of denseflow and mmaction2.

    <out>/<video>/img_00000.jpg, flow_x_00000.jpg, flow_y_00000.jpg
    <out>/export.json     format, bound, quantization, numbering, and what their loaders need
    <out>/videos.csv      folder name, id, counts, fps and labels of each exported video
    <out>/classes.txt     class names, line n being class n
    <out>/<subset>_rgb.txt, <subset>_flow.txt     mmaction2 only: its annotation lists

``<video>`` is the id of the video, encoded by `file_names.encode_id`. RGB images are copied
unchanged. Flow is decoded, converted to pixels, quantized as q = cvRound(255·(v + B)/2B) (the
quantization of both tools, where zero is 128) and encoded again. A quantization step is 2B/255 px,
so rounding adds an error of at most B/255 px (0.078 at B = 20). The second JPEG compression adds a
little more, which the report measures.

The folder of a video is written under a temporary name and then renamed, so an existing folder is
complete, and a second run skips it. Files are not fsynced: after a power failure, export to a new
folder.
"""

import csv
import io
import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np

from flowkit.errors import FlowkitError, LockedError, UsageError
from flowkit.flow.quantization import dequantize, to_denseflow
from flowkit.interchange.file_names import encode_id, find_case_collisions, ignores_case
from flowkit.store.format import jpeg
from flowkit.store.format.atomic import write_atomic
from flowkit.store.format.locks import try_lock
from flowkit.store.reader import Store
from flowkit.store.video import Video

QUANTIZATION = "q = round_half_even(255 * (clip(v, -bound, bound) + bound) / (2 * bound))"
"""The quantization of exported flow, as written to ``export.json``."""
COLUMNS = ("name", "id", "frames", "flow", "fps", "width", "height", "labels", "subsets")
"""Columns of ``videos.csv``."""


@dataclass(frozen=True, kw_only=True)
class NamingConvention:
    """How a format names and numbers its files."""

    start: int
    """Number of the first frame."""
    rgb: str = "img_{:05d}.jpg"
    """Template of the names of RGB images; takes the number."""
    flow: str = "flow_{}_{:05d}.jpg"
    """Template of the names of flow images; takes the axis, x or y, and the number."""
    lists: bool = False
    """Whether the format has annotation lists."""


CONVENTIONS: dict[str, NamingConvention] = {
    "denseflow": NamingConvention(start=0),
    # RawframeDataset of mmaction2 counts from start_index = 1 by default.
    "mmaction2": NamingConvention(start=1, lists=True),
}
"""The formats that can be exported."""


@dataclass(kw_only=True)
class ExportReport:
    """What an export did."""

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
        store: A store, or its path.
        out: Folder to write to: new, empty, or an earlier export with the same settings.
        format: ``denseflow`` or ``mmaction2``.
        ids: Ids of the videos to export; None exports all.
        progress: Called after each video with the number of finished videos and the total.
        bound: Bound of the written flow in pixels; None takes the bound of the store.
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
    if format not in CONVENTIONS:
        raise UsageError(f"format must be one of {', '.join(CONVENTIONS)}, got {format!r}")
    store = store if isinstance(store, Store) else Store(Path(store))
    wanted = list(store if ids is None else dict.fromkeys(ids))
    for id in wanted:
        store[id]
    plan = ExportPlan.create(store, Path(out), format, bound, quality)
    plan.out.mkdir(parents=True, exist_ok=True)
    report = ExportReport(case_collisions=find_case_collisions(wanted))
    with lock_folder(plan.out):
        check_case_collisions(plan.out, report)
        check_settings(plan)
        rows = {row["name"]: row for row in read_videos(plan.out)}
        for done, (id, outcome) in enumerate(write_videos(store, wanted, plan, workers), 1):
            record_outcome(report, id, outcome)
            if not isinstance(outcome, str):
                rows[encode_id(id)] = describe_video(store[id])
            if progress is not None:
                progress(done, len(wanted))
        write_lists(store, plan, rows, report)
    return report


@dataclass(frozen=True, kw_only=True)
class ExportPlan:
    """Settings of one export, and the tables that convert its flow values."""

    out: Path
    """Folder to write to."""
    convention: NamingConvention
    """Names of the files."""
    settings: dict[str, Any]
    """What is recorded in ``export.json``."""
    quality: int
    """JPEG quality of the written flow images, 1–100."""
    stored: np.ndarray
    """(256,) float32: pixels of each value in the store."""
    table: np.ndarray
    """(256,) uint8: value to write for each value in the store."""
    written: np.ndarray
    """(256,) float32: pixels of each written value."""

    @classmethod
    def create(
        cls, store: Store, out: Path, format: str, bound: float | None, quality: int
    ) -> "ExportPlan":
        """Plan an export.

        Args:
            store: Store to export.
            out: Folder to write to.
            format: One of `CONVENTIONS`.
            bound: Bound of the written flow in pixels; None takes the bound of the store.
            quality: JPEG quality of the written flow images, 1–100.

        Returns:
            The plan.

        Raises:
            UsageError: If the bound is not positive.
        """
        flow = store.recipe.flow
        store_bound = flow.bound if flow is not None else 20.0
        bound = store_bound if bound is None else bound
        if not bound > 0:
            raise UsageError(f"flow bound must be positive pixels, got {bound}")
        convention = CONVENTIONS[format]
        settings = {
            "format": format,
            "start_index": convention.start,
            "rgb_template": convention.rgb,
            "flow_template": convention.flow,
            "bound": bound,
            "quantization": QUANTIZATION,
            "dequantization": "v = q * 2 * bound / 255 - bound",
            "flow_quality": quality,
            "names": "folders are percent-encoded ids; videos.csv lists both",
            "store_dataset": store.header.dataset,
            "store_created": store.header.created,
            "store_recipe": store.recipe.to_dict(),
        }
        values = np.arange(256, dtype=np.uint8)
        stored = dequantize(values, store_bound)
        written = values.astype(np.float32) * (2 * bound / 255) - bound
        table = to_denseflow(stored, bound)
        return cls(
            out=out, convention=convention, settings=settings, quality=quality,
            stored=stored, table=table, written=written,
        )  # fmt: skip


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
    chosen = dict.fromkeys(ids)
    for name in subsets:
        chosen.update((store[int(row)].id, None) for row in store.subset(name))
    return list(chosen) if ids or subsets else None


@contextmanager
def lock_folder(out: Path) -> Iterator[None]:
    """Lock a folder so that one export at a time writes to it, and clean up after killed ones.

    Args:
        out: Folder to lock; it must exist.

    Yields:
        None, while the folder is locked.

    Raises:
        LockedError: If another export holds the lock.
    """
    with (out / ".export.lock").open("w") as lock:
        if not try_lock(lock.fileno()):
            raise LockedError(f"another export is writing to {out}; wait for it to end")
        for leftover in out.glob(".part-*"):
            shutil.rmtree(leftover)
        yield


def check_case_collisions(out: Path, report: ExportReport) -> None:
    """Check that the file system can hold folder names that differ only by case.

    Args:
        out: Folder to write to.
        report: Report with the collisions.

    Raises:
        UsageError: If names collide and the file system ignores case.
    """
    if report.case_collisions and ignores_case(out):
        first = " and ".join(report.case_collisions[0])
        raise UsageError(
            f"{len(report.case_collisions)} groups of ids differ only by case (first: {first}) and "
            f"the file system of {out} ignores case: export to another file system, or export "
            "fewer videos with --ids or --subset"
        )


def check_settings(plan: ExportPlan) -> None:
    """Record the settings of an export, or compare them with those of an earlier run.

    Args:
        plan: Plan of the export.

    Raises:
        UsageError: If the folder holds an export with other settings, or something else.
    """
    path = plan.out / "export.json"
    settings = json.loads(json.dumps(plan.settings))
    if path.exists():
        recorded = json.loads(path.read_text())
        names = sorted(name for name in settings if recorded.get(name) != settings[name])
        if names:
            raise UsageError(
                f"{path} was exported with another {', '.join(names)}: "
                "export to a new folder, or give the same options"
            )
    elif others := sorted({path.name for path in plan.out.iterdir()} - {".export.lock"}):
        raise UsageError(
            f"expected {plan.out} to be new, empty or an export, but it holds {others[0]!r}; "
            "name another folder"
        )
    else:
        write_atomic(path, (json.dumps(settings, indent=1) + "\n").encode())


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
    final = plan.out / encode_id(video.id)
    files = video.num_flow * 2 + (video.num_frames if "rgb" in video.streams else 0)
    if not files:
        return f"it has no rgb or flow to write, only {', '.join(video.streams)}"
    if final.is_dir():
        if sum(1 for _ in os.scandir(final)) == files:
            return None
        shutil.rmtree(final)
    part = plan.out / f".part-{os.urandom(8).hex()}"
    part.mkdir()
    try:
        error = write_files(video, part, plan)
        part.rename(final)
    except (FlowkitError, ValueError) as problem:  # ValueError: what the JPEG decoder raises
        shutil.rmtree(part)
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
    names = plan.convention
    error = (0.0, 0.0)
    if "rgb" in video.streams:
        for t in range(video.num_frames):
            (folder / names.rgb.format(names.start + t)).write_bytes(video.rgb_bytes(t))
    for t in range(video.num_flow):
        for axis, data in zip("xy", video.flow_bytes(t), strict=True):
            plane = jpeg.decode_grey(data)
            again = jpeg.encode_grey(plan.table[plane], plan.quality)
            (folder / names.flow.format(axis, names.start + t)).write_bytes(again)
            if t == video.num_flow // 2 and axis == "x":
                added = abs(plan.written[jpeg.decode_grey(again)] - plan.stored[plane])
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
        frames, mean, worst = outcome
        report.frames += frames
        report.added_error_mean += (mean - report.added_error_mean) / (report.written + 1)
        report.added_error_max = max(report.added_error_max, worst)
        report.written += 1


def describe_video(video: Video) -> dict[str, str]:
    """Make the row of a video in ``videos.csv``.

    Args:
        video: Video of the store.

    Returns:
        Text of each of `COLUMNS`.
    """
    values = (
        encode_id(video.id), video.id, video.num_frames, video.num_flow, video.fps,
        video.width, video.height,
        json.dumps(list(dict.fromkeys(label.name for label in video.labels)), ensure_ascii=False),
        json.dumps(list(video.subsets), ensure_ascii=False),
    )  # fmt: skip
    return dict(zip(COLUMNS, map(str, values), strict=True))


def read_videos(folder: Path) -> list[dict[str, str]]:
    """Read the ``videos.csv`` of an export.

    Args:
        folder: Folder of the export.

    Returns:
        One dict per row; empty if there is no such file.
    """
    path = folder / "videos.csv"
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def write_lists(
    store: Store, plan: ExportPlan, rows: dict[str, dict[str, str]], report: ExportReport
) -> None:
    """Write ``videos.csv``, ``classes.txt`` and, for mmaction2, a list per subset and modality.

    A line of a list is ``<folder> <total_frames> <class id>[ <class id>…]``, which RawframeDataset
    splits at blanks. Flow lists count flow fields instead of frames, so that no index exceeds the
    last field.

    Args:
        store: Store that was exported.
        plan: Plan of the export.
        rows: Rows of ``videos.csv`` by folder name; those of videos in the store are updated.
        report: Report that receives the number of videos without labels.
    """
    lines: dict[str, list[str]] = {}
    classes = {name: number for number, name in enumerate(store.classes)}
    for name in rows:
        if rows[name]["id"] not in store:
            continue
        row = rows[name] = describe_video(store[rows[name]["id"]])
        labels = " ".join(str(classes[name]) for name in json.loads(row["labels"]))
        report.unlabelled += not labels
        if not labels:
            continue
        for subset in json.loads(row["subsets"]) or ["all"]:
            for stream, count in (("rgb", row["frames"]), ("flow", row["flow"])):
                if getattr(store.recipe, stream) is not None and int(count):
                    file = f"{quote(subset, safe='')}_{stream}.txt"
                    lines.setdefault(file, []).append(f"{row['name']} {count} {labels}")
    text = io.StringIO(newline="")
    table = csv.DictWriter(text, COLUMNS)
    table.writeheader()
    table.writerows(rows.values())
    write_atomic(plan.out / "videos.csv", text.getvalue().encode())
    classes_text = "".join(f"{name}\n" for name in store.classes)
    write_atomic(plan.out / "classes.txt", classes_text.encode())
    if plan.convention.lists:
        for file, listed in lines.items():
            write_atomic(plan.out / file, ("\n".join(listed) + "\n").encode())

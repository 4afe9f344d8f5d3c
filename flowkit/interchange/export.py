"""A store written out as folders of JPEG files, as denseflow and mmaction2 have them.

    <out>/<video>/img_00000.jpg, flow_x_00000.jpg, flow_y_00000.jpg
    <out>/export.json     format, bound, quantization, numbering, and what their loaders need
    <out>/videos.csv      folder name, id, counts, fps and labels of each exported video
    <out>/classes.txt     class names, line n being class n
    <out>/<subset>_rgb.txt, <subset>_flow.txt     mmaction2 only: its annotation lists

``<video>`` is `file_names.encode_id` of the id. RGB bytes are those of the store. Flow is decoded,
brought to pixels, quantized as q = cvRound(255·(v + B)/2B) (what both tools' pictures hold; zero
is 128) and encoded again. A step of that is 2B/255 px, so rounding adds up to B/255 px (0.078 at
B = 20), and the second JPEG a little more, which the report measures.

A video's folder is written under a temporary name and then renamed, so a folder that is there
is whole; a second run leaves it alone. Not fsynced: after a power cut, export again.
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
from flowkit.flow.quantize import dequantize, to_denseflow
from flowkit.interchange.file_names import encode_id, find_case_collisions, ignores_case
from flowkit.store.format import jpeg
from flowkit.store.format.atomic import write_atomic
from flowkit.store.format.locks import try_lock
from flowkit.store.reader import Store
from flowkit.store.video import Video

QUANTIZATION = "q = round_half_even(255 * (clip(v, -bound, bound) + bound) / (2 * bound))"
COLUMNS = ("name", "id", "frames", "flow", "fps", "width", "height", "labels", "subsets")


@dataclass(frozen=True, kw_only=True)
class Convention:
    """File names of one format: the first number, and the templates without it."""

    start: int
    rgb: str = "img_{:05d}.jpg"
    flow: str = "flow_{}_{:05d}.jpg"
    lists: bool = False


CONVENTIONS: dict[str, Convention] = {
    "denseflow": Convention(start=0),
    # mmaction2's RawframeDataset counts from start_index = 1 unless told otherwise.
    "mmaction2": Convention(start=1, lists=True),
}


@dataclass(kw_only=True)
class ExportReport:
    """What an export did. ``added_error`` is in pixels, over one flow field of each video."""

    written: int = 0
    skipped: int = 0
    frames: int = 0
    failures: dict[str, str] = field(default_factory=dict)
    case_collisions: list[tuple[str, ...]] = field(default_factory=list)
    unlabelled: int = 0
    added_error_mean: float = 0.0
    added_error_max: float = 0.0


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
    """Write videos of a store as folders of JPEGs.

    Parameters
    ----------
    ids: which videos; None is all of them.
    progress: called with (videos done, videos in all) after each.
    bound: of the written flow, pixels; None is the store's own.
    quality: of the written flow JPEGs, 1–100.
    workers: threads, each at one video.

    Raises UsageError for unknown names, or an ``out`` of other settings; LockedError if another
    export writes there. A video that cannot be read is listed in the report's ``failures``.
    """
    if format not in CONVENTIONS:
        raise UsageError(f"format must be one of {', '.join(CONVENTIONS)}, got {format!r}")
    store = store if isinstance(store, Store) else Store(Path(store))
    wanted = list(store if ids is None else dict.fromkeys(ids))
    for id in wanted:
        store[id]
    plan = Plan.of(store, Path(out), format, bound, quality)
    plan.out.mkdir(parents=True, exist_ok=True)
    report = ExportReport(case_collisions=find_case_collisions(wanted))
    with hold_folder(plan.out):
        check_case(plan.out, report)
        check_settings(plan)
        rows = {row["name"]: row for row in read_videos(plan.out)}
        for done, (id, outcome) in enumerate(write_videos(store, wanted, plan, workers), 1):
            note(report, id, outcome)
            if not isinstance(outcome, str):
                rows[encode_id(id)] = describe(store[id])
            if progress is not None:
                progress(done, len(wanted))
        write_lists(store, plan, rows, report)
    return report


@dataclass(frozen=True, kw_only=True)
class Plan:
    """One export: where to, how, and the table from stored flow values to written ones."""

    out: Path
    convention: Convention
    settings: dict[str, Any]
    quality: int
    stored: np.ndarray  # (256,) float32: pixels by stored value
    table: np.ndarray  # (256,) uint8: written value by stored value
    written: np.ndarray  # (256,) float32: pixels by written value

    @classmethod
    def of(cls, store: Store, out: Path, format: str, bound: float | None, quality: int) -> "Plan":
        flow = store.recipe.flow
        own = flow.bound if flow is not None else 20.0
        bound = own if bound is None else bound
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
        stored = dequantize(values, own)
        written = values.astype(np.float32) * (2 * bound / 255) - bound
        table = to_denseflow(stored, bound)
        return cls(
            out=out, convention=convention, settings=settings, quality=quality,
            stored=stored, table=table, written=written,
        )  # fmt: skip


def choose_ids(
    store: Store, ids: Iterable[str] = (), subsets: Iterable[str] = ()
) -> list[str] | None:
    """The named ids and the videos of the named subsets together; None where nothing is named."""
    chosen = dict.fromkeys(ids)
    for name in subsets:
        chosen.update((store[int(row)].id, None) for row in store.subset(name))
    return list(chosen) if ids or subsets else None


@contextmanager
def hold_folder(out: Path) -> Iterator[None]:
    """One export at a time in a folder; leftovers of a killed one are removed."""
    with (out / ".export.lock").open("w") as lock:
        if not try_lock(lock.fileno()):
            raise LockedError(f"another export is writing to {out}; wait for it to end")
        for leftover in out.glob(".part-*"):
            shutil.rmtree(leftover)
        yield


def check_case(out: Path, report: ExportReport) -> None:
    if report.case_collisions and ignores_case(out):
        first = " and ".join(report.case_collisions[0])
        raise UsageError(
            f"{len(report.case_collisions)} groups of ids differ only by case (first: {first}) and "
            f"the file system of {out} ignores case: export to another one, or fewer videos"
        )


def check_settings(plan: Plan) -> None:
    """Record the settings, or compare them with those of the run before."""
    path = plan.out / "export.json"
    wanted = json.loads(json.dumps(plan.settings))
    if path.exists():
        found = json.loads(path.read_text())
        names = sorted(name for name in wanted if found.get(name) != wanted[name])
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
        write_atomic(path, (json.dumps(wanted, indent=1) + "\n").encode())


Outcome = tuple[int, float, float] | str | None


def write_videos(
    store: Store, ids: list[str], plan: Plan, workers: int
) -> Iterator[tuple[str, Outcome]]:
    """(id, outcome) in order; what is queued is dropped when the caller stops early."""
    pool = ThreadPoolExecutor(workers)
    try:
        yield from zip(ids, pool.map(lambda id: write_video(store[id], plan), ids), strict=True)
    finally:
        pool.shutdown(cancel_futures=True)


def write_video(video: Video, plan: Plan) -> Outcome:
    """(frames, mean, max added error in pixels), None if it was there, or why it failed."""
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


def write_files(video: Video, folder: Path, plan: Plan) -> tuple[float, float]:
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


def note(report: ExportReport, id: str, outcome: Outcome) -> None:
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


def describe(video: Video) -> dict[str, str]:
    """The video's row of ``videos.csv``, as text."""
    values = (
        encode_id(video.id), video.id, video.num_frames, video.num_flow, video.fps,
        video.width, video.height,
        json.dumps(list(dict.fromkeys(label.name for label in video.labels)), ensure_ascii=False),
        json.dumps(list(video.subsets), ensure_ascii=False),
    )  # fmt: skip
    return dict(zip(COLUMNS, map(str, values), strict=True))


def read_videos(folder: Path) -> list[dict[str, str]]:
    """The rows of ``videos.csv``; none where there is no such file."""
    path = folder / "videos.csv"
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def write_lists(
    store: Store, plan: Plan, rows: dict[str, dict[str, str]], report: ExportReport
) -> None:
    """``videos.csv``, ``classes.txt`` and, for mmaction2, one list per subset and modality.

    A line is ``<folder> <total_frames> <class id>[ <class id>…]``, as RawframeDataset splits it
    at blanks; flow lists count flow fields, so that no index reaches past the last one.
    """
    lines: dict[str, list[str]] = {}
    classes = {name: number for number, name in enumerate(store.classes)}
    for name in rows:
        if rows[name]["id"] not in store:
            continue
        row = rows[name] = describe(store[rows[name]["id"]])
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

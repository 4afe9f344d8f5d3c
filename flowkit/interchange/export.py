"""Export the videos of a store in a format of other tools.

The formats are listed in `formats.FORMATS`; each has a module of its own, whose docstring shows the
files that it writes. All of them have in common:

    <out>/export.json     format and settings: a second run must have the same ones
    <out>/videos.csv      name, id, counts, fps and labels of each exported video
    <out>/classes.txt     class names, line n being class n

The same command continues an export that was interrupted. A file or folder gets its final name
when it is complete.
"""

import json
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from flowkit.errors import LockedError, UsageError
from flowkit.interchange.file_names import is_case_insensitive
from flowkit.interchange.formats.export_format import ExportFormat, ExportOptions, Outcome
from flowkit.interchange.formats.registry import FORMATS
from flowkit.store.format.atomic import convert_disk_errors, write_atomic
from flowkit.store.format.locks import try_lock
from flowkit.store.reader import Store

LOCK = ".export.lock"
"""Name of the file that an export locks in its folder."""
IGNORED = {LOCK, "export.json.part"}
"""Names in a folder that an export may leave when it is killed before it has begun."""


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
    left_out: tuple[str, ...] = ()
    """Streams of the store that the format cannot hold."""
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
    quality: int | None = None,
    shard_bytes: int | None = None,
    subsets: Iterable[str] = (),
    workers: int = 1,
) -> ExportReport:
    """Write videos of a store in a format of other tools.

    Args:
        store: The store, or its path.
        out: Folder to write to: new, empty, or an earlier export with the same settings.
        format: ``denseflow``, ``mmaction2``, ``webdataset`` or ``huggingface``.
        ids: Ids of the videos to export; None exports all.
        progress: Called after each video with the number of finished videos and the total.
        bound: Bound of the written flow in pixels, for denseflow and mmaction2; None means the
            bound of the store.
        quality: JPEG quality of the written flow images, 1–100, for denseflow and mmaction2; None
            means 95. The other formats copy the images of the store.
        shard_bytes: Bytes of images at which a shard is closed, for webdataset and huggingface;
            None means 1 GB for webdataset and 500 MB for huggingface.
        subsets: Names of the subsets that shards are divided by; empty means all subsets.
        workers: Number of threads, each of which writes one video or shard at a time.

    Returns:
        A report. A video that cannot be read is listed in its ``failures``.

    Raises:
        UsageError: If a name is unknown, or ``out`` holds something else.
        LockedError: If another export is writing to ``out``.
        DiskFullError: If there is no room. The same call continues once there is.

    Example:
        >>> export("stores/ucf101", "rawframes", "mmaction2", workers=4).written
        13320
    """
    if format not in FORMATS:
        raise UsageError(f"format must be one of {', '.join(FORMATS)}, got {format!r}")
    store = store if isinstance(store, Store) else Store(Path(store))
    video_ids = list(store if ids is None else dict.fromkeys(ids))
    for id in video_ids:
        store[id]
    options = ExportOptions(
        bound=bound, quality=quality, shard_bytes=shard_bytes, subsets=tuple(subsets),
        workers=workers,
    )  # fmt: skip
    target = FORMATS[format](store, Path(out), options)
    left_out = tuple(name for name in store.recipe.streams if name not in target.streams)
    report = ExportReport(case_collisions=target.find_case_collisions(video_ids), left_out=left_out)
    with lock_folder(target.out):
        check_case_collisions(target.out, report.case_collisions)
        check_settings(target.out, target.describe())
        write_videos(target, video_ids, report, progress)
    return report


def write_videos(
    target: ExportFormat,
    ids: list[str],
    report: ExportReport,
    progress: Callable[[int, int], None] | None,
) -> None:
    """Write videos and then the lists of the export.

    Args:
        target: The export.
        ids: Ids of the videos.
        report: Report to update.
        progress: Called after each video with the number of finished videos and the total.
    """
    remove_leftovers(target.out)
    complete_ids = []
    for finished_videos, (id, outcome) in enumerate(target.write_videos(ids), 1):
        record_outcome(report, id, outcome)
        if not isinstance(outcome, str):
            complete_ids.append(id)
        if progress is not None:
            progress(finished_videos, len(ids))
    report.unlabelled = target.write_lists(complete_ids)


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
    """Lock a folder so that one export at a time writes to it.

    Args:
        out: Folder to lock; created if missing.

    Yields:
        None, while the folder is locked.

    Raises:
        LockedError: If another export holds the lock.
    """
    with convert_disk_errors(out):
        out.mkdir(parents=True, exist_ok=True)
    with (out / LOCK).open("w") as lock:
        if not try_lock(lock.fileno()):
            raise LockedError(f"another export is writing to {out}; wait until it has finished")
        yield


def remove_leftovers(out: Path) -> None:
    """Remove the unfinished files and folders that killed exports left in an export.

    Args:
        out: Folder of the export, which has been checked: other folders' files are not ours.
    """
    for leftover in out.glob(".part-*"):
        if leftover.is_dir():
            shutil.rmtree(leftover)
        else:
            leftover.unlink()


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


def check_settings(out: Path, settings: dict[str, Any]) -> None:
    """Record the settings in ``export.json``, or compare them with those of an earlier run.

    Args:
        out: Folder to write to.
        settings: JSON values by name.

    Raises:
        UsageError: If the folder holds an export with other settings, or something else.
    """
    path = out / "export.json"
    settings = json.loads(json.dumps(settings))
    if path.exists():
        try:
            recorded = dict(json.loads(path.read_text(encoding="utf-8")))
        except (ValueError, TypeError):
            raise UsageError(
                f"{path} is not the record of an export; name another folder"
            ) from None
        recorded, settings = drop_features(recorded), drop_features(settings)
        names = sorted(name for name in settings if recorded.get(name) != settings[name])
        if names:
            raise UsageError(
                f"{path} was exported with another {', '.join(names)}: "
                "export to a new folder, or use the same options"
            )
    elif others := sorted({path.name for path in out.iterdir()} - IGNORED):
        raise UsageError(
            f"expected {out} to be new, empty or an export, but it holds {others[0]!r}; "
            "name another folder"
        )
    else:
        write_atomic(path, (json.dumps(settings, indent=1) + "\n").encode())


def drop_features(settings: dict[str, Any]) -> dict[str, Any]:
    """Leave out the features of a store's recipe: no format holds them, so they may change."""
    recipe = settings.get("store_recipe")
    if not isinstance(recipe, dict):
        return settings
    kept = {name: value for name, value in recipe.items() if name != "features"}
    return settings | {"store_recipe": kept}


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
        report.frames += outcome.frames
        report.written += 1
        added = outcome.added_error_mean - report.added_error_mean
        report.added_error_mean += added / report.written
        report.added_error_max = max(report.added_error_max, outcome.added_error_max)

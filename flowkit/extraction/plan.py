"""Plan a run: which videos of a dataset are extracted now, and why the others are not."""

import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeGuard

import numpy as np

from flowkit.annotations import Source
from flowkit.errors import UsageError
from flowkit.extraction.frame_rates import FoundRate, FrameRates
from flowkit.extraction.options import Options
from flowkit.extraction.source import has_changed, measure_file, measure_source
from flowkit.extraction.tasks import ExtractionTask
from flowkit.garbage_collection import pause_garbage_collection
from flowkit.recipe import FEATURES
from flowkit.store import Store, Video
from flowkit.store.failures import Failure
from flowkit.store.new_ids import check_new_ids


@dataclass(kw_only=True)
class Plan:
    """The tasks of a run, and the videos that it does not extract."""

    tasks: tuple[ExtractionTask, ...] = ()
    """The tasks, the largest first."""
    done: list[str] = field(default_factory=list)
    """Ids of the videos that are complete in the store."""
    changed: list[str] = field(default_factory=list)
    """Ids of the videos that are in the store, but whose source has changed since."""
    quarantined: list[Failure] = field(default_factory=list)
    """Earlier failures of videos whose source has not changed since."""
    beyond: int = 0
    """Number of videos left out by ``--limit``."""


@pause_garbage_collection()
def make_plan(
    sources: tuple[Source, ...],
    store: Store,
    failures: Mapping[str, Failure],
    rates: FrameRates,
    options: Options,
) -> Plan:
    """Decide for each source whether it is extracted now.

    A video is done if the store has all streams of it, from a source with the same content and, if
    one is stated, the same frame rate. One that failed is tried again if its source was replaced or
    the installation caused the failure, and in each run with ``update`` if the store has it.

    Args:
        sources: The videos of the dataset.
        store: The open store.
        failures: Earlier failures by video id.
        rates: Frame rates that are stated for frame folders.
        options: The streams to extract, and which part of the videos. With ``update``, changed
            sources are extracted again in all streams that the store has of them, but not features.
    """
    streams, retry_failed, plan = options.streams, options.retry_failed, Plan()
    tasks: list[ExtractionTask] = []
    for source, file, video, is_done in look_up_sources(sources, store, streams, options.part):
        if is_done:
            plan.done.append(source.id)
            continue
        missing_streams = tuple(s for s in streams if video is None or s not in video.streams)
        failure = failures.get(source.id)
        rate = FoundRate() if file is not None else rates.find(source, video, store.recipe)
        if video is not None and (rate.differs or is_outdated(video, source, file)):
            if (
                options.update
                and video.has_mixed_sources
                and is_given_up(failure, source, retry_failed)
            ):
                plan.quarantined.append(failure)
            elif options.update:
                all_streams = merge_streams(video, streams)
                tasks.append(make_task(source, all_streams, rate.value, file=file, supersedes=True))
            else:
                plan.changed.append(source.id)
        elif not missing_streams:
            plan.done.append(source.id)
        elif is_given_up(failure, source, retry_failed):
            plan.quarantined.append(failure)
        else:
            frames = None if video is None else video.num_frames or None
            tasks.append(make_task(source, missing_streams, rate.value, file=file, frames=frames))
    plan.tasks, plan.beyond = arrange_tasks(tasks, options.limit)
    return plan


def look_up_sources(
    sources: Iterable[Source], store: Store, streams: tuple[str, ...], part: tuple[int, int]
) -> Iterator[tuple[Source, tuple[int, int] | None, Video | None, bool]]:
    """Look up the sources of a part in a store, and compare the sizes and times of their files.

    Args:
        sources: The videos of the dataset.
        store: The open store.
        streams: The streams to extract.
        part: The part (i, n) of the videos.

    Yields:
        The source; what `measure_file` returns for it; the video in the store, if it has it; and
        whether the store has all streams of it from one file of this size and time.

    Raises:
        UsageError: A new id differs from one of the store only by Unicode normalization.
    """
    selected = [source for source in sources if belongs(source.id, part)]
    rows = store.index.find_rows([source.id for source in selected])
    check_new_ids([selected[k].id for k in np.flatnonzero(rows < 0)], store)
    extracted_files = find_extracted_files(store, rows, streams)
    for source, row, extracted in zip(selected, rows.tolist(), extracted_files, strict=True):
        file = measure_file(source.path)
        is_done = file is not None and file == extracted
        yield source, file, None if row < 0 else store[row], is_done


def find_extracted_files(
    store: Store, rows: np.ndarray[Any, Any], streams: tuple[str, ...]
) -> Iterator[tuple[int, int] | None]:
    """Find the files that the streams of many videos were extracted from.

    The values are read as whole columns: there may be a million videos.

    Args:
        store: The open store.
        rows: (videos,) row of each video in the store, −1 if it does not have the video.
        streams: The streams.

    Yields:
        Size in bytes and modification time in nanoseconds of the file of each video; None if the
        store does not have all streams of it, from one content of the file.
    """
    columns = [store.index.column(name) for name in streams]
    if not len(store) or any(column is None for column in columns):
        yield from [None] * len(rows)
        return
    is_complete = np.logical_and.reduce([np.asarray(column.is_valid()) for column in columns])
    sizes, times = (store.index.column(name).to_numpy() for name in ("size", "mtime_ns"))
    mixed = store.index.column("mixed_sources")
    if mixed is not None:
        is_complete &= ~np.asarray(mixed.fill_null(False))
    found = (rows >= 0) & is_complete[rows]
    for is_found, size, time in zip(
        found.tolist(), sizes[rows].tolist(), times[rows].tolist(), strict=True
    ):
        yield (size, time) if is_found else None


def is_outdated(video: Video, source: Source, file: tuple[int, int] | None) -> bool:
    """Return whether a stream of a video is not of its present source; see `has_changed`."""
    return video.has_mixed_sources or has_changed(source.path, video.fingerprint, file)


def merge_streams(video: Video, streams: tuple[str, ...]) -> tuple[str, ...]:
    """Return the streams that a store has of a video, features aside, and further ones."""
    stored = (stream for stream in video.streams if not stream.startswith(FEATURES))
    return tuple(dict.fromkeys((*stored, *streams)))


def arrange_tasks(
    tasks: Sequence[ExtractionTask], limit: int | None
) -> tuple[tuple[ExtractionTask, ...], int]:
    """Choose the tasks of a run and their order.

    Args:
        tasks: All tasks.
        limit: Largest number of tasks, those with the first ids, or None for all.

    Returns:
        The tasks, the largest first, so that no worker still has a long video when all others are
        done; and the number of tasks beyond the limit.
    """
    within_limit = sorted(tasks, key=lambda task: task.id)[:limit]
    largest_first = sorted(within_limit, key=lambda task: (-task.weight, task.id))
    return tuple(largest_first), len(tasks) - len(within_limit)


def belongs(id: str, part: tuple[int, int]) -> bool:
    """Return whether a video belongs to part (i, n) of a dataset.

    A hash of the id decides, so that a video stays in its part when others are added or removed.
    """
    return zlib.crc32(id.encode("utf-8", "surrogatepass")) % part[1] == part[0]


def parse_part(text: str) -> tuple[int, int]:
    """Parse a part such as ``0/8``.

    Args:
        text: ``i/n`` with 0 ≤ i < n.

    Returns:
        (i, n).

    Raises:
        UsageError: ``text`` is not of this form.
    """
    try:
        i, n = (int(word) for word in text.split("/"))
    except ValueError:
        raise UsageError(f"expected --shard i/n such as 0/8, got {text!r}") from None
    if not 0 <= i < n:
        raise UsageError(f"expected --shard i/n with i from 0 to n−1, got {text!r}")
    return i, n


def make_task(
    source: Source,
    streams: tuple[str, ...],
    frame_rate: float | None = None,
    *,
    file: tuple[int, int] | None = None,
    frames: int | None = None,
    supersedes: bool = False,
) -> ExtractionTask:
    """Make the task that extracts ``streams`` of a source, weighted by its size in bytes.

    Args:
        source: The video to extract.
        streams: The streams to extract: those that are missing in the store, or all of a source
            that changed.
        frame_rate: Frames per second of a frame folder; None for a file, or if unknown.
        file: Size and time of its file, if they were asked for already.
        frames: Number of frames that the store already holds of the video, if any.
        supersedes: Whether the result replaces an extraction of an older source.
    """
    try:
        weight = (file or measure_source(source.path))[0]
    except OSError:
        weight = 0  # the worker reports why the file cannot be read
    return ExtractionTask(
        id=source.id,
        source=source.path.absolute(),
        streams=streams,
        weight=weight,
        frame_rate=frame_rate,
        frames=frames,
        supersedes=supersedes,
    )


def is_given_up(failure: Failure | None, source: Source, retry_failed: bool) -> TypeGuard[Failure]:
    """Return whether a source failed before and is not tried again."""
    if failure is None or retry_failed or failure.retry:
        return False
    return not is_replaced(source.path, failure)


def is_replaced(path: Path, failure: Failure) -> bool:
    """Return whether the source that failed has since been replaced by another."""
    try:
        return measure_source(path) != (failure.size, failure.mtime_ns)
    except OSError:
        return False

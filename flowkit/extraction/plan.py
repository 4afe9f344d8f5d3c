"""Plan a run: which videos of a dataset are extracted now, and why the others are not."""

import os
import stat
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from flowkit.annotations import Source
from flowkit.errors import UsageError
from flowkit.extraction.frame_rates import FoundRate, FrameRates
from flowkit.extraction.source import has_changed, measure_source
from flowkit.extraction.tasks import ExtractionTask
from flowkit.garbage_collection import pause_garbage_collection
from flowkit.recipe import FEATURES
from flowkit.store import Store, Video
from flowkit.store.failures import Failure


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The tasks of a run, and the videos that it does not extract."""

    tasks: tuple[ExtractionTask, ...]
    """The tasks, the largest first."""
    done: tuple[str, ...] = ()
    """Ids of the videos that are complete in the store."""
    changed: tuple[str, ...] = ()
    """Ids of the videos that are in the store, but whose source has changed since."""
    quarantined: tuple[Failure, ...] = ()
    """Earlier failures of videos whose source has not changed since."""
    beyond: int = 0
    """Number of videos left out by ``--limit``."""


@pause_garbage_collection()
def make_plan(
    sources: tuple[Source, ...],
    store: Store,
    failures: Mapping[str, Failure],
    streams: tuple[str, ...],
    *,
    part: tuple[int, int] = (0, 1),
    limit: int | None = None,
    update: bool = False,
    retry_failed: bool = False,
    frame_rates: FrameRates | None = None,
) -> Plan:
    """Decide for each source whether it is extracted now.

    A video is done if the store has all streams of it, from a source with the same content and, if
    one is stated, the same frame rate. One that failed is tried again if its source was replaced or
    the installation caused the failure.

    Args:
        sources: The videos of the dataset.
        store: The open store.
        failures: Earlier failures by video id.
        streams: The streams to extract.
        part: The part (i, n) of the videos that this run extracts.
        limit: Largest number of tasks, or None for all.
        update: Extract changed sources again, in all streams that the store has of them.
        retry_failed: Try all quarantined videos again.
        frame_rates: Frame rates that are stated for frame folders; None if there are none.
    """
    rates = frame_rates or FrameRates()
    tasks: list[ExtractionTask] = []
    done, changed = list[str](), list[str]()
    quarantined: list[Failure] = []
    for source in sources:
        if not belongs(source.id, part):
            continue
        row = store.find(source.id)
        video = None if row is None else store[row]
        stored_streams = () if video is None else video.streams
        missing_streams = tuple(s for s in streams if s not in stored_streams)
        failure = failures.get(source.id)
        file = stat_file(source.path)
        rate = FoundRate() if file is not None else rates.find(source, video, store.recipe)
        if video is not None and (
            rate.differs or has_changed(source.path, video.fingerprint, file)
        ):
            if update:
                all_streams = merge_streams(video, streams)
                tasks.append(make_task(source, all_streams, rate.value, file=file, supersedes=True))
            else:
                changed.append(source.id)
        elif not missing_streams:
            done.append(source.id)
        elif failure and not (retry_failed or failure.retry or is_replaced(source.path, failure)):
            quarantined.append(failure)
        else:
            frames = None if video is None else video.num_frames or None
            tasks.append(make_task(source, missing_streams, rate.value, file=file, frames=frames))
    within_limit = arrange_tasks(tasks, limit)
    return Plan(
        tasks=within_limit, done=tuple(done), changed=tuple(changed),
        quarantined=tuple(quarantined), beyond=len(tasks) - len(within_limit),
    )  # fmt: skip


def stat_file(path: Path) -> os.stat_result | None:
    """Ask for the size and time of a video file; None for a folder, or if it cannot be accessed."""
    try:
        status = os.stat(path)  # noqa: PTH116 (there may be a million)
    except OSError:
        return None
    return None if stat.S_ISDIR(status.st_mode) else status


def merge_streams(video: Video, streams: tuple[str, ...]) -> tuple[str, ...]:
    """Return the streams that a store has of a video, features aside, and further ones."""
    stored = (stream for stream in video.streams if not stream.startswith(FEATURES))
    return tuple(dict.fromkeys((*stored, *streams)))


def arrange_tasks(tasks: Iterable[ExtractionTask], limit: int | None) -> tuple[ExtractionTask, ...]:
    """Choose the tasks of a run and their order.

    Args:
        tasks: All tasks.
        limit: Largest number of tasks, those with the first ids, or None for all.

    Returns:
        The tasks, the largest first, so that no worker still has a long video when all others are
        done.
    """
    within_limit = sorted(tasks, key=lambda task: task.id)[:limit]
    return tuple(sorted(within_limit, key=lambda task: (-task.weight, task.id)))


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
    file: os.stat_result | None = None,
    frames: int | None = None,
    supersedes: bool = False,
) -> ExtractionTask:
    """Make the task that extracts ``streams`` of a source, weighted by its size in bytes.

    Args:
        source: The video to extract.
        streams: The streams that are missing in the store.
        frame_rate: Frames per second of a frame folder; None for a file, or if unknown.
        file: Size and time of its file, if they were asked for already.
        frames: Number of frames that the store already holds of the video, if any.
        supersedes: Whether the result replaces an extraction of an older source.
    """
    try:
        weight = measure_source(source.path)[0] if file is None else file.st_size
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


def is_replaced(path: Path, failure: Failure) -> bool:
    """Return whether the source that failed has since been replaced by another."""
    try:
        return measure_source(path) != (failure.size, failure.mtime_ns)
    except OSError:
        return False

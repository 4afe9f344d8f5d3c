"""What is left to do: the sources of a dataset, less what the store has and has given up on."""

import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from flowkit.annotations import Source
from flowkit.errors import UsageError
from flowkit.extraction.tasks import ExtractionTask
from flowkit.recipe import FEATURES
from flowkit.store import Fingerprint, Store, Video
from flowkit.store.failures import Failure


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The jobs of a run, the largest first, and why the other videos are not among them."""

    jobs: tuple[ExtractionTask, ...]
    done: tuple[str, ...] = ()  # complete in the store
    changed: tuple[str, ...] = ()  # complete, but of a source that has changed since
    quarantined: tuple[Failure, ...] = ()  # failed before, and their sources are as they were
    beyond: int = 0  # left out by --limit


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
) -> Plan:
    """Decide for each source of this ``part`` (i, n) whether it is extracted now.

    A video is done when the store has all of ``streams`` for it, from a source of the same
    content. A changed source is redone, in all streams that the store has of it, only with
    ``update``. A quarantined video is tried again with ``retry_failed``, when its source
    is no longer the file that failed, or when the installation was to blame.
    """
    jobs: list[ExtractionTask] = []
    done: list[str] = []
    changed: list[str] = []
    quarantined: list[Failure] = []
    for source in sources:
        if not belongs(source.id, part):
            continue
        row = store.find(source.id)
        video = None if row is None else store[row]
        lacking = tuple(s for s in streams if video is None or s not in video.streams)
        failure = failures.get(source.id)
        if video is not None and has_changed(source.path, video):
            if update:
                own = (stream for stream in video.streams if not stream.startswith(FEATURES))
                both = tuple(dict.fromkeys((*own, *streams)))
                jobs.append(make_job(source, both, supersedes=True))
            else:
                changed.append(source.id)
        elif not lacking:
            done.append(source.id)
        elif failure is not None and not (retry_failed or may_succeed(source.path, failure)):
            quarantined.append(failure)
        else:
            frames = None if video is None else video.num_frames or None
            jobs.append(make_job(source, lacking, frames=frames))
    # The largest first, so that no worker is left alone with a long video at the end.
    jobs.sort(key=lambda job: (-job.weight, job.id))
    kept = jobs if limit is None else sorted(jobs, key=lambda job: job.id)[:limit]
    return Plan(
        jobs=tuple(sorted(kept, key=lambda job: (-job.weight, job.id))),
        done=tuple(done),
        changed=tuple(changed),
        quarantined=tuple(quarantined),
        beyond=len(jobs) - len(kept),
    )


def belongs(id: str, part: tuple[int, int]) -> bool:
    """Whether a video falls to part (i, n).

    By a hash of its id, so that it stays where it is when others come or go.
    """
    return zlib.crc32(id.encode("utf-8", "surrogatepass")) % part[1] == part[0]


def parse_part(text: str) -> tuple[int, int]:
    """``i/n`` → (i, n), with 0 ≤ i < n."""
    try:
        i, n = (int(word) for word in text.split("/"))
    except ValueError:
        raise UsageError(f"expected --shard i/n such as 0/8, got {text!r}") from None
    if not 0 <= i < n:
        raise UsageError(f"expected --shard i/n with i from 0 to n−1, got {text!r}")
    return i, n


def make_job(
    source: Source,
    streams: tuple[str, ...],
    *,
    frames: int | None = None,
    supersedes: bool = False,
) -> ExtractionTask:
    """Make the task that extracts ``streams`` of a source, weighted by its file size.

    Args:
        source: The video to extract.
        streams: The streams that are missing in the store.
        frames: Number of frames that the store already holds of the video, if any.
        supersedes: Whether the result replaces an extraction of an older source.
    """
    try:
        weight = source.path.stat().st_size
    except OSError:
        weight = 0  # the worker will say what is wrong with it
    return ExtractionTask(
        id=source.id,
        source=source.path.absolute(),
        streams=streams,
        weight=weight,
        frames=frames,
        supersedes=supersedes,
    )


def has_changed(path: Path, video: Video) -> bool:
    """Whether the source differs from the one that was extracted.

    Same size and time of change: no. Otherwise its content decides, so that a copied or
    moved dataset is not taken for another. A source that is gone has not changed.
    """
    known = video.fingerprint
    try:
        now = path.stat()
        if (now.st_size, now.st_mtime_ns) == (known.size, known.mtime_ns):
            return False
        return not Fingerprint.of(path).same_content(known)
    except OSError:
        return False


def may_succeed(path: Path, failure: Failure) -> bool:
    """Whether a video that failed is tried again unasked: a new file, or not at fault then."""
    return failure.retry or is_replaced(path, failure)


def is_replaced(path: Path, failure: Failure) -> bool:
    """Whether the file that failed has been replaced by another since."""
    try:
        now = path.stat()
    except OSError:
        return False
    return (now.st_size, now.st_mtime_ns) != (failure.size, failure.mtime_ns)

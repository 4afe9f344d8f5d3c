"""Messages between the driver and its workers: one `WorkerSetup`, then tasks and outcomes.

All are small and picklable: frames and flow never travel.
"""

from collections.abc import Collection
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal, Protocol, Self

from flowkit.extraction.gpu_timer import GpuTimes
from flowkit.recipe import Recipe

Status = Literal["done", "failed", "stopped"]


class WriterSettings(Protocol):
    """What every worker asks of its setup, to write shards of its own."""

    @property
    def root(self) -> Path:
        """Return the folder of the store."""

    @property
    def recipe(self) -> Recipe:
        """Return the recipe of the store."""

    @property
    def part(self) -> tuple[int, int]:
        """Return the part (i, n) of the store that this run owns."""

    @property
    def roll_bytes(self) -> int:
        """Return the shard size in bytes at which a shard is committed."""

    @property
    def roll_seconds(self) -> float:
        """Return the shard age in seconds at which a shard is committed."""


class WorkerTask(Protocol):
    """A task of a worker: one video, or several that are computed together."""

    @property
    def id(self) -> str:
        """Return the id of the video, or a text that names several."""

    @property
    def source(self) -> Path:
        """Return the path of the source file."""

    @property
    def attempt(self) -> int:
        """Return the number of this attempt, from 1."""

    def divide(self, done: Collection[str]) -> tuple[Self | None, Self | None]:
        """Divide the task into what is in the store already, given those ids, and what is left."""

    def again(self) -> tuple[Self, ...]:
        """Return the tasks to retry after a worker died, so that the video at fault is found."""

    def outcome(self, status: Status, kind: str = "", reason: str = "") -> Any:
        """Make the outcome of the whole task."""


@dataclass(frozen=True, kw_only=True)
class ExtractionTask:
    """One video to extract: the ``streams`` it still lacks.

    ``weight`` is the size of the source in bytes, by which progress and order go.
    ``frames`` is the number of frames that the store already holds of it, which a stream
    that is added must match; None where it holds none. ``supersedes``: the store holds an
    extraction of an older source, which this one replaces.
    """

    id: str
    source: Path
    streams: tuple[str, ...]
    weight: int = 0
    frames: int | None = None
    supersedes: bool = False
    attempt: int = 1

    def divide(
        self, done: Collection[str]
    ) -> tuple["ExtractionTask | None", "ExtractionTask | None"]:
        """See `WorkerTask`."""
        return (self, None) if self.id in done else (None, self)

    def again(self) -> tuple["ExtractionTask", ...]:
        """Return the same task, one attempt later."""
        return (replace(self, attempt=self.attempt + 1),)

    def outcome(self, status: Status, kind: str = "", reason: str = "") -> "Outcome":
        """Make the outcome of a task whose worker did not return one."""
        return Outcome(
            id=self.id, status=status, kind=kind, reason=reason, attempts=self.attempt
        )  # fmt: skip


@dataclass(kw_only=True)
class Seconds:
    """Where the time of one video went, in seconds of wall clock.

    ``decode`` runs ahead in a thread of its own; ``wait`` is how long the rest of the
    pipeline stood still for it.
    """

    decode: float = 0.0
    wait: float = 0.0
    flow: float = 0.0
    encode: float = 0.0
    write: float = 0.0
    audio: float = 0.0

    def __add__(self, other: "Seconds") -> "Seconds":
        return Seconds(
            **{f.name: getattr(self, f.name) + getattr(other, f.name) for f in fields(self)}
        )


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of a job.

    ``done``: complete in its shard (which commits later); ``failed``: the video is at
    fault, ``kind`` and ``reason`` say how; ``stopped``: the run was asked to end, or lost
    the worker through no fault of the video; it will be done by the next run.
    """

    id: str
    status: Status
    kind: str = ""
    reason: str = ""
    fault: str = ""  # of an internal error: its type and place
    traceback: str = ""  # of an internal error
    attempts: int = 1
    frames: int = 0
    pairs: int = 0
    features: int = 0
    bytes: int = 0
    warnings: tuple[str, ...] = ()
    seconds: Seconds = field(default_factory=Seconds)
    gpu: GpuTimes = field(default_factory=GpuTimes)  # since its process's last outcome

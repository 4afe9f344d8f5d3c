"""Define the messages between the driver and its workers: settings once, then tasks and outcomes.

All are small and picklable; frames and flow are never sent. A stream is what a store holds of a
video: ``rgb``, ``flow``, ``audio``, or the features of a network, ``features/NAME``.
"""

from collections.abc import Collection
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal, Protocol, Self

from flowkit.extraction.gpu_timer import GpuTimes
from flowkit.recipe import StoreRecipe
from flowkit.store import Fingerprint

Status = Literal["done", "failed", "stopped"]


@dataclass(frozen=True, kw_only=True)
class WorkerSettings:
    """The settings that all kinds of workers have."""

    root: Path
    """Folder of the store."""
    recipe: StoreRecipe
    """Recipe of the store."""
    backend: str = ""
    """Optical-flow backend; ``auto`` if it is chosen on the cluster, empty without flow."""
    flow_weights: Path | None = None
    """Weight file of a learned method of optical flow; None without one."""
    lanes: int = 1
    """Number of workers that share a process and its GPU; set by the executor of the run."""
    part: tuple[int, int] = (0, 1)
    """The part (i, n) of the dataset that this run extracts."""
    roll_bytes: int = 1 << 30
    """Shard size in bytes at which a shard is committed."""
    roll_seconds: float = 300.0
    """Age in seconds at which a shard is committed."""


class WorkerTask(Protocol):
    """A task of a worker: one video, or several that are computed together."""

    @property
    def id(self) -> str:
        """Return the id of the video, or a string that names several."""

    @property
    def input_path(self) -> Path:
        """Return the path of what its worker reads: of the video, or of the weights."""

    @property
    def deaths(self) -> tuple[str, ...]:
        """Return the kinds of death of the workers that had the task, as `Diagnosis` names them."""

    def divide(self, done: Collection[str]) -> tuple[Self | None, Self | None]:
        """Divide the task into its videos that are in ``done`` and the others; None if empty."""

    def make_retries(self, death: str) -> tuple[Self, ...]:
        """Return the tasks to retry after a worker died, to find the video that caused it.

        Args:
            death: Kind of the death.
        """

    def make_outcome(self, status: Status, kind: str = "", reason: str = "") -> Any:
        """Make the outcome of the whole task."""


@dataclass(frozen=True, slots=True)
class StoredVideo:
    """What the store says about a video whose RGB frames are read from it."""

    source: str
    """Path of the source that the RGB frames were extracted from."""
    fingerprint: Fingerprint
    """Fingerprint of that source."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ExtractionTask:
    """The task to extract one video."""

    id: str
    """Id of the video."""
    source: Path
    """Path of the source: a file, a frame folder, or the store if its RGB frames are read."""
    streams: tuple[str, ...]
    """The streams to extract."""
    weight: int = 0
    """Size of the source in bytes, for the order of tasks and the progress bar."""
    frame_rate: float | None = None
    """Frames per second of a frame folder; None for a file, or if unknown."""
    stored: StoredVideo | None = None
    """The video of the store whose RGB frames are read; None if they are read from ``source``."""
    frames: int | None = None
    """Number of frames that the store already has of the video, which must match; or None."""
    supersedes: bool = False
    """Whether the result replaces an extraction of an older source."""
    deaths: tuple[str, ...] = ()
    """Kinds of death of the workers that had the task in this run."""

    @property
    def input_path(self) -> Path:
        """See `WorkerTask`."""
        return self.source

    @property
    def attempt(self) -> int:
        """Return the number of this attempt, from 1."""
        return len(self.deaths) + 1

    def divide(
        self, done: Collection[str]
    ) -> tuple["ExtractionTask | None", "ExtractionTask | None"]:
        """See `WorkerTask`."""
        return (self, None) if self.id in done else (None, self)

    def make_retries(self, death: str) -> tuple["ExtractionTask", ...]:
        """Return the same task, one death later."""
        return (replace(self, deaths=(*self.deaths, death)),)

    def make_outcome(self, status: Status, kind: str = "", reason: str = "") -> "Outcome":
        """Make the outcome of a task whose worker did not return one."""
        attempts = self.attempt
        return Outcome(id=self.id, status=status, kind=kind, reason=reason, attempts=attempts)


@dataclass
class Seconds:
    """Wall-clock time in seconds that was spent on one video, by stage."""

    decode: float = 0.0
    """Decoding, in a background thread."""
    wait: float = 0.0
    """Waiting of the other stages for the decoder."""
    flow: float = 0.0
    """Computing flow."""
    encode: float = 0.0
    """Encoding JPEGs."""
    write: float = 0.0
    """Writing to the shard."""
    audio: float = 0.0
    """Extracting audio."""
    network: float = 0.0
    """Running networks that compute features."""

    def __add__(self, other: "Seconds") -> "Seconds":
        return Seconds(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(self)))


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """The result of a task.

    The status ``done`` means that the video is complete in its shard, which is committed later;
    ``failed`` that the video cannot be extracted; ``stopped`` that the run ended before, or that
    the worker was lost for another reason than the video. The next run extracts stopped videos.
    """

    id: str
    """Id of the video."""
    status: Status
    """``done``, ``failed`` or ``stopped``."""
    kind: str = ""
    """Kind of the failure, one word."""
    reason: str = ""
    """Reason of the failure, one line."""
    fault: str = ""
    """Type and location of an internal error, as in ``TypeError at reader.py:120``."""
    traceback: str = ""
    """Traceback of an internal error."""
    attempts: int = 1
    """Number of attempts so far."""
    frames: int = 0
    """Number of frames extracted."""
    pairs: int = 0
    """Number of flow fields computed."""
    features: int = 0
    """Number of features computed."""
    bytes: int = 0
    """Size of the extracted data in bytes."""
    warnings: tuple[str, ...] = ()
    """Warnings of the decoder."""
    has_square_pixels: bool = True
    """Whether the pixels of the source are square."""
    seconds: Seconds = field(default_factory=Seconds)
    """Time by stage."""
    gpu: GpuTimes = field(default_factory=GpuTimes)
    """Busy and idle time of the GPU since the last outcome of the same process."""

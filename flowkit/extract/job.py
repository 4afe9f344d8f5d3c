"""What passes between driver and workers: a setup once, then jobs out and outcomes back.

All of it is small and picklable; pixels never travel.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Literal

from flowkit.decode import VideoReader
from flowkit.extract.occupancy import GPUTime
from flowkit.recipe import Recipe


@dataclass(frozen=True, kw_only=True)
class Setup:
    """What every worker of a run needs to know.

    ``backend`` is a flow backend ("auto" where only a cluster can say which), ``lanes`` how
    many workers share a process and its GPU, ``part`` the (i, n) that this run owns,
    ``roll_bytes`` and ``roll_seconds`` when a shard is committed. ``open_video`` is called
    as ``open_video(path, resize, fps)`` and must give what :class:`VideoReader` gives.
    """

    root: Path
    recipe: Recipe
    backend: str
    lanes: int = 1
    part: tuple[int, int] = (0, 1)
    min_frames: int = 2
    roll_bytes: int = 1 << 30
    roll_seconds: float = 300.0
    open_video: Callable[..., VideoReader] = VideoReader


@dataclass(frozen=True, kw_only=True)
class Job:
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
    status: Literal["done", "failed", "stopped"]
    kind: str = ""
    reason: str = ""
    attempts: int = 1
    frames: int = 0
    pairs: int = 0
    bytes: int = 0
    warnings: tuple[str, ...] = ()
    seconds: Seconds = field(default_factory=Seconds)
    gpu: GPUTime = field(default_factory=GPUTime)  # since its process's last outcome

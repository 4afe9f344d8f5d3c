"""Define the options of all runs over a store, and those of an extraction."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from flowkit.decode import FrameReader, VideoReader
from flowkit.errors import UsageError
from flowkit.recipe.recipe import MAX_FPS
from flowkit.streams import DEFAULT_STREAMS, STREAMS


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """The options that all kinds of runs over a store have.

    Raises:
        UsageError: Options contradict one another.
    """

    workers: int | None = None
    """Number of videos to extract at once. None: one per core; 0: this process, without Ray."""
    part: tuple[int, int] = (0, 1)
    """The part (i, n) of the videos that this run works on, as in ``--shard i/n``; not a file."""
    limit: int | None = None
    """Largest number of videos to work on. None: all."""
    retry_failed: bool = False
    """Try videos again that failed in earlier runs."""
    address: str | None = None
    """Address of the Ray cluster to use. None: ``RAY_ADDRESS``, or a cluster of this machine."""
    stall_seconds: float = 300.0
    """Seconds without progress after which a worker is killed and its video given up."""
    roll_bytes: int = 1 << 30
    """Shard size in bytes at which a shard is committed."""
    roll_seconds: float = 300.0
    """Age in seconds at which a shard is committed."""
    recover_seconds: float = 30.0
    """Seconds that recovery waits for shards which workers of a killed run still write."""

    def __post_init__(self) -> None:
        if self.workers == 0 and self.address is not None:
            raise UsageError("--workers 0 works without Ray; expected no --address with it")
        if not self.stall_seconds > 0:
            raise UsageError(f"stall-seconds must be positive, got {self.stall_seconds}")


@dataclass(frozen=True, kw_only=True)
class Options(RunOptions):
    """How an extraction is executed. What the store contains is set by the recipe, not here.

    Raises:
        UsageError: An option is out of range, or options contradict one another.
    """

    streams: tuple[str, ...] = DEFAULT_STREAMS
    """The streams to extract: ``rgb``, ``flow``, ``audio``."""
    lanes: int | None = None
    """Number of videos that share the GPU with ``workers=0``. None: one for each core."""
    backend: str = "auto"
    """Name of the optical-flow backend; ``auto`` chooses one."""
    flow_weights: Path | None = None
    """Weight file of a learned method; None for the file in PyTorch's cache."""
    frame_rate: float | None = None
    """Frames per second of frame folders for which the labels state none. None: not stated."""
    update: bool = False
    """Extract videos again whose source has changed."""
    min_frames: int = 2
    """Smallest number of frames; shorter videos fail."""
    open_video: Callable[..., FrameReader] = VideoReader
    """Function that opens a video, called as ``open_video(path, resize, fps)``."""

    def __post_init__(self) -> None:
        super().__post_init__()
        unknown = set(self.streams) - set(STREAMS)
        if unknown or not self.streams:
            known = ", ".join(STREAMS)
            raise UsageError(f"streams are {known}; got {', '.join(sorted(unknown))!r}")
        if self.lanes is not None and (self.lanes < 1 or self.workers != 0):
            raise UsageError(
                f"lanes are the threads of workers=0, at least 1; got lanes={self.lanes} with "
                f"workers={self.workers}"
            )
        if self.frame_rate is not None and not 0 < self.frame_rate <= MAX_FPS:
            raise UsageError(
                f"frame-rate must be above 0 and at most {MAX_FPS}, got {self.frame_rate}"
            )

"""The options of an extraction run."""

from collections.abc import Callable
from dataclasses import dataclass

from flowkit.decode import VideoReader
from flowkit.errors import UsageError
from flowkit.streams import DEFAULT_STREAMS, STREAMS


@dataclass(frozen=True, kw_only=True)
class Options:
    """How a run is executed. What the store contains is set by the recipe, not here.

    Raises:
        UsageError: An option is out of range, or options contradict one another.
    """

    streams: tuple[str, ...] = DEFAULT_STREAMS
    """The streams to extract: ``rgb``, ``flow``, ``audio``."""
    workers: int | None = None
    """Number of Ray actors, each with one core or GPU. None: all; 0: this process, without Ray."""
    lanes: int | None = None
    """Number of videos that share the GPU with ``workers=0``. None: one for each core."""
    part: tuple[int, int] = (0, 1)
    """The part (i, n) of the videos that this run extracts, as in ``--shard i/n``."""
    backend: str = "auto"
    """Name of the optical-flow backend; ``auto`` chooses one."""
    limit: int | None = None
    """Largest number of videos to extract. None: all."""
    update: bool = False
    """Extract videos again whose source has changed."""
    retry_failed: bool = False
    """Try videos again that failed in earlier runs."""
    address: str | None = None
    """Address of the Ray cluster to join. None: ``RAY_ADDRESS``, or a cluster of this machine."""
    min_frames: int = 2
    """Smallest number of frames; shorter videos fail."""
    stall_seconds: float = 300.0
    """Seconds without a new frame after which a video is given up."""
    roll_bytes: int = 1 << 30
    """Shard size in bytes at which a shard is committed."""
    roll_seconds: float = 300.0
    """Age in seconds at which a shard is committed."""
    recover_seconds: float = 30.0
    """Seconds that recovery waits for shards which workers of a killed run still write."""
    open_video: Callable[..., VideoReader] = VideoReader
    """Function that opens a video, called as ``open_video(path, resize, fps)``."""

    def __post_init__(self) -> None:
        unknown = set(self.streams) - set(STREAMS)
        if unknown or not self.streams:
            known = ", ".join(STREAMS)
            raise UsageError(f"streams are {known}; got {', '.join(sorted(unknown))!r}")
        if self.workers == 0 and self.address is not None:
            raise UsageError("--workers 0 works without Ray; expected no --address with it")
        if self.lanes is not None and (self.lanes < 1 or self.workers != 0):
            raise UsageError(
                f"lanes are the threads of workers=0, at least 1; got lanes={self.lanes} with "
                f"workers={self.workers}"
            )
        if not self.stall_seconds > 0:
            raise UsageError(f"stall-seconds must be positive, got {self.stall_seconds}")

"""The options of a run."""

from collections.abc import Callable
from dataclasses import dataclass

from flowkit.decode import VideoReader
from flowkit.errors import UsageError


@dataclass(frozen=True, kw_only=True)
class Options:
    """How a run is done; nothing here changes what the bytes of a store mean.

    ``workers``: Ray actors, one core (or GPU) each; None takes all cores, 0 works in this
    process without Ray. ``lanes``: videos that share the GPU at once with ``workers=0``; None takes
    one for each core. ``part`` is (i, n) of ``--shard``. ``address`` joins a Ray cluster.
    A video that shows no new frame for ``stall_seconds`` is given up.
    """

    streams: tuple[str, ...] = ("rgb", "flow")
    workers: int | None = None
    lanes: int | None = None
    part: tuple[int, int] = (0, 1)
    backend: str = "auto"
    limit: int | None = None
    update: bool = False
    retry_failed: bool = False
    address: str | None = None
    min_frames: int = 2
    stall_seconds: float = 300.0
    roll_bytes: int = 1 << 30
    roll_seconds: float = 300.0
    recover_seconds: float = 30.0
    open_video: Callable[..., VideoReader] = VideoReader

    def __post_init__(self) -> None:
        unknown = set(self.streams) - {"rgb", "flow", "audio"}
        if unknown or not self.streams:
            raise UsageError(f"streams are rgb, flow and audio; got {', '.join(sorted(unknown))!r}")
        if self.workers == 0 and self.address is not None:
            raise UsageError("--workers 0 works without Ray; expected no --address with it")
        if self.lanes is not None and (self.lanes < 1 or self.workers != 0):
            raise UsageError(
                f"lanes are the threads of workers=0, at least 1; got lanes={self.lanes} with "
                f"workers={self.workers}"
            )
        if not self.stall_seconds > 0:
            raise UsageError(f"stall-seconds must be positive, got {self.stall_seconds}")

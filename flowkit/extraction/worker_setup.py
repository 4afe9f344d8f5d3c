"""What every worker of a run is told once: small and picklable."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from flowkit.decode import VideoReader
from flowkit.extraction.actors import Size, choose_size, uses_gpu
from flowkit.extraction.gpu_timer import Occupancy
from flowkit.extraction.worker import Worker
from flowkit.flow import resolve_backend
from flowkit.recipe import Recipe


class Pace(Protocol):
    """What Ray's cluster and the driver ask of a run's options."""

    @property
    def workers(self) -> int | None: ...
    @property
    def stall_seconds(self) -> float: ...
    @property
    def address(self) -> str | None: ...


class Trade(Protocol):
    """What the driver and its actors ask of a setup, whatever their workers do."""

    @property
    def root(self) -> Path: ...
    @property
    def backend(self) -> str: ...
    @property
    def part(self) -> tuple[int, int]: ...
    @property
    def needs_gpu(self) -> bool: ...

    def check_node(self) -> None:
        """FlowkitError where this machine cannot do the work."""

    def choose_size(self, nodes: list[dict[str, Any]], asked: int | None, jobs: int) -> Size:
        """How many workers; ``nodes`` as ``ray.nodes()`` lists them."""

    def make_worker(self, place: str | None = None, occupancy: Occupancy | None = None) -> Any:
        """What `Worker` is: it extracts, beats, warms up, stops and closes."""


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

    @property
    def needs_gpu(self) -> bool:
        """Whether each worker needs a GPU, or a share of one."""
        return uses_gpu(self.backend)

    def check_node(self) -> None:
        """See `Trade`."""
        if self.backend:
            resolve_backend(self.backend)

    def choose_size(self, nodes: list[dict[str, Any]], asked: int | None, jobs: int) -> Size:
        """See `Trade`."""
        return choose_size(nodes, self.backend, asked, jobs)

    def make_worker(self, place: str | None = None, occupancy: Occupancy | None = None) -> Worker:
        """See `Trade`."""
        return Worker(self, place, occupancy)

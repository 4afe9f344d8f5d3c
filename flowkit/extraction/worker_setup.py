"""Define the settings that every worker receives once; they are small and picklable."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from flowkit.decode import VideoReader
from flowkit.extraction.actors import PoolSize, choose_size, uses_gpu
from flowkit.extraction.gpu_timer import GpuTimer
from flowkit.extraction.worker import Worker
from flowkit.flow import resolve_backend
from flowkit.recipe import Recipe


class PoolOptions(Protocol):
    """Options of a run that decide how its Ray actors are started and watched."""

    @property
    def workers(self) -> int | None:
        """Return the number of workers, or None for one per core or GPU."""

    @property
    def stall_seconds(self) -> float:
        """Return after how many seconds without progress a worker counts as stalled."""

    @property
    def address(self) -> str | None:
        """Return the address of the Ray cluster, or None for a local one."""


class WorkerFactory(Protocol):
    """Settings that make workers, for extraction and for features."""

    @property
    def root(self) -> Path:
        """Return the folder of the store."""

    @property
    def backend(self) -> str:
        """Return the name of the compute backend."""

    @property
    def part(self) -> tuple[int, int]:
        """Return the part (i, n) of the store that this run owns."""

    @property
    def needs_gpu(self) -> bool:
        """Return whether each worker needs a GPU, or a share of one."""

    def check_node(self) -> None:
        """Raise FlowkitError if this machine cannot run a worker."""

    def choose_size(self, nodes: list[dict[str, Any]], asked: int | None, jobs: int) -> PoolSize:
        """Choose the number of workers; ``nodes`` as ``ray.nodes()`` lists them."""

    def make_worker(self, place: str | None = None, occupancy: GpuTimer | None = None) -> Any:
        """Make an object with the methods of `Worker`."""


@dataclass(frozen=True, kw_only=True)
class WorkerSetup:
    """Settings of the workers of an extraction."""

    root: Path
    """Folder of the store."""
    recipe: Recipe
    """Recipe of the store."""
    backend: str
    """Optical-flow backend; ``auto`` if only the cluster can tell, empty without flow."""
    lanes: int = 1
    """Number of workers that share a process and its GPU."""
    part: tuple[int, int] = (0, 1)
    """The part (i, n) of the store that this run owns."""
    min_frames: int = 2
    """Smallest number of frames that a video may have."""
    roll_bytes: int = 1 << 30
    """Shard size in bytes at which a shard is committed."""
    roll_seconds: float = 300.0
    """Age in seconds at which a shard is committed."""
    open_video: Callable[..., VideoReader] = VideoReader
    """Function that opens a video, called as ``open_video(path, resize, fps)``."""

    @property
    def needs_gpu(self) -> bool:
        """Return whether each worker needs a GPU, or a share of one."""
        return uses_gpu(self.backend)

    def check_node(self) -> None:
        """See `WorkerFactory`."""
        if self.backend:
            resolve_backend(self.backend)

    def choose_size(self, nodes: list[dict[str, Any]], asked: int | None, jobs: int) -> PoolSize:
        """See `WorkerFactory`."""
        return choose_size(nodes, self.backend, asked, jobs)

    def make_worker(self, place: str | None = None, occupancy: GpuTimer | None = None) -> Worker:
        """See `WorkerFactory`."""
        return Worker(self, place, occupancy)

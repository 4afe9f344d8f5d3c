"""Setup that every worker of a feature run receives once; small and picklable."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from flowkit.errors import FlowkitError, UsageError
from flowkit.extraction.actors import PoolSize
from flowkit.extraction.gpu_timer import GpuTimer
from flowkit.recipe import Recipe
from train.features.network import NetworkOptions
from train.features.worker import Worker


@dataclass(frozen=True, kw_only=True)
class WorkerSetup:
    """Settings of the workers that compute features; a `WorkerFactory` of the extraction."""

    root: Path
    """Folder of the store."""
    name: str
    """Name of the feature set."""
    recipe: Recipe
    """Recipe of the store, including the feature set."""
    network_options: NetworkOptions
    """The network to load."""
    device: str = "cpu"
    """Device of the network: "cpu" or "cuda"."""
    precision: str = "float32"
    """Dtype that the network computes in."""
    batch: int = 32
    """Images, clips or patches per batch."""
    readers: int = 0
    """Reader processes per worker; 0 reads in a thread."""
    threads: int = 1
    """PyTorch CPU threads per worker."""
    part: tuple[int, int] = (0, 1)
    """(i, n) of ``--shard``."""
    roll_bytes: int = 1 << 30
    """Size in bytes at which a shard is committed."""
    roll_seconds: float = 300.0
    """Age in seconds at which a shard is committed."""
    lanes: int = 1
    """Lanes of each actor; set by the driver."""
    backend: str = ""
    """Flow backend; empty, because features need none."""

    @property
    def stream(self) -> str:
        """Return the name of the stream that is written."""
        return f"features/{self.name}"

    @property
    def needs_gpu(self) -> bool:
        """Return whether each worker needs a GPU."""
        return self.device == "cuda"

    def check_node(self) -> None:
        """Check that this machine has the device.

        Raises:
            UsageError: It has no CUDA GPU.
        """
        if self.device == "cuda" and not torch.cuda.is_available():
            raise UsageError("device cuda: torch sees no CUDA GPU here; take --device cpu")

    def choose_size(self, nodes: list[dict[str, Any]], asked: int | None, jobs: int) -> PoolSize:
        """Choose one worker per GPU, or per group of cores.

        Args:
            nodes: Nodes as ``ray.nodes()`` lists them.
            asked: Requested number of workers, or None for as many as fit.
            jobs: Number of tasks.

        Returns:
            The size of the pool of actors.

        Raises:
            FlowkitError: Ray knows of no GPU.
        """
        alive = [node["Resources"] for node in nodes if node["Alive"]]
        if self.device != "cuda":
            cores = int(sum(node.get("CPU", 0) for node in alive))
            workers = max(1, min(asked or cores // self.threads, jobs))
            return PoolSize(workers, 1, workers, 0, min(self.threads, max(1, cores // workers)))
        with_gpu = [node for node in alive if node.get("GPU", 0) >= 1]
        if not with_gpu:
            raise FlowkitError(
                "device cuda: Ray knows of no GPU; start its nodes with --num-gpus, or take "
                "--device cpu"
            )
        workers = max(1, min(asked or int(sum(n["GPU"] for n in with_gpu)), jobs))
        share = min(int(node.get("CPU", 1) // node["GPU"]) for node in with_gpu)
        return PoolSize(workers, 1, workers, 1, max(1, min(share, self.readers + 1)))

    def make_worker(self, place: str | None = None, occupancy: GpuTimer | None = None) -> Worker:
        """Create the worker of one process; GPUs are not shared, so the timer is unused."""
        return Worker(self, place)

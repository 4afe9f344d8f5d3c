"""What every worker of a run is told once: small and picklable."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from flowkit.errors import FlowkitError, UsageError
from flowkit.extraction.actors import PoolSize
from flowkit.extraction.gpu_timer import GpuTimer
from flowkit.recipe import Recipe
from train.features.network import Wanted
from train.features.worker import Worker


@dataclass(frozen=True, kw_only=True)
class WorkerSetup:
    """Settings of the workers that compute features; a `WorkerFactory` of extraction.

    ``name`` of the features; ``recipe`` of the store, with theirs. ``batch``: images, clips or
    patches that go through the network at once. ``readers``: processes that read for a worker, 0
    for a thread; ``threads`` of torch. A shard is committed at ``roll_bytes`` or ``roll_seconds``.
    """

    root: Path
    name: str
    recipe: Recipe
    wanted: Wanted
    device: str = "cpu"
    precision: str = "float32"
    batch: int = 32
    readers: int = 0
    threads: int = 1
    part: tuple[int, int] = (0, 1)
    roll_bytes: int = 1 << 30
    roll_seconds: float = 300.0
    lanes: int = 1
    backend: str = ""

    @property
    def stream(self) -> str:
        """The stream that is made."""
        return f"features/{self.name}"

    @property
    def needs_gpu(self) -> bool:
        """Whether each worker needs a GPU."""
        return self.device == "cuda"

    def check_node(self) -> None:
        """UsageError where this machine has no such device."""
        if self.device == "cuda" and not torch.cuda.is_available():
            raise UsageError("device cuda: torch sees no CUDA GPU here; take --device cpu")

    def choose_size(self, nodes: list[dict[str, Any]], asked: int | None, jobs: int) -> PoolSize:
        """One worker for each GPU, or for each core; ``nodes`` as ``ray.nodes()`` lists them."""
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
        """A worker for one process; GPUs are not shared, so nobody counts who is at one."""
        return Worker(self, place)

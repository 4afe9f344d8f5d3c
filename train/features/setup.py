"""Define the setup that every worker of a feature run receives once; small and picklable."""

from dataclasses import dataclass
from typing import Any

import torch

from flowkit.errors import FlowkitError, UsageError
from flowkit.extraction.actors import PoolSize
from flowkit.extraction.gpu_timer import GpuTimer
from flowkit.extraction.worker_setup import WorkerFactory
from train.features.worker import Worker
from train.features.worker_settings import FeatureSettings


@dataclass(frozen=True, kw_only=True)
class WorkerSetup(FeatureSettings, WorkerFactory):
    """Settings of the workers that compute features, and how the workers are made from them."""

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
            raise UsageError("device cuda: PyTorch finds no CUDA GPU here; use --device cpu")

    def choose_size(
        self, nodes: list[dict[str, Any]], requested_workers: int | None, tasks: int
    ) -> PoolSize:
        """Choose one worker per GPU, or per group of cores.

        Args:
            nodes: Nodes as ``ray.nodes()`` lists them.
            requested_workers: Requested number of workers, or None for as many as fit.
            tasks: Number of tasks.

        Returns:
            The size of the pool of actors.

        Raises:
            FlowkitError: Ray knows of no GPU.
        """
        alive = [node["Resources"] for node in nodes if node["Alive"]]
        if self.device != "cuda":
            cores = int(sum(node.get("CPU", 0) for node in alive))
            workers = max(1, min(requested_workers or cores // self.threads, tasks))
            return PoolSize(workers, 1, workers, 0, min(self.threads, max(1, cores // workers)))
        with_gpu = [node for node in alive if node.get("GPU", 0) >= 1]
        if not with_gpu:
            raise FlowkitError(
                "device cuda: Ray knows of no GPU; start its nodes with --num-gpus, or use "
                "--device cpu"
            )
        workers = max(1, min(requested_workers or int(sum(n["GPU"] for n in with_gpu)), tasks))
        cores_per_gpu = min(int(node.get("CPU", 1) // node["GPU"]) for node in with_gpu)
        return PoolSize(workers, 1, workers, 1, max(1, min(cores_per_gpu, self.readers + 1)))

    def make_worker(self, host: str | None = None, gpu_timer: GpuTimer | None = None) -> Worker:
        """Create the worker of one process; GPUs are not shared, so the timer is unused."""
        return Worker(self, host)

"""Define the settings that every worker receives once, and how workers are made from them."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

from flowkit.extraction.actors import PoolSize, choose_size, uses_gpu
from flowkit.extraction.gpu_timer import GpuTimer
from flowkit.extraction.learned_flow import load_method
from flowkit.extraction.tasks import WorkerSettings
from flowkit.extraction.worker import ExtractionSettings, Worker
from flowkit.flow import resolve_backend


@dataclass(frozen=True, kw_only=True)
class WorkerFactory(WorkerSettings, ABC):
    """Settings that make workers.

    The methods that are not abstract suit workers that compute only flow on a GPU.
    """

    @property
    def gpu_stages(self) -> tuple[str, ...]:
        """Return the stages of a worker that compute on its GPU."""
        return ("flow",)

    @property
    def needs_gpu(self) -> bool:
        """Return whether each worker needs a GPU, alone or shared with other workers."""
        return uses_gpu(self.backend)

    def check_node(self) -> None:
        """Raise FlowkitError if this machine cannot run a worker."""
        if load_method(self) is None and self.backend:
            resolve_backend(self.backend)

    def choose_size(
        self, nodes: list[dict[str, Any]], requested_workers: int | None, tasks: int
    ) -> PoolSize:
        """Choose the number of workers.

        Args:
            nodes: Nodes of the cluster, as ``ray.nodes()`` lists them.
            requested_workers: Number of workers that the user asked for; None for as many as fit.
            tasks: Number of tasks.
        """
        return choose_size(nodes, self.backend, requested_workers, tasks)

    @abstractmethod
    def make_worker(self, host: str | None = None, gpu_timer: GpuTimer | None = None) -> Any:
        """Make an object with the methods of `Worker`.

        Args:
            host: Name of the machine, recorded with each video; None for the host name.
            gpu_timer: Timer that all workers of one GPU share; None for a timer of its own.
        """


@dataclass(frozen=True, kw_only=True)
class WorkerSetup(ExtractionSettings, WorkerFactory):
    """Settings of the workers of an extraction."""

    def make_worker(self, host: str | None = None, gpu_timer: GpuTimer | None = None) -> Worker:
        """See `WorkerFactory`."""
        return Worker(self, host, gpu_timer)

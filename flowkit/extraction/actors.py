"""Actors of a Ray run as the driver sees them, and how many of them are started.

Each lane of an actor has a worker, which extracts one video at a time. On CPUs an actor uses one
core and has one lane. On GPUs an actor uses one GPU and some cores, with one lane for each of these
cores: while some lanes decode, encode and write, others compute flow on the GPU. All actors use the
same number of cores: that of the node with the fewest cores for each of its GPUs.
"""

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from flowkit.errors import FlowkitError
from flowkit.extraction.tasks import WorkerTask
from flowkit.flow import BACKENDS
from flowkit.flow.learned.device import CPU, CUDA


@dataclass(eq=False)
class ActorHandle:
    """An actor as the driver sees it: one process with several lanes."""

    actor: Any
    """Ray's reference to it."""
    crash_path: Path
    """File that the process writes a crash to."""
    lanes: int
    """Number of lanes."""
    trace: str | None = None
    """Crash that the process wrote, read when the actor was found dead, once for all lanes."""


@dataclass(eq=False)
class Lane:
    """A lane as the driver sees it: it works on one task at a time."""

    handle: ActorHandle
    """Its actor."""
    index: int
    """Its index within the actor, from 0."""
    call: Any
    """Ray's reference to the call in progress; None between calls."""
    state: str = "starting"
    """starting → idle ⇄ working → closing."""
    task: WorkerTask | None = None
    """The task in progress."""
    heartbeat: int = -1
    """Last value of the worker's frame counter."""
    heartbeat_call: Any = None
    """Ray's reference to the call that reads the counter; None between such calls."""
    progress_time: float = field(default_factory=time.monotonic)
    """When the counter last changed, by `time.monotonic`."""
    hung: bool = False
    """Whether the driver killed its actor because the counter stood still."""
    fresh: bool = True
    """Whether the lane has had no task yet."""


@dataclass(frozen=True)
class PoolSize:
    """How many actors and lanes a run has."""

    workers: int
    """Number of workers in all lanes."""
    lanes: int
    """Largest number of lanes of an actor."""
    actors: int
    """Largest number of actors at once."""
    gpus: int
    """GPUs of an actor, 0 or 1."""
    cores: int = 1
    """CPU cores of a lane."""


def uses_gpu(backend: str) -> bool:
    """Return whether a flow backend computes on a GPU; "" means no backend.

    The backend of learned flow is its device, which is `CUDA` for a GPU.
    """
    return backend == CUDA or (backend in BACKENDS and BACKENDS[backend].gpu)


def choose_size(
    nodes: list[dict[str, Any]], backend: str, requested_workers: int | None, tasks: int
) -> PoolSize:
    """Choose the number of lanes and actors.

    Args:
        nodes: Nodes of the cluster, as ``ray.nodes()`` lists them.
        backend: Flow backend.
        requested_workers: Number of workers that the user asked for; None for one per core.
        tasks: Number of tasks.

    Returns:
        The size of the pool.

    Raises:
        FlowkitError: The backend needs a GPU, and no node with a core has one.
    """
    alive = [node["Resources"] for node in nodes if node["Alive"]]
    if not uses_gpu(backend):
        cores = int(sum(resources.get("CPU", 0) for resources in alive))
        workers = max(1, min(requested_workers or max(1, cores), tasks))
        return PoolSize(workers, 1, workers, 0)
    # Ray starts no actor on a node without a core.
    with_gpu = [r for r in alive if r.get("GPU", 0) >= 1 and r.get("CPU", 0) >= 1]
    gpus = int(sum(resources["GPU"] for resources in with_gpu))
    if gpus == 0:
        raise FlowkitError(
            f"backend {backend!r} computes on GPUs, and Ray knows of none with a CPU core: "
            "start its nodes with --num-gpus and --num-cpus, or use --backend "
            f"{CPU if backend == CUDA else 'numba'}"
        )
    share = max(1, min(int(resources["CPU"] // resources["GPU"]) for resources in with_gpu))
    workers = max(1, min(requested_workers or gpus * share, gpus * share, tasks))
    actors = min(gpus, workers)
    return PoolSize(workers, min(share, -(-workers // actors)), actors, 1)

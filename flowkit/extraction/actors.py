"""Who does the work of a Ray run: actors with their lanes, and how many of them there are.

On CPUs an actor is one core and has one lane, for one video at a time. On GPUs an actor is one
GPU and that GPU's share of its node's cores, a lane for each: while some lanes decode, encode
and write, others keep the GPU at flow.
"""

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from flowkit.errors import FlowkitError
from flowkit.extraction.tasks import Work
from flowkit.flow import BACKENDS


@dataclass(eq=False)
class Crew:
    """An actor as the driver sees it: a process with ``lanes`` lanes and one journal.

    ``trace`` is what the journal said when the actor was found dead, read once for all lanes.
    """

    actor: Any
    journal: Path
    lanes: int
    trace: str | None = None


@dataclass(eq=False)
class Slot:
    """A lane as the driver sees it.

    ``task`` is the call that it is at; ``fresh``: its actor has had no video yet.
    """

    crew: Crew
    lane: int
    task: Any
    state: str = "starting"  # starting → idle ⇄ working → closing
    job: Work | None = None
    beat: int = -1
    beat_call: Any = None
    alive: float = field(default_factory=time.monotonic)
    hung: bool = False
    fresh: bool = True


@dataclass(frozen=True)
class Size:
    """``workers`` lanes in all, up to ``lanes`` in an actor, up to ``actors`` at once."""

    workers: int
    lanes: int
    actors: int
    gpus: int  # of an actor: 0 or 1
    cores: int = 1  # of a lane


def uses_gpu(backend: str) -> bool:
    """Whether that backend of flow computes on a GPU; "" is no backend."""
    return backend in BACKENDS and BACKENDS[backend].gpu


def choose_size(nodes: list[dict[str, Any]], backend: str, asked: int | None, jobs: int) -> Size:
    """How many lanes and actors for that many jobs; ``nodes`` as ``ray.nodes()`` lists them.

    Raises FlowkitError where the backend needs a GPU and no node has one.
    """
    alive = [node["Resources"] for node in nodes if node["Alive"]]
    cores = int(sum(node.get("CPU", 0) for node in alive))
    if not uses_gpu(backend):
        workers = max(1, min(asked or max(1, cores), jobs))
        return Size(workers, 1, workers, 0)
    with_gpu = [node for node in alive if node.get("GPU", 0) >= 1]
    gpus = int(sum(node["GPU"] for node in with_gpu))
    if gpus == 0:
        raise FlowkitError(
            f"backend {backend!r} computes on GPUs, and Ray knows of none: "
            "start its nodes with --num-gpus, or use --backend numba"
        )
    share = min(int(node.get("CPU", 1) // node["GPU"]) for node in with_gpu)
    workers = max(1, min(asked or gpus * max(1, share), jobs))
    actors = min(gpus, workers)
    lanes = min(max(1, share), -(-workers // actors))
    return Size(workers, lanes, actors, 1)

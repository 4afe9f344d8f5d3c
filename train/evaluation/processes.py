"""Score videos in several processes, which Ray starts: one for each GPU, or on CPU cores.

The processes share nothing, so no process group is needed as in training: each one computes every
n-th batch and sends its scores back, batch by batch. This process, the driver, puts them in order.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch

from flowkit.errors import FlowkitError, UsageError
from flowkit.extraction.failure_diagnosis import shorten_ray_error
from flowkit.extraction.ray_cluster import find_address, open_ray
from flowkit.store import Store
from train.runs.run import RunError, Settings

if TYPE_CHECKING:
    from train.evaluation.scoring import ScoredBatch, ScoringJob


class ScoringActor:
    """A process that scores batches of videos."""

    def score(
        self, task: "ScoringJob", store: str, part: tuple[int, int]
    ) -> Iterator["ScoredBatch"]:
        """Score the batches of one part; see `train.evaluation.scoring.score_batches`."""
        from train.evaluation.scoring import score_batches

        yield from score_batches(task, Store(store), part)


class ScoringProcesses:
    """The processes that score videos together.

    Args:
        ray: The module ``ray``, connected to a cluster.
        actors: Handles of the actors.
    """

    def __init__(self, ray: Any, actors: list[Any]) -> None:
        self.ray, self.actors = ray, actors

    def score(self, task: "ScoringJob", store: Store) -> Iterator["ScoredBatch"]:
        """Score videos in all processes.

        Args:
            task: The network and the videos.
            store: The store with the videos. All machines must find it at the same path.

        Yields:
            The scores of each batch, as they arrive.

        Raises:
            RunError: A process died, or failed.
            FlowkitError: What a process raised on purpose.
        """
        path, world = store.location, len(self.actors)
        reference = self.ray.put(task)
        streams = [
            actor.score.options(num_returns="streaming").remote(reference, path, (rank, world))
            for rank, actor in enumerate(self.actors)
        ]
        while streams:
            (ready, *_), _ = self.ray.wait(streams, num_returns=1)
            try:
                batch = self.ray.get(next(ready))
            except StopIteration:
                streams.remove(ready)
                continue
            except self.ray.exceptions.RayError as error:
                raise self._convert_error(error) from error
            yield batch

    def _convert_error(self, error: Exception) -> FlowkitError:
        """Return the error to raise in place of one of Ray's."""
        is_raised = isinstance(error, self.ray.exceptions.RayTaskError)
        cause: Any = getattr(error, "cause", None) if is_raised else None
        if isinstance(cause, FlowkitError):
            return cause
        if cause is not None:
            reason = " ".join(str(cause).split())[:300]
            return RunError(
                f"a process that scores videos failed: {type(cause).__name__}: {reason}"
            )
        return RunError(
            f"a process that scores videos died: {shorten_ray_error(error)}. If it was short of "
            "memory, use fewer --processes, fewer --workers or a smaller --batch"
        )


@contextmanager
def open_processes(settings: Settings) -> Iterator[ScoringProcesses | None]:
    """Start the processes of the settings, which end with the context.

    Args:
        settings: The number of processes, and their device and resources.

    Yields:
        The processes; None where one process is enough, which is this one.

    Raises:
        UsageError: There are fewer GPUs or cores than processes.
        FlowkitError: Ray cannot be used.
    """
    if settings.processes == 1:
        yield None
        return
    on_gpu = settings.device == "cuda"
    address = find_address(None)
    gpus = torch.cuda.device_count() if on_gpu else 0
    if on_gpu and address is None:
        check_resources(settings.processes, 1, gpus, "GPUs")
    share = {"num_cpus": max(1, settings.workers) if on_gpu else 1, "num_gpus": int(on_gpu)}
    cores = max(len(os.sched_getaffinity(0)), settings.processes * share["num_cpus"])
    with open_ray(address, cores, gpus) as ray:
        resources = ray.cluster_resources()
        for kind, name, count in (
            ("GPU", "GPUs", int(on_gpu)),
            ("CPU", "cores", share["num_cpus"]),
        ):
            if count:
                check_resources(settings.processes, count, int(resources.get(kind, 0)), name)
        actor_class = ray.remote(max_restarts=0, max_task_retries=0, **share)(ScoringActor)
        actors = [actor_class.remote() for _ in range(settings.processes)]
        try:
            yield ScoringProcesses(ray, actors)
        finally:
            for actor in actors:
                ray.kill(actor)


def check_resources(processes: int, each: int, available: int, name: str) -> None:
    """Raise a UsageError if there are fewer GPUs or cores than processes need: they would wait.

    Args:
        processes: Number of processes.
        each: Number of GPUs or cores that each of them needs.
        available: Number of GPUs or cores that there are.
        name: "GPUs" or "cores".
    """
    if available < processes * each:
        need = "" if each == 1 else f", each with {each} {name} for its loader --workers"
        advice = f"use at most {available // each} processes"
        if available < each:
            advice = f"use fewer --workers, and at most {available} processes"
        raise UsageError(f"--processes {processes}{need}: there are {available} {name}; {advice}")

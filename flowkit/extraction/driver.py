"""Drive the actors of a Ray run: keep the queue of tasks, and one video in progress per lane.

    queue ─ task → actor (Worker) ─ outcome → on_outcome
      ↑                 │ dies, or decodes no new frame
      └── retried ──────┘ in a fresh actor; then quarantined, with the reason (failure_diagnosis.py)

What a dead actor left is recovered first: a video that was complete in it is done.
"""

import os
import time
import uuid
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

from flowkit.errors import DeviceError, FlowkitError, StoreError
from flowkit.extraction.actor import Actor
from flowkit.extraction.actors import ActorHandle, Lane
from flowkit.extraction.callbacks import RunCallbacks
from flowkit.extraction.failure_diagnosis import (
    GPU_FAILED,
    diagnose_failure,
    read_trace,
    shorten_ray_error,
)
from flowkit.extraction.internal_errors import make_internal_error
from flowkit.extraction.options import RunOptions
from flowkit.extraction.tasks import Status, WorkerTask
from flowkit.extraction.worker_setup import WorkerFactory
from flowkit.path_text import printable_path
from flowkit.version import __version__

POLL_SECONDS = 1.0
"""Longest wait for calls to end before the workers are checked again, in seconds."""
HEARTBEAT_SECONDS = 5.0
"""Seconds without progress after which a worker's frame counter is read."""
FINISH_SECONDS = 120.0
"""Time in seconds that workers have to commit when the run is asked to stop."""
NODE_SECONDS = 10.0
"""How often to ask the cluster whether nodes have joined it, in seconds."""
MAX_FAILED_STARTS = 3
"""Number of workers in a row that die while they start, after which the run fails."""
MAX_GPU_FAILURES = 5
"""Number of processes in a row that end because their GPU failed, after which the run fails."""


class Driver:
    """Assigns tasks to actors until all have an outcome, or the run is asked to stop."""

    def __init__(
        self,
        ray: Any,
        tasks: Sequence[WorkerTask],
        setup: WorkerFactory,
        options: RunOptions,
        callbacks: RunCallbacks,
    ) -> None:
        self.ray, self.options, self.callbacks = ray, options, callbacks
        self.queue = deque(tasks)
        # Tasks whose workers died; each is tried again alone in a new actor.
        self.suspects: deque[WorkerTask] = deque()
        # A source that this node can read: an actor on a node that does not see it raises an error.
        readable = (task.input_path for task in tasks if os.access(task.input_path, os.R_OK))
        self.sample = next(readable, setup.root)
        self.lanes: list[Lane] = []
        self.started = False
        self.failed_starts = 0
        self.gpu_failures = 0
        self.error: StoreError | None = None
        self.crash_folder = setup.root / "journal"
        self.prefix = "{}-of-{}.".format(*setup.part)
        self.token = f"{self.prefix}seen-{uuid.uuid4().hex}"
        self.num_tasks = len(tasks)
        self.size = setup.choose_size(ray.nodes(), options.workers, len(tasks))
        self.size_time = time.monotonic()
        self.setup = replace(setup, lanes=self.size.lanes)
        self.actor_class = ray.remote(max_restarts=0, max_task_retries=0)(Actor)

    def run(self) -> None:
        """Run all tasks; commit complete videos before an error of the store is raised."""
        self.crash_folder.mkdir(exist_ok=True)
        # This run holds the lock, so any crash file in the folder was left by a killed run.
        for path in self.crash_folder.iterdir():
            if self.setup.part == (0, 1) or path.name.startswith(self.prefix):
                path.unlink(missing_ok=True)
        (self.crash_folder / self.token).touch()
        try:
            while self.queue or self.suspects or self._count_working():
                if self.callbacks.interrupt.is_requested or self.error is not None:
                    break
                self._use_new_nodes()
                self._start_actors()
                self._assign_tasks()
                self._process_calls(POLL_SECONDS)
                self._kill_hung_workers()
            self._finish()
        finally:
            for lane in self.lanes:
                self.ray.kill(lane.handle.actor)
            (self.crash_folder / self.token).unlink(missing_ok=True)
        if self.error is not None:
            raise self.error

    def _count_working(self) -> int:
        return sum(lane.state == "working" for lane in self.lanes)

    def _use_new_nodes(self) -> None:
        """Allow more actors if the cluster has grown; it is asked from time to time.

        The limits do not fall when a node dies: its actors then wait for a node that replaces it.
        """
        if time.monotonic() - self.size_time < NODE_SECONDS:
            return
        self.size_time = time.monotonic()
        # No node may be alive that can run the backend, or the cluster may not answer for a moment.
        with suppress(FlowkitError, self.ray.exceptions.RayError):
            size = self.setup.choose_size(self.ray.nodes(), self.options.workers, self.num_tasks)
            if size.workers > self.size.workers:
                self.size = replace(self.size, workers=size.workers, actors=size.actors)

    def _start_actors(self) -> None:
        """Start actors until each task has a lane, or the limits of `PoolSize` are reached.

        A task whose worker died gets an actor with one lane, so that a second death has one cause.
        """
        busy = [lane for lane in self.lanes if lane.state != "closing"]
        work = len(self.queue) + len(self.suspects) + self._count_working()
        new_lanes = min(self.size.workers, work) - len(busy)
        actors = len({lane.handle for lane in self.lanes})
        single_lanes = sum(lane.fresh and lane.handle.lanes == 1 for lane in busy)
        while new_lanes > 0 and actors < self.size.actors:
            lanes = 1 if len(self.suspects) > single_lanes else min(self.size.lanes, new_lanes)
            self._start_actor(lanes)
            single_lanes += lanes == 1
            actors, new_lanes = actors + 1, new_lanes - lanes

    def _start_actor(self, lanes: int) -> None:
        crash_path = self.crash_folder / f"{self.prefix}{uuid.uuid4().hex}"
        actor = self.actor_class.options(
            num_cpus=lanes * self.size.cores, num_gpus=self.size.gpus, max_concurrency=2 * lanes + 1
        ).remote(self.setup, crash_path, self.token, self.sample, lanes)
        handle, start = ActorHandle(actor, crash_path, lanes), actor.start.remote()
        self.lanes += [Lane(handle, index, start) for index in range(lanes)]

    def _assign_tasks(self) -> None:
        """Give each idle lane a task, or close it if there is none for it."""
        for lane in self.lanes:
            if lane.state != "idle":
                continue
            is_single = lane.handle.lanes == 1
            tasks = self.suspects if is_single and lane.fresh and self.suspects else self.queue
            if is_single and not lane.fresh and self.size.lanes > 1:
                tasks = deque()  # closed, to free its GPU for an actor with all lanes
            if tasks:
                lane.task = tasks.popleft()
                lane.call = lane.handle.actor.extract.remote(lane.task, lane.index)
                lane.state, lane.fresh = "working", False
                lane.heartbeat, lane.progress_time = -1, time.monotonic()
            else:
                self._close_lane(lane)

    def _close_lane(self, lane: Lane) -> None:
        lane.call, lane.state = lane.handle.actor.close.remote(lane.index), "closing"

    def _process_calls(self, seconds: float) -> None:
        """Process the calls that end within ``seconds``."""
        calls: dict[Any, list[Lane]] = {}  # the lanes of an actor start by one call
        for lane in self.lanes:
            if lane.call is not None:
                calls.setdefault(lane.call, []).append(lane)
        if not calls:
            return
        ready, _ = self.ray.wait(list(calls), num_returns=1, timeout=seconds)
        more, _ = self.ray.wait(list(calls), num_returns=len(calls), timeout=0)
        for call in {*ready, *more}:
            for lane in calls[call]:
                lane.call = None
                try:
                    result = self.ray.get(call)
                except self.ray.exceptions.RayActorError as error:
                    self._handle_death(lane, error)
                except self.ray.exceptions.RayError as error:
                    self._handle_error(lane, error)
                else:
                    self._process_result(lane, result)

    def _process_result(self, lane: Lane, result: Any) -> None:
        """Process the result of a call that succeeded."""
        task, lane.task = lane.task, None
        if lane.state == "starting":
            self._check_version(result)
            self.failed_starts = 0
            if not self.started:
                self.started = True
                self.callbacks.on_start(self.size.workers, self.setup.backend)
        elif lane.state == "closing":
            self.error = self.error or result
            self._remove_lane(lane)
            return
        elif isinstance(result, StoreError):
            self.error = self.error or result
            assert task is not None
            self.queue.append(task)
        else:
            self.gpu_failures = 0
            self.callbacks.on_outcome(result)
        lane.state = "idle"

    def _handle_error(self, lane: Lane, error: Exception) -> None:
        """Handle a call that raised: the node cannot run a worker, or flowkit has a bug."""
        self._remove_lane(lane)
        cause = getattr(error, "cause", None) or error
        if isinstance(cause, FlowkitError):
            raise cause
        message = "a worker cannot start" if lane.state == "starting" else "a worker failed"
        raise make_internal_error(message, cause, str(error)) from error

    def _handle_death(self, lane: Lane, error: Exception) -> None:
        """Handle the death of an actor: decide whether this lane's video caused it."""
        trace = self._read_trace(lane, error)
        self._remove_lane(lane)
        task = lane.task
        if task is None:
            return
        time.sleep(0.2)  # until the kernel has released the locks of the dead process
        callbacks = self.callbacks
        done, remaining = task.divide(callbacks.recover())
        if done is not None:
            callbacks.on_outcome(done.make_outcome("done"))
        if remaining is None:
            return
        diagnosis = diagnose_failure(error, trace, lane.hung, self.options.stall_seconds)
        has_tries_left = diagnosis.has_tries_left(remaining.deaths)
        if has_tries_left and not (callbacks.interrupt.is_requested or self.error is not None):
            callbacks.log(f"retrying {remaining.id} in a fresh worker: {diagnosis.reason}")
            self.suspects.extend(remaining.make_retries(diagnosis.kind))
            return
        is_failed = diagnosis.blames_video and not has_tries_left
        status: Status = "failed" if is_failed else "stopped"
        path, deaths = remaining.input_path, diagnosis.count_deaths(remaining.deaths)
        reason = f"{printable_path(path)}: {diagnosis.reason}, {deaths} times"
        if status == "stopped":
            callbacks.log(f"left for the next run: {reason}")
        callbacks.on_outcome(remaining.make_outcome(status, diagnosis.kind, reason))

    def _read_trace(self, lane: Lane, error: Exception) -> str:
        """Read why an actor died, and count its death once for all its lanes."""
        handle = lane.handle
        if handle.trace is not None:
            return handle.trace
        handle.trace = read_trace(handle.crash_path)
        if lane.state == "starting":
            self.failed_starts += 1
            if self.failed_starts >= MAX_FAILED_STARTS:
                reason = handle.trace or shorten_ray_error(error)
                raise FlowkitError(f"workers die while they start: {reason}")
        if handle.trace.startswith(GPU_FAILED):
            self.gpu_failures += 1
            if self.gpu_failures >= MAX_GPU_FAILURES:
                reason = handle.trace.removeprefix(GPU_FAILED)
                raise DeviceError(
                    f"{MAX_GPU_FAILURES} workers in a row ended because their GPU failed (the "
                    f"last: {reason}); see nvidia-smi and the kernel's log"
                )
        return handle.trace

    def _kill_hung_workers(self) -> None:
        """Kill workers that have produced no new frame for ``stall_seconds``."""
        now = time.monotonic()
        stall_seconds = self.options.stall_seconds
        for lane in [lane for lane in self.lanes if lane.state == "working"]:
            if lane.heartbeat_call is not None:
                ready, _ = self.ray.wait([lane.heartbeat_call], timeout=0)
                if ready:
                    self._read_heartbeat(lane, now)
            elif now - lane.progress_time >= min(HEARTBEAT_SECONDS, stall_seconds / 4):
                lane.heartbeat_call = lane.handle.actor.read_heartbeat.remote(lane.index)
            if now - lane.progress_time > stall_seconds and not lane.hung:
                lane.hung = True
                self.ray.kill(lane.handle.actor)

    def _read_heartbeat(self, lane: Lane, now: float) -> None:
        call, lane.heartbeat_call = lane.heartbeat_call, None
        with suppress(self.ray.exceptions.RayError):  # the call in progress tells what happened
            heartbeat, share = self.ray.get(call)
            if lane.task is not None:
                self.callbacks.on_progress(lane.task.id, share)
            if heartbeat != lane.heartbeat:
                lane.heartbeat, lane.progress_time = heartbeat, now

    def _finish(self) -> None:
        """Let every worker commit its complete videos; videos in progress are abandoned."""
        for lane in self.lanes:
            if lane.state == "working":
                lane.handle.actor.stop.remote(lane.index)
        deadline = time.monotonic() + FINISH_SECONDS
        while time.monotonic() < deadline:
            for lane in list(self.lanes):
                if lane.state == "idle":
                    self._close_lane(lane)
                elif lane.state == "starting":
                    self._remove_lane(lane)
            if not self.lanes:
                return
            self._process_calls(POLL_SECONDS)
        count = len(self.lanes)
        self.callbacks.log(f"{count} workers did not commit in time; the next run recovers them")

    def _remove_lane(self, lane: Lane) -> None:
        """Remove a lane, and kill its actor if it was the last one."""
        self.lanes.remove(lane)
        if any(other.handle is lane.handle for other in self.lanes):
            return
        self.ray.kill(lane.handle.actor)
        lane.handle.crash_path.unlink(missing_ok=True)

    def _check_version(self, answer: str) -> None:
        host, version = answer.rsplit(" ", 1)
        if version != __version__:
            raise FlowkitError(
                f"node {host} has flowkit {version}, this one {__version__}: "
                "install the same version on every node"
            )

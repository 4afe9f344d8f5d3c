"""The driver of a Ray run: one video in flight per lane, and the queue in one place.

    queue ─ job → actor (Worker) ─ outcome → count
      ↑                 │ dies, or shows no new frame
      └── once more ────┘ in a fresh actor; then quarantined, with the reason (failure_diagnosis.py)

The shard of a dead actor is recovered first: a video that was complete in it is done.
"""

import os
import time
import uuid
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from flowkit.errors import DeviceError, FlowkitError, StoreError
from flowkit.extraction.actor import Actor
from flowkit.extraction.actors import Crew, Slot
from flowkit.extraction.failure_diagnosis import GPU_FAILED, first_line, judge, read_trace
from flowkit.extraction.internal_errors import make_internal_error
from flowkit.extraction.interrupt import Interrupt
from flowkit.extraction.tasks import Status, Work
from flowkit.extraction.worker_setup import Pace, Trade
from flowkit.path_text import printable_path
from flowkit.store import recover
from flowkit.version import __version__

POLL_SECONDS = 1.0
BEAT_SECONDS = 5.0
FINISH_SECONDS = 120.0  # for workers to commit when the run is asked to end
STARTS = 3  # workers that may die in a row while they start
GPU_FAILURES = 5  # processes in a row that may end because their GPU failed


class Driver:
    """Hands out jobs to actors until all have an outcome, or the run is asked to end."""

    def __init__(
        self,
        ray: Any,
        jobs: Sequence[Work],
        setup: Trade,
        options: Pace,
        begin: Callable[[int, str], None],
        count: Callable[[Any], None],
        interrupt: Interrupt,
        log: Callable[[str], None],
    ) -> None:
        self.ray, self.setup, self.options = ray, setup, options
        self.begin, self.count, self.interrupt, self.log = begin, count, interrupt, log
        self.queue = deque(jobs)
        self.suspects: deque[Work] = deque()  # their workers died: each waits for a fresh one
        # A video that this node sees: another node that does not is unfit.
        seen = (job.source for job in jobs if os.access(job.source, os.R_OK))
        self.sample = next(seen, setup.root)
        self.slots: list[Slot] = []
        self.started = False
        self.failed_starts = 0
        self.gpu_failures = 0
        self.error: StoreError | None = None
        self.journals = setup.root / "journal"
        self.prefix = "{}-of-{}.".format(*setup.part)
        self.token = f"{self.prefix}seen-{uuid.uuid4().hex}"
        self.size = setup.choose_size(ray.nodes(), options.workers, len(jobs))
        self.setup = replace(setup, lanes=self.size.lanes)  # type: ignore[type-var]
        self.actor_class = ray.remote(max_restarts=0, max_task_retries=0)(Actor)

    def run(self) -> None:
        """Work; raises what made the store unusable after everything complete is committed."""
        self.journals.mkdir(exist_ok=True)
        for left in self.journals.iterdir():  # by a killed run, since this one holds the lock
            if self.setup.part == (0, 1) or left.name.startswith(self.prefix):
                left.unlink(missing_ok=True)
        (self.journals / self.token).touch()
        try:
            while self.queue or self.suspects or self._working():
                if self.interrupt.asked or self.error is not None:
                    break
                self._hire()
                self._assign()
                self._step(POLL_SECONDS)
                self._watch()
            self._finish()
        finally:
            for slot in self.slots:
                self.ray.kill(slot.crew.actor)
            (self.journals / self.token).unlink(missing_ok=True)
        if self.error is not None:
            raise self.error

    def _working(self) -> int:
        return sum(slot.state == "working" for slot in self.slots)

    def _hire(self) -> None:
        """As many lanes as there is work for, up to the number of workers and of GPUs.

        A suspect gets a process of its own, of one lane: what happens there is its own doing.
        """
        busy = [slot for slot in self.slots if slot.state != "closing"]
        work = len(self.queue) + len(self.suspects) + self._working()
        room = min(self.size.workers, work) - len(busy)
        crews = len({slot.crew for slot in self.slots})
        loners = sum(slot.fresh and slot.crew.lanes == 1 for slot in busy)
        while room > 0 and crews < self.size.actors:
            lanes = 1 if len(self.suspects) > loners else min(self.size.lanes, room)
            self._start_crew(lanes)
            loners += lanes == 1
            crews, room = crews + 1, room - lanes

    def _start_crew(self, lanes: int) -> None:
        journal = self.journals / f"{self.prefix}{uuid.uuid4().hex}"
        actor = self.actor_class.options(
            num_cpus=lanes * self.size.cores, num_gpus=self.size.gpus, max_concurrency=2 * lanes + 1
        ).remote(self.setup, journal, self.token, self.sample, lanes)
        crew, start = Crew(actor, journal, lanes), actor.start.remote()
        self.slots += [Slot(crew, lane, start) for lane in range(lanes)]

    def _assign(self) -> None:
        for slot in self.slots:
            if slot.state != "idle":
                continue
            alone = slot.crew.lanes == 1
            jobs = self.suspects if alone and slot.fresh and self.suspects else self.queue
            if alone and not slot.fresh and self.size.lanes > 1:
                jobs = deque()  # its GPU is for a whole crew again
            if jobs:
                slot.job = jobs.popleft()
                slot.task = slot.crew.actor.extract.remote(slot.job, slot.lane)
                slot.state, slot.alive, slot.beat = "working", time.monotonic(), -1
                slot.fresh = False
            else:
                self._close(slot)

    def _close(self, slot: Slot) -> None:
        slot.task, slot.state = slot.crew.actor.close.remote(slot.lane), "closing"

    def _step(self, seconds: float) -> None:
        """Take in whatever tasks have ended within ``seconds``."""
        tasks: dict[Any, list[Slot]] = {}  # the lanes of an actor start by one task
        for slot in self.slots:
            if slot.task is not None:
                tasks.setdefault(slot.task, []).append(slot)
        if not tasks:
            return
        ready, _ = self.ray.wait(list(tasks), num_returns=1, timeout=seconds)
        more, _ = self.ray.wait(list(tasks), num_returns=len(tasks), timeout=0)
        for task in {*ready, *more}:
            for slot in tasks[task]:
                slot.task = None
                try:
                    result = self.ray.get(task)
                except self.ray.exceptions.RayActorError as error:
                    self._lose(slot, error)
                except self.ray.exceptions.RayError as error:
                    self._fault(slot, error)
                else:
                    self._take(slot, result)

    def _take(self, slot: Slot, result: Any) -> None:
        """A task ended well."""
        job, slot.job = slot.job, None
        if slot.state == "starting":
            self._check_version(result)
            self.failed_starts = 0
            if not self.started:
                self.started = True
                self.begin(self.size.workers, self.setup.backend)
        elif slot.state == "closing":
            self.error = self.error or result
            self._dismiss(slot)
            return
        elif isinstance(result, StoreError):
            self.error = self.error or result
            assert job is not None
            self.queue.append(job)
        else:
            self.gpu_failures = 0
            self.count(result)
        slot.state = "idle"

    def _fault(self, slot: Slot, error: Exception) -> None:
        """A task raised: the node is unfit, or flowkit has a bug; neither blames a video."""
        self._dismiss(slot)
        cause = getattr(error, "cause", None) or error
        if isinstance(cause, FlowkitError):
            raise cause
        doing = "a worker cannot start" if slot.state == "starting" else "a worker failed"
        raise make_internal_error(doing, cause, str(error)) from error

    def _lose(self, slot: Slot, error: Exception) -> None:
        """An actor died. Decide whether this lane's video is to blame."""
        trace = self._read_trace(slot, error)
        self._dismiss(slot)
        job = slot.job
        if job is None:
            return
        time.sleep(0.2)  # the kernel lets go of the dead process's locks
        recovery = recover(self.setup.root, part=self.setup.part, wait_seconds=0.0, log=self.log)
        done, left = job.divide(recovery.salvaged)
        if done is not None:
            self.count(done.outcome("done"))
        if left is None:
            return
        verdict = judge(error, trace, slot.hung, self.options.stall_seconds)
        if left.attempt < verdict.tries:
            self.log(f"retrying {left.id} in a fresh worker: {verdict.reason}")
            self.suspects.extend(left.again())
            return
        status: Status = "failed" if verdict.guilty else "stopped"
        reason = f"{printable_path(left.source)}: {verdict.reason}, {left.attempt} times"
        self.count(left.outcome(status, verdict.kind, reason))

    def _read_trace(self, slot: Slot, error: Exception) -> str:
        """Why the actor died. Counts the death once, however many lanes it had."""
        crew = slot.crew
        if crew.trace is not None:
            return crew.trace
        crew.trace = read_trace(crew.journal)
        if slot.state == "starting":
            self.failed_starts += 1
            if self.failed_starts >= STARTS:
                reason = crew.trace or first_line(error)
                raise FlowkitError(f"workers die while they start: {reason}")
        if crew.trace.startswith(GPU_FAILED):
            self.gpu_failures += 1
            if self.gpu_failures >= GPU_FAILURES:
                raise DeviceError(
                    f"{GPU_FAILURES} workers in a row ended because their GPU failed (the last: "
                    f"{crew.trace.removeprefix(GPU_FAILED)}); see nvidia-smi and the kernel's log"
                )
        return crew.trace

    def _watch(self) -> None:
        """Kill workers that show no new frame for too long, or that do not start."""
        now = time.monotonic()
        for slot in list(self.slots):
            if slot.state != "working":
                continue
            if slot.beat_call is not None:
                ready, _ = self.ray.wait([slot.beat_call], timeout=0)
                if ready:
                    slot.beat, slot.alive = self._hear(slot, now)
                    slot.beat_call = None
            elif now - slot.alive >= min(BEAT_SECONDS, self.options.stall_seconds / 4):
                slot.beat_call = slot.crew.actor.beat.remote(slot.lane)
            if now - slot.alive > self.options.stall_seconds and not slot.hung:
                slot.hung = True
                self.ray.kill(slot.crew.actor)

    def _hear(self, slot: Slot, now: float) -> tuple[int, float]:
        try:
            beat = self.ray.get(slot.beat_call)
        except self.ray.exceptions.RayError:
            return slot.beat, slot.alive  # the task it is at will say what happened
        return beat, (now if beat != slot.beat else slot.alive)

    def _finish(self) -> None:
        """Let every living worker commit; those at a video give it up first."""
        for slot in self.slots:
            if slot.state == "working":
                slot.crew.actor.stop.remote(slot.lane)
        deadline = time.monotonic() + FINISH_SECONDS
        while time.monotonic() < deadline:
            for slot in list(self.slots):
                if slot.state == "idle":
                    self._close(slot)
                elif slot.state == "starting":
                    self._dismiss(slot)
            if not self.slots:
                return
            self._step(POLL_SECONDS)
        self.log(f"{len(self.slots)} workers did not commit in time; the next run recovers them")

    def _dismiss(self, slot: Slot) -> None:
        """Let go of a lane, and with the last one of the actor."""
        self.slots.remove(slot)
        if any(other.crew is slot.crew for other in self.slots):
            return
        self.ray.kill(slot.crew.actor)
        slot.crew.journal.unlink(missing_ok=True)

    def _check_version(self, answer: str) -> None:
        host, version = answer.rsplit(" ", 1)
        if version != __version__:
            raise FlowkitError(
                f"node {host} has flowkit {version}, this one {__version__}: "
                "install the same version on every node"
            )

"""The Ray executor: one actor per slot, one video in flight per actor, the driver owns the queue.

    queue ─ job → actor (Worker) ─ outcome → count
      ↑                 │ dies, or shows no new frame
      └── once more ────┘ in a fresh actor; then quarantined, with the reason

Whose fault is a dead worker? Only the video it was at is suspected. A crash leaves a trace
in the actor's journal (faulthandler): with it, or after a hang, the video gets one more try
in a fresh process and is then quarantined. A death without a trace (killed, or its node
lost) gets one try more. Being killed for memory blames nobody. The dead actor's shard is
recovered first: a video that was complete in it is done.
"""

import os
import time
import uuid
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import flowkit
from flowkit.errors import FlowkitError, StoreError
from flowkit.extract.interrupt import Interrupt
from flowkit.extract.job import Job, Outcome, Setup
from flowkit.extract.worker import Worker
from flowkit.store import recover

if TYPE_CHECKING:
    from flowkit.extract.run import Options

POLL_SECONDS = 1.0
BEAT_SECONDS = 5.0
START_SECONDS = 600.0  # a first start may compile kernels
FINISH_SECONDS = 120.0  # for workers to commit when the run is asked to end
TRIES_CRASH, TRIES_LOST, TRIES_MEMORY = 2, 3, 5


class Actor:
    """A Worker in a process of its own. Methods answer while ``extract`` is under way."""

    def __init__(self, setup: Setup, journal: Path, token: str, sample: Path) -> None:
        self._setup, self._journal = setup, journal
        self._token, self._sample = token, sample

    def start(self) -> str:
        """Check this node, load the kernels; returns ``host/node version``."""
        import faulthandler
        import socket

        import ray

        host = f"{socket.gethostname()}/{ray.get_runtime_context().get_node_id()[:8]}"
        root = self._setup.root
        if not (root / "journal" / self._token).is_file():
            raise StoreError(
                f"node {host} does not see the store at {root}: put it on a path that every node "
                "mounts, or use --workers on one machine and --shard i/n for several"
            )
        if not self._sample.exists():
            raise StoreError(f"node {host} does not see the videos, such as {self._sample}")
        self._trace = self._journal.open("w", encoding="utf-8")
        faulthandler.enable(self._trace, all_threads=False)
        self._worker = Worker(self._setup, host)
        self._worker.warm_up()
        return f"{host} {flowkit.__version__}"

    def extract(self, job: Job) -> Outcome | StoreError:
        """A fault of the store comes back as a value, so that it keeps its type."""
        try:
            return replace(self._worker.extract(job), attempts=job.attempt)
        except StoreError as error:
            return error

    def beat(self) -> int:
        """A number that grows while work goes on."""
        return self._worker.beat

    def stop(self) -> None:
        """Ask a video that is under way to end."""
        self._worker.stop()

    def close(self) -> StoreError | None:
        """Commit what is complete and let go of the shards."""
        try:
            self._worker.close()
        except StoreError as error:
            return error
        self._journal.unlink(missing_ok=True)
        return None


@dataclass(eq=False)
class Slot:
    """An actor as the driver sees it. ``task`` is the call that it is at."""

    actor: Any
    journal: Path
    task: Any
    state: str = "starting"  # starting → idle ⇄ working → closing
    job: Job | None = None
    beat: int = -1
    beat_call: Any = None
    alive: float = field(default_factory=time.monotonic)
    hung: bool = False


class Driver:
    """Hands out jobs to actors until all have an outcome, or the run is asked to end."""

    def __init__(
        self,
        ray: Any,
        jobs: tuple[Job, ...],
        setup: Setup,
        options: "Options",
        begin: Callable[[int], None],
        count: Callable[[Outcome], None],
        interrupt: Interrupt,
        log: Callable[[str], None],
    ) -> None:
        self.ray, self.setup, self.options = ray, setup, options
        self.begin, self.count, self.interrupt, self.log = begin, count, interrupt, log
        self.queue = deque(jobs)
        # A video that this node sees: another node that does not is unfit.
        seen = (job.source for job in jobs if os.access(job.source, os.R_OK))
        self.sample = next(seen, setup.root)
        self.slots: list[Slot] = []
        self.started = False
        self.failed_starts = 0
        self.error: StoreError | None = None
        self.token = f"seen-{uuid.uuid4().hex}"
        cores = int(ray.cluster_resources().get("CPU", 1))
        self.workers = max(1, min(options.workers or cores, len(jobs)))
        gpus = 1 if setup.backend in GPU_BACKENDS else 0
        self.actor_class = ray.remote(
            num_cpus=1, num_gpus=gpus, max_restarts=0, max_task_retries=0, max_concurrency=3
        )(Actor)

    def run(self) -> None:
        """Work; raises what made the store unusable after everything complete is committed."""
        folder = self.setup.root / "journal"
        folder.mkdir(exist_ok=True)
        (folder / self.token).touch()
        try:
            while self.queue or any(slot.state == "working" for slot in self.slots):
                if self.interrupt.asked or self.error is not None:
                    break
                self._hire()
                self._assign()
                self._step(POLL_SECONDS)
                self._watch()
            self._finish()
        finally:
            for slot in self.slots:
                self.ray.kill(slot.actor)
            (folder / self.token).unlink(missing_ok=True)
        if self.error is not None:
            raise self.error

    def _hire(self) -> None:
        busy = sum(slot.state in ("starting", "working", "idle") for slot in self.slots)
        working = sum(slot.state == "working" for slot in self.slots)
        while busy < min(self.workers, len(self.queue) + working):
            journal = self.setup.root / "journal" / uuid.uuid4().hex
            actor = self.actor_class.remote(self.setup, journal, self.token, self.sample)
            self.slots.append(Slot(actor, journal, actor.start.remote()))
            busy += 1

    def _assign(self) -> None:
        for slot in self.slots:
            if slot.state != "idle":
                continue
            if self.queue:
                slot.job = self.queue.popleft()
                slot.task = slot.actor.extract.remote(slot.job)
                slot.state, slot.alive, slot.beat = "working", time.monotonic(), -1
            else:
                slot.task, slot.state = slot.actor.close.remote(), "closing"

    def _step(self, seconds: float) -> None:
        """Take in whatever tasks have ended within ``seconds``."""
        tasks = {slot.task: slot for slot in self.slots if slot.task is not None}
        if not tasks:
            return
        ready, _ = self.ray.wait(list(tasks), num_returns=1, timeout=seconds)
        more, _ = self.ray.wait(list(tasks), num_returns=len(tasks), timeout=0)
        for task in {*ready, *more}:
            slot = tasks[task]
            slot.task = None
            try:
                result = self.ray.get(task)
            except self.ray.exceptions.RayActorError as error:
                self._lose(slot, error)
            except self.ray.exceptions.RayTaskError as error:
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
                self.begin(self.workers)
        elif slot.state == "closing":
            self.error = self.error or result
            self._dismiss(slot)
            return
        elif isinstance(result, StoreError):
            self.error = self.error or result
            assert job is not None
            self.queue.append(job)
        else:
            self.count(result)
        slot.state = "idle"

    def _fault(self, slot: Slot, error: Exception) -> None:
        """A task raised: the node is unfit, or flowkit has a bug; neither blames a video."""
        self._dismiss(slot)
        cause = getattr(error, "cause", None) or error
        if isinstance(cause, FlowkitError):
            raise cause
        raise error

    def _lose(self, slot: Slot, error: Exception) -> None:
        """An actor died. Decide whether its video is to blame."""
        trace = read_trace(slot.journal)
        self._dismiss(slot)
        job = slot.job
        if job is None:
            if slot.state == "starting":
                self.failed_starts += 1
                if self.failed_starts >= TRIES_LOST:
                    raise FlowkitError(
                        f"workers die while they start: {trace or first_line(error)}"
                    )
            return
        time.sleep(0.2)  # the kernel lets go of the dead process's locks
        recovery = recover(self.setup.root, part=self.setup.part, wait_seconds=0.0, log=self.log)
        if job.id in recovery.salvaged:
            self.count(Outcome(id=job.id, status="done", attempts=job.attempt))
            return
        if slot.hung:
            kind, tries = "hang", TRIES_CRASH
            reason = f"showed no new frame for {self.options.stall_seconds:.0f} s"
        elif "memory" in str(error) and "low on memory" in str(error):
            kind, tries, reason = "memory", TRIES_MEMORY, "its worker was killed for memory"
        elif trace:
            kind, tries, reason = "crash", TRIES_CRASH, f"its worker crashed: {trace}"
        else:
            kind, tries, reason = "lost", TRIES_LOST, "its worker was killed or lost"
        if job.attempt < tries:
            self.log(f"retrying {job.id} in a fresh worker: {reason}")
            self.queue.appendleft(replace(job, attempt=job.attempt + 1))
        else:
            blamed = kind in ("hang", "crash", "lost")
            text = f"{job.source} {reason}" if slot.hung else f"{job.source}: {reason}"
            self.count(
                Outcome(
                    id=job.id,
                    status="failed" if blamed else "stopped",
                    kind=kind,
                    reason=f"{text}, {job.attempt} times",
                    attempts=job.attempt,
                )
            )

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
                slot.beat_call = slot.actor.beat.remote()
            if now - slot.alive > self.options.stall_seconds and not slot.hung:
                slot.hung = True
                self.ray.kill(slot.actor)

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
                slot.actor.stop.remote()
        deadline = time.monotonic() + FINISH_SECONDS
        while time.monotonic() < deadline:
            for slot in list(self.slots):
                if slot.state == "idle":
                    slot.task, slot.state = slot.actor.close.remote(), "closing"
                elif slot.state == "starting":
                    self._dismiss(slot)
            if not self.slots:
                return
            self._step(POLL_SECONDS)
        self.log(f"{len(self.slots)} workers did not commit in time; the next run recovers them")

    def _dismiss(self, slot: Slot) -> None:
        self.slots.remove(slot)
        self.ray.kill(slot.actor)
        slot.journal.unlink(missing_ok=True)

    def _check_version(self, answer: str) -> None:
        host, version = answer.rsplit(" ", 1)
        if version != flowkit.__version__:
            raise FlowkitError(
                f"node {host} has flowkit {version}, this one {flowkit.__version__}: "
                "install the same version on every node"
            )


GPU_BACKENDS = ("opencv-cuda",)


def run_on_ray(
    jobs: tuple[Job, ...],
    setup: Setup,
    options: "Options",
    begin: Callable[[int], None],
    count: Callable[[Outcome], None],
    interrupt: Interrupt,
    log: Callable[[str], None],
) -> None:
    """Do the jobs on a Ray cluster: the one at ``options.address``, or one for this run."""
    ray = import_ray()
    mine = not ray.is_initialized()
    if mine:
        connect(ray, options, len(jobs))
    interrupt.take()
    try:
        Driver(ray, jobs, setup, options, begin, count, interrupt, log).run()
    finally:
        if mine:
            ray.shutdown()


def import_ray() -> Any:
    """Ray, with what it must know before its import."""
    # `uv run` drivers would make each worker run `uv run` again (ray#50961).
    os.environ.setdefault("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    # Ray prints half a page on stdout for each dead worker; the summary says it in a line.
    os.environ.setdefault("RAY_DEDUP_LOGS_SKIP_REGEX", "A worker died or was killed")
    import ray

    return ray


def connect(ray: Any, options: "Options", jobs: int) -> None:
    """Join the cluster that was asked for, or start one for this machine."""
    address = options.address or os.environ.get("RAY_ADDRESS")
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
    try:
        if address:
            ray.init(address=address, **quiet)
        else:
            cores = len(os.sched_getaffinity(0))
            ray.init(
                address="local",
                num_cpus=min(options.workers or cores, jobs),
                include_dashboard=False,
                object_store_memory=80 << 20,  # only small records pass through it
                **quiet,
            )
    except (ConnectionError, RuntimeError, ValueError) as error:
        where = f"Ray cluster at {address}" if address else "Ray on this machine"
        raise FlowkitError(
            f"cannot use {where}: {first_line(error)}; `flowkit doctor` says more, "
            "--workers 0 works without Ray"
        ) from error


def read_trace(journal: Path) -> str:
    """The crash that faulthandler wrote, as ``Segmentation fault at decode.py:120``; or ''."""
    try:
        lines = journal.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    fatal = next((line for line in lines if line.startswith("Fatal Python error:")), "")
    if not fatal:
        return ""
    frame = next((line for line in lines if line.strip().startswith('File "')), "")
    place = ""
    if frame:
        path, _, rest = frame.strip().removeprefix('File "').partition('", line ')
        place = f" at {Path(path).name}:{rest.split(' ')[0]}"
    return fatal.removeprefix("Fatal Python error: ") + place


def first_line(error: Exception) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), repr(error))

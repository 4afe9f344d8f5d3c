"""A whole run: lock the store, recover what a killed run left, plan, work, index, sum up.

    located videos ─ plan ─ jobs ─ workers ─ shards ─ commit records ─ index
                      ↑                                                  │
                      └──────────── what the store already has ──────────┘

What was done is what is committed, whatever workers reported.
"""

import os
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

from rich.console import Console

from flowkit.annotations import AnnotationTable, Located, Rejected
from flowkit.errors import DiskFullError, InternalError, RecipeError
from flowkit.extraction.actors import uses_gpu
from flowkit.extraction.gpu_timer import GPUTime
from flowkit.extraction.in_process import run_in_process
from flowkit.extraction.internal_errors import FailureLog
from flowkit.extraction.interrupt import Interrupt
from flowkit.extraction.options import Options
from flowkit.extraction.plan import Plan, belongs, has_changed, make_plan
from flowkit.extraction.progress import Meter
from flowkit.extraction.ray_cluster import find_address, run_on_ray
from flowkit.extraction.summary import Summary, format_bytes
from flowkit.extraction.tasks import Job, Outcome
from flowkit.extraction.worker_setup import Setup
from flowkit.flow import resolve_backend
from flowkit.flow.backends import check_backend, explain_fallback
from flowkit.path_text import printable_path
from flowkit.recipe import Recipe
from flowkit.store import Store, create_or_open, hold_store, rebuild_index, recover
from flowkit.store.annotations import read_annotations, write_annotations
from flowkit.store.failures import Failure, append_failure, read_failures

INDEX_SECONDS = 900.0  # a long run shows readers its progress this often


def extract(
    located: Located,
    root: Path,
    recipe: Recipe,
    options: Options | None = None,
    *,
    table: AnnotationTable | None = None,
    dataset: str | None = None,
    console: Console | None = None,
) -> Summary:
    """Extract every located video that the store at ``root`` lacks.

    Call it again after any interruption: it goes on where the store is. Raises
    RecipeError for a store of another recipe, LockedError while another extraction runs,
    DiskFullError when no room is left, InternalError where all videos fail by the same internal
    error, or a hundred in a row do; faults of single videos are in the summary.
    """
    options = options or Options()
    started = time.monotonic()
    console = console or Console(stderr=True)

    def log(text: str) -> None:
        console.print(text, markup=False, highlight=False, soft_wrap=True)

    backend = choose_backend(options, log) if "flow" in options.streams else ""
    header = create_or_open(root, recipe, dataset)
    summary = Summary(store=str(root), backend=backend)

    with hold_store(root, options.part):
        recovery = recover(root, part=options.part, wait_seconds=options.recover_seconds, log=log)
        keep_annotations(root, table)
        rebuild_index(root)
        failures = read_failures(root)
        plan = make_plan(
            located.sources,
            Store(root),
            failures,
            options.streams,
            part=options.part,
            limit=options.limit,
            update=options.update,
            retry_failed=options.retry_failed,
        )
        if not backend and any("flow" in job.streams for job in plan.jobs):
            check_redoable(header.recipe, root)
            backend = summary.backend = choose_backend(options, log)
        describe(summary, plan, located, len(recovery.salvaged))
        for rejected in located.rejected:
            if belongs(rejected.id, options.part):
                reject(summary, rejected, failures, log)
        setup = Setup(
            root=root.absolute(),
            recipe=header.recipe,
            backend=backend,
            part=options.part,
            min_frames=options.min_frames,
            roll_bytes=options.roll_bytes,
            roll_seconds=options.roll_seconds,
            open_video=options.open_video,
        )
        try:
            internal = work(plan, setup, options, summary, console, started)
        except DiskFullError:
            with suppress(DiskFullError):  # there may be no room for the index either
                rebuild_index(root)
            raise
        finally:
            summary.wall_seconds = time.monotonic() - started
        recover(root, part=options.part, wait_seconds=0.0, log=log)
        rebuild_index(root)
        settle(summary, plan, Store(root))
    if internal is not None:
        raise internal
    return summary


def choose_backend(options: Options, log: Callable[[str], None]) -> str:
    """The backend of flow; of a cluster, only its own nodes can say what runs there.

    Then "auto" stays what it is until Ray is joined, and each node checks a name for itself.
    """
    if options.workers != 0 and find_address(options.address):
        return check_backend(options.backend)
    line = explain_fallback() if options.backend == "auto" else None
    if line is not None:
        log(line)
    return resolve_backend(options.backend)


def check_redoable(recipe: Recipe, root: Path) -> None:
    """RecipeError where flow that was not asked for, but goes with a changed video, cannot be."""
    if recipe.flow is None or recipe.flow.tvl1 is None:
        raise RecipeError(
            f"sources of {root} changed, and their flow was imported, so that it cannot be redone: "
            "expected no --update, or another store"
        )


def keep_annotations(root: Path, table: AnnotationTable | None) -> None:
    """Add what ``table`` says to what the store knows of its videos' labels and subsets."""
    known = read_annotations(root)
    if table is not None and known is not None:
        table = known.joined(table)
    if table is not None and table != known:
        write_annotations(root, table)


def describe(summary: Summary, plan: Plan, located: Located, salvaged: int) -> None:
    """What the plan says, before any work."""
    summary.done_before = len(plan.done)
    summary.salvaged = salvaged
    summary.quarantined = list(plan.quarantined)
    summary.changed = list(plan.changed)
    summary.missing = list(located.missing)
    summary.unannotated = [printable_path(path) for path in located.unannotated]
    summary.beyond = plan.beyond


def reject(
    summary: Summary,
    rejected: Rejected,
    failures: Mapping[str, Failure],
    log: Callable[[str], None],
) -> None:
    """Quarantine a file that cannot be a source, once."""
    known = failures.get(rejected.id)
    if known is not None and known.reason == rejected.reason:
        summary.quarantined.append(known)
        return
    failure = Failure(
        id=rejected.id,
        source=os.fsencode(rejected.path).decode("utf-8", "backslashreplace"),
        kind=rejected.kind,
        reason=rejected.reason,
        attempts=1,
        time=time.time(),
    )
    append_failure(summary.store, failure)
    summary.failed.append(failure)
    log(f"failed: {failure.reason}")


def work(
    plan: Plan, setup: Setup, options: Options, summary: Summary, console: Console, started: float
) -> InternalError | None:
    """Do the jobs of a plan, with or without Ray, and count their outcomes.

    Returns the error that the run ends with where it is not the videos that are at fault.
    """
    if not plan.jobs:
        return None
    jobs = {job.id: job for job in plan.jobs}
    indexed = time.monotonic()
    with (
        Interrupt(console) as interrupt,
        Meter({job.id: job.weight for job in plan.jobs}, console) as meter,
    ):

        def record(failure: Failure) -> None:
            append_failure(setup.root, failure)
            summary.failed.append(failure)

        failures = FailureLog(record, interrupt.ask)

        def begin(workers: int, backend: str) -> None:
            summary.workers, summary.backend = workers, backend
            if uses_gpu(backend):
                summary.gpu = GPUTime()
            summary.start_seconds = time.monotonic() - started
            meter.begin()

        def count(outcome: Outcome) -> None:
            nonlocal indexed
            if outcome.status == "done":
                summary.add(outcome)
                summary.source_bytes += jobs[outcome.id].weight
                failures.note_success()
            elif outcome.status == "failed":
                failure = make_failure(outcome, jobs[outcome.id].source)
                failures.note_failure(failure, outcome.fault)
            if outcome.status != "stopped":
                meter.count(outcome)
            if time.monotonic() - indexed > INDEX_SECONDS:
                rebuild_index(setup.root)
                indexed = time.monotonic()

        try:
            if options.workers == 0:
                run_in_process(plan.jobs, setup, begin, count, interrupt, options.lanes)
            else:
                run_on_ray(plan.jobs, setup, options, begin, count, interrupt, meter.log)
        except DiskFullError as error:
            raise DiskFullError(f"{error} ({estimate_need(plan, summary)})") from error
        finally:
            summary.interrupted = interrupt.asked and not failures.blames_installation
        return failures.close(setup.root)


def make_failure(outcome: Outcome, source: Path) -> Failure:
    try:
        now = source.stat()
        size, mtime_ns = now.st_size, now.st_mtime_ns
    except OSError:
        size = mtime_ns = 0
    return Failure(
        id=outcome.id,
        source=printable_path(source),
        kind=outcome.kind,
        reason=outcome.reason,
        attempts=outcome.attempts,
        time=time.time(),
        size=size,
        mtime_ns=mtime_ns,
        traceback=outcome.traceback,
    )


def estimate_need(plan: Plan, summary: Summary) -> str:
    """How much room the rest needs, judged by what has been extracted so far."""
    total = sum(job.weight for job in plan.jobs)
    left = total - summary.source_bytes
    if not summary.bytes or not summary.source_bytes:
        return f"{format_bytes(left)} of videos are left to extract"
    need = max(summary.bytes * left / summary.source_bytes, 1 << 20)
    return f"all that is left to extract needs about {format_bytes(need)}"


def settle(summary: Summary, plan: Plan, store: Store) -> None:
    """What counts is what is committed: look it up, rather than trust what was reported."""
    failed = {failure.id for failure in summary.failed}
    tried = [job for job in plan.jobs if job.id not in failed]
    summary.extracted = sum(holds(store, job) for job in tried)
    summary.left = len(tried) - summary.extracted


def holds(store: Store, job: Job) -> bool:
    row = store.find(job.id)
    if row is None:
        return False
    video = store[row]
    if job.supersedes and has_changed(job.source, video):
        return False
    return set(job.streams) <= set(video.streams)

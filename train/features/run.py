"""A whole run: lock the store, recover what a killed run left, plan, compute, index, sum up.

What was done is what is committed, whatever workers reported: the run of extraction
(flowkit/extraction/run.py), with another worker.
"""

import os
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import torch
from rich.console import Console

from flowkit.errors import DiskFullError, InternalError, UsageError
from flowkit.extraction.driver import Driver
from flowkit.extraction.in_process import run_in_process
from flowkit.extraction.internal_errors import FailureLog
from flowkit.extraction.interrupt import Interrupt
from flowkit.extraction.progress import Meter
from flowkit.extraction.ray_cluster import find_address, open_ray
from flowkit.extraction.tasks import Outcome
from flowkit.flow.backends import count_gpus
from flowkit.store import (
    Store,
    create_or_open,
    find_stale,
    hold_store,
    read_header,
    rebuild_index,
    recover,
)  # fmt: skip
from flowkit.store.failures import Failure, append_failure, read_failures
from train.features.network import FeatureNetwork, Wanted, check_sizes, find_network, is_run
from train.features.plan import Plan, Share, make_failure, make_plan, share_out
from train.features.setup import Setup
from train.features.summary import Summary
from train.runs.run import Run, check_size

INDEX_SECONDS = 900.0  # a long run shows readers its progress this often
BATCH = {"cpu": 32, "cuda": 256}
BATCHES = {"cpu": 4, "cuda": 64}  # of a share: what a killed worker costs at most
CLIP_IMAGES = 8  # a clip weighs as much in a batch as so many images


@dataclass(frozen=True, kw_only=True)
class Options:
    """How a run is done; nothing here changes what features mean, but for their rounding.

    ``workers``: Ray actors, a GPU or core each; None takes all, 0 works in this process without
    Ray. ``device``: auto takes the GPU where torch sees one. ``batch``: images, clips or patches at
    once; ``readers``: processes that read images for each worker. None: what suits the device.
    ``part`` is (i, n) of ``--shard``. A batch that takes ``stall_seconds`` is given up.
    """

    workers: int | None = None
    device: Literal["auto", "cpu", "cuda"] = "auto"
    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    batch: int | None = None
    readers: int | None = None
    part: tuple[int, int] = (0, 1)
    limit: int | None = None
    retry_failed: bool = False
    address: str | None = None
    stall_seconds: float = 600.0
    roll_seconds: float = 300.0
    roll_bytes: int = 1 << 30
    recover_seconds: float = 30.0

    def __post_init__(self) -> None:
        if self.workers == 0 and self.address is not None:
            raise UsageError("--workers 0 works without Ray; expected no --address with it")


def extract_features(
    root: Path,
    name: str,
    wanted: Wanted,
    options: Options | None = None,
    console: Console | None = None,
) -> Summary:
    """Compute ``features/<name>`` of every video of the store that lacks it.

    Call it again after any interruption: it goes on where the store is. Raises UsageError or
    RunError where the network makes no such features, RecipeError where others have the name,
    LockedError while another run holds the store, InternalError where all videos fail by the same
    internal error, or a hundred in a row do; faults of single videos are in the summary.
    """
    options = options or Options()
    started = time.monotonic()
    console = console or Console(stderr=True)
    stream = f"features/{name}"
    network = find_network(wanted)
    # Where it lies, for workers, whose folders are others.
    found = Path(wanted.model) if is_run(wanted.model) else network.path
    wanted = replace(wanted, model=str(found.absolute()))
    setup = begin_setup(root.absolute(), name, wanted, network, options)
    summary = Summary(store=str(root), name=name, network=network.recipe.model)

    def log(text: str) -> None:
        console.print(text, markup=False, highlight=False, soft_wrap=True)

    with hold_store(root, options.part):
        recovery = recover(root, part=options.part, wait_seconds=options.recover_seconds, log=log)
        rebuild_index(root)
        plan = make_plan(
            Store(root),
            stream,
            network.sampling.source,
            (network.recipe.positions, network.views),
            read_failures(root, stream),
            stale=find_stale(root, name),
            part=options.part,
            limit=options.limit,
            retry_failed=options.retry_failed,
        )
        describe(summary, plan, len(recovery.salvaged))
        try:
            internal = work(plan, setup, network, options, summary, console)
        except DiskFullError:
            with suppress(DiskFullError):  # there may be no room for the index either
                rebuild_index(root)
            raise
        finally:
            summary.wall_seconds = time.monotonic() - started
        recover(root, part=options.part, wait_seconds=0.0, log=log)
        rebuild_index(root)
        settle(summary, plan, Store(root), stream)
    if internal is not None:
        raise internal
    return summary


def begin_setup(
    root: Path, name: str, wanted: Wanted, network: FeatureNetwork, options: Options
) -> Setup:
    """What workers are told, after the store has been told of the features.

    Raises UsageError where the store has nothing that the network could look at, or it is too
    small for it.
    """
    header = read_header(root)
    source = network.sampling.source
    if source not in header.recipe.streams:
        raise UsageError(
            f"{root} has no {source}, only {', '.join(header.recipe.streams) or 'nothing'}: "
            f"extract it with --streams {source}"
        )
    check_sizes(network)
    if network.short_side is not None:
        check_size(Run(wanted.model).recipe, Store(root))
    recipe, known = network.recipe, header.recipe.features.get(name)
    if known is not None:  # how the network is called is no matter, if its weights are the same
        recipe = replace(recipe, model=known.model, note=known.note)
    header = create_or_open(root, replace(header.recipe, features={name: recipe}))
    device = options.device
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    cores = len(os.sched_getaffinity(0))
    share = max(1, cores // max(1, count_gpus()))
    readers = options.readers
    if readers is None:
        readers = max(1, share - 1) if device == "cuda" else 0
    alone = options.workers == 0 and device == "cpu"  # one process has all cores
    clips = CLIP_IMAGES if network.is_3d else 1
    return Setup(
        root=root,
        name=name,
        recipe=header.recipe,
        wanted=wanted,
        device=device,
        precision=options.precision,
        batch=options.batch or max(1, BATCH[device] // clips),
        readers=readers,
        threads=cores if alone else max(1, cores // (options.workers or cores)),
        part=options.part,
        roll_bytes=options.roll_bytes,
        roll_seconds=options.roll_seconds,
    )


def describe(summary: Summary, plan: Plan, salvaged: int) -> None:
    """What the plan says, before any work."""
    summary.done_before = plan.done
    summary.salvaged = salvaged
    summary.lacking = list(plan.lacking)
    summary.quarantined = list(plan.quarantined)
    summary.beyond = plan.beyond


def work(
    plan: Plan,
    setup: Setup,
    network: FeatureNetwork,
    options: Options,
    summary: Summary,
    console: Console,
) -> InternalError | None:
    """Do a plan, with or without Ray, and count what became of each video.

    Returns the error that the run ends with where it is not the videos that are at fault.
    """
    if not plan.targets:
        return None
    shares = share_out(plan.targets, setup.batch * BATCHES[setup.device], network.path)
    weights = {target.id: target.weight for target in plan.targets}
    indexed = started = time.monotonic()
    with Interrupt(console) as interrupt, Meter(weights, console, "features") as meter:

        def record(failure: Failure) -> None:
            append_failure(setup.root, failure)
            summary.failed.append(failure)

        failures = FailureLog(record, interrupt.ask)

        def begin(workers: int, backend: str) -> None:
            summary.workers, summary.device = workers, setup.device
            summary.start_seconds = time.monotonic() - started
            meter.begin()

        def count(outcomes: tuple[Outcome, ...]) -> None:
            nonlocal indexed
            for outcome in outcomes:
                if outcome.status == "failed":
                    failure = make_failure(
                        outcome.id,
                        outcome.kind,
                        outcome.reason,
                        setup.stream,
                        outcome.attempts,
                        outcome.traceback,
                    )
                    failures.note_failure(failure, outcome.fault)
                elif outcome.status == "done":
                    failures.note_success()
                summary.rows += outcome.features
                if outcome.status != "stopped":
                    meter.count(outcome)
            if time.monotonic() - indexed > INDEX_SECONDS:
                rebuild_index(setup.root)
                indexed = time.monotonic()

        try:
            if options.workers == 0:
                run_in_process(shares, setup, begin, count, interrupt)
            else:
                run_on_ray(shares, setup, options, begin, count, interrupt, meter)
        finally:
            summary.interrupted = interrupt.asked and not failures.blames_installation
            summary.work_seconds = time.monotonic() - started - summary.start_seconds
        return failures.close(setup.root)


def run_on_ray(
    shares: list[Share],
    setup: Setup,
    options: Options,
    begin: Callable[[int, str], None],
    count: Callable[[tuple[Outcome, ...]], None],
    interrupt: Interrupt,
    meter: Meter,
) -> None:
    """Do the shares on a Ray cluster: the one at ``options.address``, or one for this run."""
    cores = len(os.sched_getaffinity(0))
    gpus = max(1, count_gpus()) if setup.device == "cuda" else 0
    if not gpus:
        cores = min(max(options.workers or cores, 1), len(shares))
    with open_ray(find_address(options.address), cores, gpus) as ray:
        interrupt.take()
        Driver(ray, shares, setup, options, begin, count, interrupt, meter.log).run()


def settle(summary: Summary, plan: Plan, store: Store, stream: str) -> None:
    """What counts is what is committed: look it up, rather than trust what was reported."""
    failed = {failure.id for failure in summary.failed}
    tried = [target.id for target in plan.targets if target.id not in failed]
    summary.computed = sum(stream in store[id].streams for id in tried)
    summary.left = len(tried) - summary.computed

"""Train all unfinished phases of a run, one after another.

A session is one execution of `flowkit train`. Later sessions continue an interrupted run.
"""

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import FrameType

from flowkit.errors import UsageError
from flowkit.store import Store
from train.distributed.launch import launch
from train.distributed.parallel import Process, sum_over_processes
from train.loop.epochs import train_phase
from train.recipe.recipe import Recipe, RecipeDraft
from train.runs.journal import Log
from train.runs.phases import Phase
from train.runs.run import Run, RunError, Settings, create_run
from train.tasks.completion import (
    complete_like,
    complete_recipe,
    explain_left_out,
    leave_out_reported,
    prepare_store,
)
from train.tasks.registry import find_task

FILE_SECONDS = 90.0
"""How long to wait until this node sees a file that another one has written. NFS remembers for up
to 60 s that a file is missing."""
FILE_POLL_SECONDS = 0.1
"""How often to look for a file."""


def start_run(folder: Path, draft: RecipeDraft, store: Store, log: Log) -> tuple[Run, Store]:
    """Complete a recipe with values from the store, and open the run, or create it.

    A store without subsets is divided into train, val and test.

    Args:
        folder: Folder of the run.
        draft: The recipe, which may leave values to the store.
        store: The store to train on.
        log: Called with lines about what was found in the store.

    Returns:
        The run, and the store, opened again if it was divided.

    Raises:
        UsageError: The recipe and the store do not fit each other.
        StoreError: The store cannot be used.
        RunError: The existing run has another recipe or store.
    """
    if (folder / "run.json").exists():
        return open_run(folder, complete_like(draft, Run(folder), store), store), store
    store = prepare_store(draft, store, log)
    recipe = complete_recipe(draft, store, log)
    run = open_run(folder, leave_out_reported(recipe, store), store)
    # After the checks: where one fails, nothing is trained that could have results.
    explanation = explain_left_out(recipe, store)
    if explanation is not None:
        log(explanation)
    return run, store


def open_run(folder: Path, recipe: Recipe, store: Store) -> Run:
    """Open a run, or create it if the recipe can be trained on the store.

    Args:
        folder: Folder of the run.
        recipe: The recipe to train.
        store: The store to train on.

    Raises:
        UsageError: The recipe and the store do not fit each other.
        StoreError: The store cannot be used.
        RunError: The existing run has another recipe or store.
    """
    if not (folder / "run.json").exists():
        find_task(recipe).check(store)
    return create_run(folder, recipe, store)


@dataclass
class StopCondition:
    """Decide when training stops: on a signal, or after a number of steps."""

    steps: int | None = None
    """Number of steps that are left of this session; None for no limit."""
    requested: bool = field(default=False, init=False)
    """Whether training should stop after the current step."""
    signalled: bool = field(default=False, init=False)
    """Whether a signal has requested that, so that the next one interrupts at once."""

    def __call__(self) -> bool:
        """Count one step and return whether training should stop now."""
        if self.steps is not None:
            self.steps -= 1
            self.requested = self.requested or self.steps <= 0
        return self.requested

    @contextmanager
    def handle_signals(self, log: Log) -> Iterator[None]:
        """Request a stop on the first SIGINT or SIGTERM and interrupt at once on the second."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return

        message = "stopping after this step (press Ctrl-C again to stop immediately)"
        # In a thread, because the signal may arrive while another message is being printed.
        announcement = threading.Thread(target=log, args=(message,))

        def handle(signal_number: int, frame: FrameType | None) -> None:
            if self.signalled:
                raise KeyboardInterrupt
            self.signalled = self.requested = True
            announcement.start()

        former = {n: signal.signal(n, handle) for n in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for signal_number, handler in former.items():
                signal.signal(signal_number, handler)
            if announcement.ident is not None:
                announcement.join()


def train_phases(
    run: Path,
    store: Path,
    settings: Settings,
    stop: StopCondition,
    process: Process,
    log: Log = print,
) -> None:
    """Train the unfinished phases of a run in this process, until the stop condition is met."""
    opened_run, opened_store = Run(run), Store(store)
    for phase in opened_run.list_unfinished_phases():
        if not train_phase(opened_run, phase, opened_store, settings, process, stop, log):
            return
        wait_for_weights(opened_run, phase, process)


def wait_for_weights(run: Run, phase: Phase, process: Process) -> None:
    """Wait until the process of rank 0 has written a phase's weights, and this node sees them.

    The next phase may start from them.

    Raises:
        RunError: They do not appear.
    """
    sum_over_processes([0.0], process)
    end = time.monotonic() + FILE_SECONDS
    while not run.is_finished(phase.name):
        if time.monotonic() > end:
            raise RunError(
                f"{run.folder(phase.name)}: the weights of a finished phase did not appear within "
                f"{FILE_SECONDS:.0f} s; the run must be on a path that every node mounts"
            )
        time.sleep(FILE_POLL_SECONDS)


def check_batches(run: Run, processes: int) -> None:
    """Raise a UsageError if a batch cannot be divided among the processes."""
    for phase in run.list_unfinished_phases():
        batch = phase.training.batch
        if batch % processes:
            raise UsageError(
                f"phase {phase.name}: a batch of {batch} videos cannot be divided among "
                f"{processes} processes; use another number of --processes"
            )


def train(
    run: Run,
    store: Store,
    settings: Settings,
    log: Log,
    stop: StopCondition | None = None,
) -> bool:
    """Train the unfinished phases of a run.

    After SIGINT or SIGTERM, training in one process stops after the current step and writes a
    checkpoint. Training in several processes stops at once, and the next session continues from the
    last checkpoint that was written.

    Args:
        run: The run to train.
        store: The store that the run was created on.
        settings: Device, precision and processes.
        log: Receives lines of text for the user.
        stop: When training stops before it is finished. Default: after a signal.

    Returns:
        Whether the run is finished now.

    Raises:
        RunError: Another process is training the run, the store changed, or training failed.
    """
    stop = stop or StopCondition()
    with run.lock():
        run.check_store(store, unchanged=True)
        if run.is_finished():
            log(f"{run.path} is finished: flowkit evaluate {run.path} --store {store.location}")
            return True
        if settings.processes > 1:
            check_batches(run, settings.processes)
        run.record_session(settings)
        paths = run.path.absolute(), Path(store.location)
        work = partial(train_phases, *paths, settings, stop)
        if settings.processes > 1:
            launch(work, *paths, settings, log)
        else:
            with stop.handle_signals(log):
                work(Process(), log)
        return run.is_finished()

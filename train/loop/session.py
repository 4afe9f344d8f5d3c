"""Training session: train all unfinished phases of a run, one after another."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

from flowkit.store import Store
from train.distributed.parallel import Process, launch
from train.loop.epochs import train_phase
from train.recipe.recipe import Recipe
from train.runs.journal import Log
from train.runs.run import Run, Settings
from train.tasks.registry import find_task


def check_start(recipe: Recipe, store: Store) -> None:
    """Check that a recipe can be trained on a store, before a run folder is created.

    Raises:
        UsageError: The recipe and the store do not fit each other.
        StoreError: The store cannot be used.
    """
    find_task(recipe).check(store)


@dataclass
class Stop:
    """Decides when training stops: on a signal, or after a number of steps."""

    steps: int | None = None
    """Steps of this session after which to stop. None sets no limit."""
    asked: bool = field(default=False, init=False)
    """Whether a stop was requested."""

    def __call__(self) -> bool:
        """Count one step and return whether training should stop now."""
        if self.steps is not None:
            self.steps -= 1
            self.asked = self.asked or self.steps <= 0
        return self.asked

    @contextmanager
    def listen(self, log: Log) -> Iterator[None]:
        """Request a stop on the first SIGINT or SIGTERM and interrupt at once on the second."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return

        message = "stopping after this step (again to stop at once)"
        # In a thread: the signal may have come in the middle of another message.
        announcement = threading.Thread(target=log, args=(message,))

        def handle(number: int, frame: FrameType | None) -> None:
            if self.asked:
                raise KeyboardInterrupt
            self.asked = True
            announcement.start()

        former: dict[int, Any] = {
            n: signal.signal(n, handle) for n in (signal.SIGINT, signal.SIGTERM)
        }
        try:
            yield
        finally:
            for number, handler in former.items():
                signal.signal(number, handler)
            if announcement.ident is not None:
                announcement.join()


@dataclass(frozen=True)
class TrainingJob:
    """Picklable description of a session, called in each of its processes."""

    run: Path
    """Folder of the run."""
    store: Path
    """Folder of the store."""
    settings: Settings
    """Device, precision and processes of the session."""
    stop: Stop
    """Decides when to stop."""

    def __call__(self, process: Process, log: Log = print) -> None:
        """Train the unfinished phases in this process until one is asked to stop."""
        run, store = Run(self.run), Store(self.store)
        for phase in run.unfinished():
            if not train_phase(run, phase, store, self.settings, process, self.stop, log):
                return


def train(run: Run, store: Store, settings: Settings, log: Log, steps: int | None = None) -> bool:
    """Train the unfinished phases of a run.

    A SIGINT or SIGTERM stops after the current step, with a checkpoint. With several processes it
    stops at once, and the next session continues from the last checkpoint.

    Args:
        run: The run to train.
        store: The store that the run was created on.
        settings: Device, precision and processes.
        log: Receives lines of text for the user.
        steps: Stop after this many steps. None sets no limit.

    Returns:
        Whether the run is finished now.

    Raises:
        RunError: Another process trains the run, the store changed, or training failed.
    """
    stop = Stop(steps)
    with run.hold():
        run.check_store(store, unchanged=True)
        if run.is_finished():
            log(f"{run.path} is finished: flowkit evaluate {run.path} --store {store.path}")
            return True
        run.note_session(settings)
        work = TrainingJob(run.path.absolute(), store.path.absolute(), settings, stop)
        if settings.processes > 1:
            launch(work, settings)
        else:
            with stop.listen(log):
                work(Process(), log)
        return run.is_finished()

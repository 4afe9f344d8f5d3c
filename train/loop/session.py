"""A training session: all unfinished phases of a run, one after another."""

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
    """Find out what is wrong with a training before its run is begun, so that none is left behind.

    Raises UsageError or StoreError.
    """
    find_task(recipe).check(store)


@dataclass
class Stop:
    """Asks a training to stop after this step: by a signal, or after ``steps`` of the session."""

    steps: int | None = None
    asked: bool = field(default=False, init=False)

    def __call__(self) -> bool:
        if self.steps is not None:
            self.steps -= 1
            self.asked = self.asked or self.steps <= 0
        return self.asked

    @contextmanager
    def listen(self, log: Log) -> Iterator[None]:
        """The first SIGINT or SIGTERM asks; the second ends at once."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return

        def handle(number: int, frame: FrameType | None) -> None:
            if self.asked:
                raise KeyboardInterrupt
            self.asked = True
            log("stopping after this step (again to stop at once)")

        former: dict[int, Any] = {
            n: signal.signal(n, handle) for n in (signal.SIGINT, signal.SIGTERM)
        }
        try:
            yield
        finally:
            for number, handler in former.items():
                signal.signal(number, handler)


@dataclass(frozen=True)
class TrainingJob:
    """What each process of a session does; small enough to be sent to it."""

    run: Path
    store: Path
    settings: Settings
    stop: Stop

    def __call__(self, process: Process, log: Log = print) -> None:
        run, store = Run(self.run), Store(self.store)
        for phase in run.unfinished():
            if not train_phase(run, phase, store, self.settings, process, self.stop, log):
                return


def train(run: Run, store: Store, settings: Settings, log: Log, steps: int | None = None) -> bool:
    """Train what is left of a run; whether it is finished now.

    ``steps``: stop after so many. A SIGINT or SIGTERM stops after the current step with a
    checkpoint (with several processes: at once, and the next session goes on from the last one).
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

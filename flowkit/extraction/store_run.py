"""Define the steps that all runs over a store share, whatever they add to the store.

    lock ─ recover what a killed run left ─ plan ─ execute ─ index ─ summarize

Extraction of videos (run.py) and of features (train/features/run.py) are subclasses of
:class:`StoreRun`, which plan the tasks, make the workers and count the results. A video counts as
done if it is committed in the store, regardless of what its worker reported.
"""

import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import ClassVar, NamedTuple

from rich.console import Console

from flowkit.errors import DiskFullError, InternalError
from flowkit.extraction.callbacks import RunCallbacks
from flowkit.extraction.in_process import run_in_process
from flowkit.extraction.internal_errors import FailureLog
from flowkit.extraction.interrupt import Interrupt
from flowkit.extraction.options import RunOptions
from flowkit.extraction.progress import Meter
from flowkit.extraction.ray_cluster import run_on_ray
from flowkit.extraction.summary import RunSummary
from flowkit.extraction.tasks import Outcome, WorkerTask
from flowkit.extraction.worker_setup import WorkerFactory
from flowkit.store import Store, hold_store, rebuild_index, recover
from flowkit.store.failures import Failure, append_failure

INDEX_SECONDS = 900.0
"""Seconds between updates of the index, which show new videos to readers during a long run."""


class PlannedWork(NamedTuple):
    """The tasks of a run and what is needed to execute them."""

    tasks: Sequence[WorkerTask]
    """The tasks, in the order in which they are started."""
    setup: WorkerFactory
    """The settings from which every worker is made."""
    weights: Mapping[str, int]
    """The weight of each video by its id, from which progress and remaining time are estimated."""


class StoreRun(ABC):
    """One run over the store at ``root``; :meth:`run` may be called once.

    Args:
        root: Folder of the store.
        options: The options that every run has.
        summary: The results, which the run fills in.
        console: Where progress is shown; None for stderr.
    """

    counted: ClassVar[str] = "pairs"
    """Field of an outcome that the progress bar counts."""
    lanes: int | None = None
    """Number of videos that share the GPU of this process. None: one for each core."""

    def __init__(
        self, root: Path, options: RunOptions, summary: RunSummary, console: Console | None
    ) -> None:
        self.root = root
        self.started = self.execution_started = time.monotonic()
        self.execution_seconds = 0.0
        self._options, self._summary = options, summary
        self._console = console or Console(stderr=True)

    def run(self) -> None:
        """Execute the run and fill the summary.

        Raises:
            LockedError: Another run of the same part holds the store.
            DiskFullError: The disk is full; complete videos are kept.
            InternalError: The installation, not the videos, caused the failures.
        """
        options, summary = self._options, self._summary
        self.open_store()
        with hold_store(self.root, options.part):
            recovery = recover(
                self.root, part=options.part, wait_seconds=options.recover_seconds, log=self.log
            )
            summary.salvaged = len(recovery.salvaged)
            self.prepare_index()
            rebuild_index(self.root)
            work = self.make_plan(Store(self.root))
            try:
                error = self._execute(work) if work.tasks else None
            except DiskFullError as full:
                with suppress(DiskFullError):  # there may be no room for the index either
                    rebuild_index(self.root)
                if need := self.estimate_need():
                    raise DiskFullError(f"{full} ({need})") from full
                raise
            finally:
                summary.wall_seconds = time.monotonic() - self.started
            recover(self.root, part=options.part, wait_seconds=0.0, log=self.log)
            rebuild_index(self.root)
            store, failed = Store(self.root), {failure.id for failure in summary.failed}
            not_failed = [id for id in work.weights if id not in failed]
            committed = sum(self.is_committed(store, id) for id in not_failed)
            summary.left = len(not_failed) - committed
            self.summarize(committed)
        if error is not None:
            raise error

    def log(self, text: str) -> None:
        """Print one line on the console."""
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)

    def _execute(self, work: PlannedWork) -> InternalError | None:
        """Execute the tasks, with or without Ray, and count their outcomes.

        Returns:
            The error to raise if the installation, not the videos, caused the failures.
        """
        root, options = self.root.absolute(), self._options
        self.execution_started = indexed = time.monotonic()
        with (
            Interrupt(self._console) as interrupt,
            Meter(work.weights, self._console, self.counted) as meter,
        ):

            def record(failure: Failure) -> None:
                append_failure(root, failure)
                self._summary.failed.append(failure)

            failures = FailureLog(record, interrupt.request_stop)

            def on_start(workers: int, backend: str) -> None:
                self.record_start(workers, backend)
                meter.start_clock()

            def on_outcome(result: Outcome | tuple[Outcome, ...]) -> None:
                nonlocal indexed
                for outcome in result if isinstance(result, tuple) else (result,):
                    if outcome.status == "done":
                        self.add_outcome(outcome)
                        failures.add_success()
                    elif outcome.status == "failed":
                        failures.add_failure(self.make_failure(outcome), outcome.fault)
                    if outcome.status != "stopped":
                        meter.count(outcome)
                if time.monotonic() - indexed > INDEX_SECONDS:
                    rebuild_index(root)
                    indexed = time.monotonic()

            callbacks = RunCallbacks(on_start, on_outcome, meter.log, interrupt)
            try:
                if options.workers == 0:
                    run_in_process(work.tasks, work.setup, callbacks, self.lanes)
                else:
                    run_on_ray(work.tasks, work.setup, options, callbacks)
            finally:
                is_requested = interrupt.is_requested
                self._summary.interrupted = is_requested and not failures.blames_installation
                self.execution_seconds = time.monotonic() - self.execution_started
            return failures.close(root)

    # --- steps that subclasses define ------------------------------------------------------------

    @abstractmethod
    def open_store(self) -> None:
        """Check the options, and create the store or add to its recipe, before it is locked."""

    def prepare_index(self) -> None:  # noqa: B027 (few runs have something to do here)
        """Write files that the first rebuild of the index reads; by default there are none."""

    @abstractmethod
    def make_plan(self, store: Store) -> PlannedWork:
        """Plan the tasks, and record in the summary the videos that are left out."""

    @abstractmethod
    def record_start(self, workers: int, backend: str) -> None:
        """Record in the summary that the workers have started."""

    @abstractmethod
    def add_outcome(self, outcome: Outcome) -> None:
        """Add a video that is done to the summary."""

    @abstractmethod
    def make_failure(self, outcome: Outcome) -> Failure:
        """Describe a video that failed, for ``failures.jsonl``."""

    def estimate_need(self) -> str:
        """Describe how much disk space the remaining videos need, for the error of a full disk."""
        return ""

    @abstractmethod
    def is_committed(self, store: Store, id: str) -> bool:
        """Return whether the store has everything that was planned for a video."""

    @abstractmethod
    def summarize(self, committed: int) -> None:
        """Record in the summary how many videos of the plan are committed."""

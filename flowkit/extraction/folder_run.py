"""Define the steps of a run that computes something from each of many videos.

    open ─ lock ─ recover what a killed run left ─ plan ─ execute ─ complete

The results are in a folder: a store (store_run.py), or one with a file for each video
(train/feature_files/run.py). Subclasses of :class:`FolderRun` open and recover the folder, plan the
tasks and count the results.
"""

import time
from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import ClassVar, NamedTuple

from rich.console import Console

from flowkit.annotations import LocatedVideos
from flowkit.errors import DiskFullError, InternalError
from flowkit.extraction.callbacks import RunCallbacks
from flowkit.extraction.in_process import run_in_process
from flowkit.extraction.internal_errors import FailureLog
from flowkit.extraction.interrupt import Interrupt
from flowkit.extraction.options import RunOptions
from flowkit.extraction.plan import belongs
from flowkit.extraction.progress import Meter
from flowkit.extraction.ray_cluster import run_on_ray
from flowkit.extraction.summary import RunSummary
from flowkit.extraction.tasks import Outcome, WorkerTask
from flowkit.extraction.worker_setup import WorkerFactory
from flowkit.path_text import printable_path
from flowkit.store import hold_store
from flowkit.store.failures import Failure, append_failure

SAVE_SECONDS = 900.0
"""Seconds between calls of `FolderRun.save_progress` during a long run."""


class PlannedWork(NamedTuple):
    """The tasks of a run and what is needed to execute them."""

    tasks: Sequence[WorkerTask]
    """The tasks, in the order in which they are started."""
    setup: WorkerFactory
    """The settings from which every worker is made."""
    weights: Mapping[str, int]
    """The weight of each video by its id, from which progress and remaining time are estimated."""


class FolderRun(ABC):
    """One run whose results are in a folder; :meth:`run` may be called once.

    Args:
        root: Folder with the locks, the failures and the crash files of the run.
        options: The options that every run has.
        summary: The results, which the run fills in.
        console: Where progress is shown; None for stderr.
    """

    counted: ClassVar[str] = "pairs"
    """Field of an `Outcome` whose rate per second the progress bar shows."""
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
            LockedError: Another run of the same part holds the folder.
            DiskFullError: The disk is full; complete videos are kept.
            InternalError: The installation, not the videos, caused the failures.
        """
        options, summary = self._options, self._summary
        self.open_folder()
        with hold_store(self.root, options.part, self.result_folder):
            summary.salvaged = len(self.recover(options.recover_seconds))
            work = self.plan_work()
            try:
                error = self._execute(work) if work.tasks else None
            except DiskFullError as full:
                self.save_on_full_disk()
                if need := self.estimate_need():
                    raise DiskFullError(f"{full} ({need})") from full
                raise
            finally:
                # Before `complete`, which may upload: rates of the work are computed from it.
                summary.wall_seconds = time.monotonic() - self.started
            self.complete(work)
        if error is not None:
            raise error

    def log(self, text: str) -> None:
        """Print one line on the console."""
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)

    @property
    def result_folder(self) -> Path:
        """Return the folder of the results, which messages name; by default it is `root`."""
        return self.root

    def record_rejected(self, located: LocatedVideos, failures: Mapping[str, Failure]) -> None:
        """Record files of this part that cannot be sources as failed.

        Those that are recorded for the same reason already are quarantined, as videos are, unless
        all failures are to be tried again.

        Args:
            located: The located videos, with the rejected ones.
            failures: Earlier failures by video id.
        """
        for rejected in located.rejected:
            if not belongs(rejected.id, self._options.part):
                continue
            earlier = failures.get(rejected.id)
            is_known = earlier is not None and earlier.reason == rejected.reason
            if earlier is not None and is_known and not self._options.retry_failed:
                self._summary.quarantined.append(earlier)
                continue
            failure = Failure(
                id=rejected.id,
                source=printable_path(rejected.path),
                kind=rejected.kind,
                reason=rejected.reason,
                attempts=1 if earlier is None else earlier.attempts + 1,
                time=time.time(),
            )
            append_failure(self.root, failure)
            self._summary.failed.append(failure)
            self.log(f"failed: {failure.reason}")

    def _execute(self, work: PlannedWork) -> InternalError | None:
        """Execute the tasks, with or without Ray, and count their outcomes.

        Returns:
            The error to raise if the installation, not the videos, caused the failures.
        """
        root, options = self.root.absolute(), self._options
        self.execution_started = saved = time.monotonic()
        with (
            Interrupt(self._console) as interrupt,
            Meter(work.weights, self._console, self.counted) as meter,
        ):
            self.watch(interrupt)

            def record(failure: Failure) -> None:
                append_failure(root, failure)
                self._summary.failed.append(failure)

            failures = FailureLog(record, interrupt.request_stop)

            def on_start(workers: int, backend: str) -> None:
                self.record_start(workers, backend)
                meter.start_clock()

            def on_outcome(result: Outcome | tuple[Outcome, ...]) -> None:
                nonlocal saved
                for outcome in result if isinstance(result, tuple) else (result,):
                    if outcome.status == "done":
                        self.add_outcome(outcome)
                        failures.add_success()
                    elif outcome.status == "failed":
                        failures.add_failure(self.make_failure(outcome), outcome.fault)
                    if outcome.status != "stopped":
                        meter.count(outcome)
                if time.monotonic() - saved > SAVE_SECONDS:
                    self.save_progress()
                    saved = time.monotonic()

            callbacks = RunCallbacks(
                on_start,
                on_outcome,
                meter.show_share,
                meter.log,
                interrupt,
                lambda: self.recover(0.0),
            )
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
    def open_folder(self) -> None:
        """Check the options, and create the folder or check its recipe, before it is locked."""

    @abstractmethod
    def recover(self, wait_seconds: float) -> Collection[str]:
        """Recover what workers that were killed have left.

        Args:
            wait_seconds: Seconds to wait for files that such workers still write.

        Returns:
            Ids of the videos that were found complete.
        """

    @abstractmethod
    def plan_work(self) -> PlannedWork:
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

    def watch(self, interrupt: Interrupt) -> None:  # noqa: B027 (by default, nothing does)
        """Let something other than the user end the run early; called before the first task.

        Args:
            interrupt: Its method ``request_stop`` ends the run.
        """

    def save_progress(self) -> None:  # noqa: B027 (by default, there is nothing to do)
        """Make the results so far visible to readers; called now and then during a long run."""

    def save_on_full_disk(self) -> None:  # noqa: B027
        """Make the results visible to readers as far as a full disk allows it."""

    def estimate_need(self) -> str:
        """Describe how much disk space the remaining videos need, for the error of a full disk."""
        return ""

    @abstractmethod
    def complete(self, work: PlannedWork) -> None:
        """Complete the folder and the summary, after all tasks have ended."""

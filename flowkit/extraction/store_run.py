"""Define the steps that all runs over a store share, whatever they add to the store.

    lock ─ recover what a killed run left ─ plan ─ execute ─ index ─ summarize

Extraction of videos (run.py) and of features (train/features/run.py) are subclasses of
:class:`StoreRun`. A video counts as done if it is committed in the store, regardless of what its
worker reported.
"""

from abc import abstractmethod
from collections.abc import Collection
from contextlib import suppress

from flowkit.errors import DiskFullError
from flowkit.extraction.folder_run import FolderRun, PlannedWork
from flowkit.extraction.interrupt import Interrupt
from flowkit.extraction.uploads import Uploads
from flowkit.garbage_collection import pause_garbage_collection
from flowkit.store import Store, rebuild_index, recover


class StoreRun(FolderRun):
    """One run over the store at ``root``; :meth:`run` may be called once.

    Args:
        root: Folder of the store.
        options: The options that every run has.
        summary: The results, which the run fills in.
        console: Where progress is shown; None for stderr.
    """

    uploads: Uploads | None = None
    """What uploads the shards of a working store; None for a store in a folder."""

    def recover(self, wait_seconds: float) -> Collection[str]:
        """Salvage the complete videos of shards that killed workers left; see `FolderRun`.

        A video of which only a part was saved, such as its frames without its audio, is not among
        those that are returned.
        """
        recovery = recover(
            self.root, part=self._options.part, wait_seconds=wait_seconds, log=self.log
        )
        return [id for id, streams in recovery.streams.items() if self.is_complete(id, streams)]

    def plan_work(self) -> PlannedWork:
        """Rebuild the index, and plan the tasks with it."""
        with pause_garbage_collection():
            self.prepare_index()
            rebuild_index(self.root)
        if self.uploads is not None:
            self.uploads.begin()
        return self.make_plan(Store(self.root))

    def watch(self, interrupt: Interrupt) -> None:
        """End the run if its shards cannot be uploaded."""
        if self.uploads is not None:
            self.uploads.watch(interrupt.request_stop)

    def save_progress(self) -> None:
        """Rebuild the index, which shows new videos to readers."""
        rebuild_index(self.root.absolute())

    def save_on_full_disk(self) -> None:
        """Rebuild the index, unless there is no room for it either."""
        with suppress(DiskFullError):
            rebuild_index(self.root)

    def complete(self, work: PlannedWork) -> None:
        """Recover the shards of killed workers, rebuild the index, and count what is committed.

        Then what was not uploaded yet is.
        """
        self.recover(0.0)
        rebuild_index(self.root)
        store, summary = Store(self.root), self._summary
        failed = {failure.id for failure in summary.failed}
        not_failed = [id for id in work.weights if id not in failed]
        committed = sum(self.is_committed(store, id) for id in not_failed)
        summary.left = len(not_failed) - committed
        self.summarize(committed)
        if self.uploads is not None:
            self.uploads.finish()

    # --- steps that subclasses define ------------------------------------------------------------

    def prepare_index(self) -> None:
        """Write files that the first rebuild of the index reads; by default there are none."""

    @abstractmethod
    def make_plan(self, store: Store) -> PlannedWork:
        """Plan the tasks, and record in the summary the videos that are left out."""

    def is_complete(self, id: str, streams: Collection[str]) -> bool:
        """Return whether streams of a video are all that is planned for it; by default they are."""
        return True

    @abstractmethod
    def is_committed(self, store: Store, id: str) -> bool:
        """Return whether the store has everything that was planned for a video."""

    @abstractmethod
    def summarize(self, committed: int) -> None:
        """Record in the summary how many videos of the plan are committed."""

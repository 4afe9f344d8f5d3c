"""Load batches of video chunks, in a thread or in processes that are kept for many shares."""

import signal
from collections.abc import Iterator, Sequence
from typing import Any

from flowkit.datasets.views import VideoChunk, ViewReader
from train.tasks.samples import convert_loader_errors, limit_threads, make_batch_loader


class BatchLoader:
    """Load batches in order.

    Args:
        reader: Reads the images of a batch.
        readers: Number of reader processes; 0 reads in the calling thread.
        pinned: Whether to use pinned memory, from which a GPU can copy while it computes.
    """

    def __init__(self, reader: ViewReader, readers: int, pinned: bool) -> None:
        # The list is refilled for each share of videos, so that the loader processes are kept.
        self._batches: list[list[VideoChunk]] = []
        self._loader = make_batch_loader(reader, self._batches, readers, pinned, initialize_reader)

    def load(self, batches: Sequence[list[VideoChunk]]) -> Iterator[dict[str, Any]]:
        """Yield what the `ViewReader` returns for each batch.

        Raises:
            RunError: A reader process died.
        """
        self._batches[:] = batches
        advice = "use a smaller --batch and run the same command again"
        with convert_loader_errors("a process that reads images", advice):
            yield from self._loader


def initialize_reader(worker: int) -> None:
    """Initialize a reader process: one thread, and SIGINT ignored.

    A terminal sends Ctrl-C to all processes, and only the main process should answer it.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    limit_threads(worker)

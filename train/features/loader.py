"""Load batches of video pieces in a thread or in processes that outlive a share."""

import signal
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from flowkit.datasets.views import Piece, ViewReader
from flowkit.errors import FlowkitError
from train.tasks.samples import limit_threads, make_batch_loader


@dataclass
class BatchList:
    """Sampler over the batches of one share.

    The batches are replaced for each share, because the loader outlives it.
    """

    batches: Sequence[list[Piece]] = field(default_factory=list)
    """The pieces of each batch."""

    def __iter__(self) -> Iterator[list[Piece]]:
        return iter(self.batches)

    def __len__(self) -> int:
        return len(self.batches)


class BatchLoader:
    """Load batches in order.

    Args:
        reader: Reads the images of a batch.
        readers: Number of reader processes; 0 reads in the calling thread.
        pinned: Whether to use pinned memory, from which a GPU can copy while it computes.
    """

    def __init__(self, reader: ViewReader, readers: int, pinned: bool) -> None:
        self._sampler = BatchList()
        self._loader = make_batch_loader(reader, self._sampler, readers, pinned, initialize_reader)

    def load(self, batches: Sequence[list[Piece]]) -> Iterator[dict[str, Any]]:
        """Yield what the `ViewReader` returns for each batch.

        Raises:
            FlowkitError: A reader process died.
        """
        self._sampler.batches = batches
        try:
            yield from self._loader
        except RuntimeError as error:
            if "DataLoader worker (pid" not in str(error):
                raise
            raise FlowkitError(
                f"a process that reads images died ({' '.join(str(error).split())[:160]}). If it "
                "was short of memory, take a smaller --batch; the same command goes on"
            ) from error


def initialize_reader(worker: int) -> None:
    """Initialize a reader process: one thread, and SIGINT ignored.

    A terminal sends Ctrl-C to all processes, and only the main process should answer it.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    limit_threads(worker)

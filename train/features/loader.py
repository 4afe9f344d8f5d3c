"""Load batches of video pieces in a thread or in processes that outlive a share."""

import multiprocessing
import signal
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch.utils.data import DataLoader

from flowkit.caches import shorten_socket_paths
from flowkit.datasets.views import Piece, ViewReader
from flowkit.errors import FlowkitError
from train.tasks.samples import begin_worker


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
        shorten_socket_paths()
        forkserver = multiprocessing.get_context("forkserver")
        # Preloaded, so that readers start at once.
        forkserver.set_forkserver_preload(["flowkit.datasets.views"])
        self._loader: DataLoader[Any] = DataLoader(
            reader,
            batch_size=None,
            sampler=self._sampler,
            num_workers=readers,
            pin_memory=pinned,
            persistent_workers=readers > 0,
            worker_init_fn=begin_reader,
            multiprocessing_context=forkserver if readers else None,
            generator=torch.Generator(),
        )

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
                "was short of memory, take a smaller --batch and run the same command again"
            ) from error


def begin_reader(number: int) -> None:
    """Initialize a reader process: one thread, and SIGINT ignored.

    A terminal sends Ctrl-C to all processes, and only the main process should answer it.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    begin_worker(number)

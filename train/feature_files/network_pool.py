"""Run the networks of all streams on the batches of one video, in several threads.

    batches ─┬─ thread: network of one stream on one batch ─┬─ features, in the order of the batches
             └─ thread: …                                  ─┘

On a CPU every thread computes on one core, and a batch is never divided among threads, so that
features do not depend on how many there are. Two threads let the last long video of a run use a
core that has no video any more. On a GPU one thread is enough, and the lanes of the process take
turns: their kernels would queue in one stream anyway, and hold the memory of all their batches.
"""

from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import nullcontext
from threading import Lock
from typing import Self

import numpy as np
import numpy.typing as npt
import torch

from flowkit.errors import VideoError
from flowkit.extraction.stage_timer import StageTimer
from flowkit.streams import StreamName
from train.feature_files.settings import FileSettings
from train.feature_files.window_images import WindowBatch
from train.features.embedding import embed_inputs
from train.features.network import FeatureNetwork

F32 = npt.NDArray[np.float32]
GPU_LOCK = Lock()
"""Held while a network computes on the GPU, which the lanes of a process share."""


class NetworkPool:
    """A context manager: threads that run the networks.

    Args:
        networks: The network of each stream.
        settings: The settings of the worker.
        timer: Timer of the stage ``network``.
    """

    def __init__(
        self,
        networks: Mapping[StreamName, FeatureNetwork],
        settings: FileSettings,
        timer: StageTimer,
    ) -> None:
        self._networks, self._settings, self._timer = networks, settings, timer
        # Batches beyond the oldest one: enough that no thread is without work.
        self._ahead = -(-settings.threads // len(networks))
        self._threads = ThreadPoolExecutor(
            settings.threads, "network", initializer=torch.set_num_threads, initargs=(1,)
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self._threads.shutdown(cancel_futures=True)

    def embed(self, batches: Iterable[WindowBatch]) -> Iterator[list[F32]]:
        """Yield the features of each batch.

        Args:
            batches: The batches of a video.

        Yields:
            The features of each stream, float32 (rows, dimension), or (rows, views, dimension) for
            several views.

        Raises:
            VideoError: ``not-finite``: a feature is not a number.
        """
        pending: deque[list[Future[F32]]] = deque()
        for batch in batches:
            pending.append(
                [self._threads.submit(self._embed_stream, s, batch) for s in self._networks]
            )
            if len(pending) > self._ahead:
                yield [future.result() for future in pending.popleft()]
        for futures in pending:
            yield [future.result() for future in futures]

    def _embed_stream(self, stream: StreamName, batch: WindowBatch) -> F32:
        """Compute the features of one stream, for at most ``settings.batch`` views at a time."""
        network, settings = self._networks[stream], self._settings
        lock = GPU_LOCK if settings.device == "cuda" else nullcontext()
        with self._timer.enter_stage("network"), lock:
            parts = [
                embed_inputs(
                    network,
                    part.to(settings.device, non_blocking=True),
                    settings.file_recipe.precision,
                ).cpu()
                for part in batch.inputs[stream].split(settings.batch)
            ]
        rows: F32 = torch.cat(parts).numpy().reshape(batch.rows, network.views, -1)
        if not np.isfinite(rows).all():
            raise VideoError(
                "not-finite",
                f"a feature of {stream} is not a number: use other weights, or --precision float32",
            )
        return rows[:, 0] if network.views == 1 else rows

"""Compute the features of batches of video chunks with one network on one device.

A chunk is a `VideoChunk` of flowkit/datasets/views.py: consecutive starts in one video, and the
images that they need. A start is where a snippet or clip is read, and each of its crops is a view.
Neighbouring chunks of a long video share images, which are kept on the device. Such a chunk is a
batch of its own; batches of several chunks have whole videos (`pack_chunks`), and keep nothing.
"""

from collections.abc import Generator, Iterable
from threading import Event
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from flowkit.datasets.views import VideoChunk, ViewReader, assemble_views
from flowkit.extraction.prefetch import Prefetcher
from train.features.embedding import embed_inputs, load_network
from train.features.loader import BatchLoader
from train.features.network import FeatureNetwork
from train.features.worker_settings import FeatureSettings

F32 = npt.NDArray[np.float32]


class Embedder:
    """Prefetch the images of batches, and compute their features.

    Args:
        setup: The settings of the worker.
        stop: Event that stops the computation after its current batch.
    """

    def __init__(self, setup: FeatureSettings, stop: Event) -> None:
        self.setup = setup
        self._stop = stop
        self._device = torch.device(setup.device)
        self._network: FeatureNetwork | None = None
        self._loader: BatchLoader | None = None
        self._kept_images = torch.empty(0)  # of the last chunk, if its video has another

    def network(self) -> FeatureNetwork:
        """Return the network on its device, loading it at the first call.

        Raises:
            FlowkitError: Its weights are not those that the run was started with.
        """
        if self._network is None:
            weights = self.setup.recipe.features[self.setup.name].weights
            self._network = load_network(self.setup.network_options, weights, self._device)
        return self._network

    def compute(
        self, batches: list[list[VideoChunk]]
    ) -> Generator[tuple[list[VideoChunk], F32, dict[int, str]], None, None]:
        """Yield each batch with its features and its read errors.

        Results are yielded one batch late, so that a GPU computes the next batch while the caller
        has the features of the last one.

        Yields:
            The batch; its features, float32 (starts of all chunks × views, dimension); and the
            reasons why chunks could not be read, by index in the batch.
        """
        waiting: tuple[Any, ...] | None = None
        with Prefetcher(self._load(batches)) as items:
            for batch, item in zip(batches, items, strict=False):
                if self._stop.is_set():
                    break
                copy = start_copy(self.embed(batch, item["images"]))
                if waiting is not None:
                    yield finish_copy(*waiting)
                waiting = batch, copy, item["errors"]
        if waiting is not None:
            yield finish_copy(*waiting)

    def embed(self, batch: list[VideoChunk], images: torch.Tensor) -> torch.Tensor:
        """Compute the features of a batch: float32 on the device, or an empty tensor on the CPU."""
        network = self.network()
        images = images.to(self._device, non_blocking=True)
        if not batch[0].is_first:
            kept = torch.from_numpy(batch[0].kept).to(self._device, non_blocking=True)
            images = torch.cat([self._kept_images[kept], images])
        if not batch[-1].is_last:
            self._kept_images = images
        index = torch.from_numpy(concatenate_indices(batch)).to(self._device, non_blocking=True)
        if not len(index):
            return torch.empty(0, network.recipe.dimension)
        inputs = assemble_views(images, index, network.is_3d)
        return embed_inputs(network, inputs, self.setup.precision)

    def drop_kept_images(self) -> None:
        """Free the images that were kept for the next chunk, when no more chunks follow."""
        self._kept_images = torch.empty(0)

    def close(self) -> None:
        """Stop the reader processes."""
        self._loader = None

    def _load(self, batches: list[list[VideoChunk]]) -> Iterable[dict[str, Any]]:
        if self._loader is None:
            network, readers = self.network(), self.setup.readers
            reader = ViewReader(self.setup.root, network.sampling.source, network.crops)
            self._loader = BatchLoader(reader, readers, self._device.type == "cuda")
        return self._loader.load(batches)


def start_copy(vectors: torch.Tensor) -> tuple[torch.Tensor, torch.cuda.Event | None]:
    """Start to copy features to the CPU, before the GPU is given the next batch.

    A copy that is started later would wait for that batch, because a stream works in order.

    Returns:
        The copy, and the event after which it is complete; None if it is already.
    """
    if not vectors.is_cuda:
        return vectors, None
    copy = vectors.to("cpu", non_blocking=True)  # into pinned memory
    event = torch.cuda.Event()
    event.record(torch.cuda.current_stream(vectors.device))
    return copy, event


def finish_copy(
    batch: list[VideoChunk],
    copy: tuple[torch.Tensor, torch.cuda.Event | None],
    errors: dict[int, str],
) -> tuple[list[VideoChunk], F32, dict[int, str]]:
    """Wait for what `start_copy` returned, and return it as an array with its batch and errors."""
    vectors, event = copy
    if event is not None:
        event.synchronize()
    return batch, vectors.numpy(), errors


def concatenate_indices(batch: list[VideoChunk]) -> npt.NDArray[np.int64]:
    """Return which images of a batch make up each input, (P, L) int64: P inputs of L images."""
    indices, images = [], 0
    for chunk in batch:
        indices.append(chunk.image_indices + images)
        images += len(chunk.kept) + len(chunk.times)  # times are the indices of decoded images
    return np.concatenate(indices)

"""Compute the features of batches of video chunks with one network on one device.

A chunk is a run of positions of one video, with the images that they need: a `VideoChunk` of
flowkit/datasets/views.py. Neighbouring chunks of a video share images, which are kept.
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
        self._kept_images = torch.empty(0)  # images that the next chunk of the video needs too

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

        Results are yielded one batch late, so that a GPU already has the next batch while the
        features of the last one are copied.

        Yields:
            The batch; its features, float32 (starts of all chunks × views, dimension); and the
            reasons why chunks could not be read, by index in the batch.
        """
        waiting: tuple[list[VideoChunk], torch.Tensor, dict[int, str]] | None = None
        with Prefetcher(self._load(batches)) as items:
            for batch, item in zip(batches, items, strict=False):
                if self._stop.is_set():
                    break
                vectors = self.embed(batch, item["images"])
                if waiting is not None:
                    yield copy_to_cpu(*waiting)
                waiting = batch, vectors, item["errors"]
        if waiting is not None:
            yield copy_to_cpu(*waiting)

    def embed(self, batch: list[VideoChunk], images: torch.Tensor) -> torch.Tensor:
        """Compute the features of a batch, float32 on the device; there may be none."""
        network = self.network()
        images = images.to(self._device, non_blocking=True)
        if not batch[0].is_first:
            kept = torch.from_numpy(batch[0].kept).to(self._device)
            images = torch.cat([self._kept_images[kept], images])
        if not batch[-1].is_last:
            self._kept_images = images
        index = torch.from_numpy(concatenate_indices(batch)).to(self._device)
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


def copy_to_cpu(
    batch: list[VideoChunk], vectors: torch.Tensor, faults: dict[int, str]
) -> tuple[list[VideoChunk], F32, dict[int, str]]:
    """Copy the features of a batch to the CPU, waiting for the GPU."""
    return batch, vectors.cpu().numpy(), faults


def concatenate_indices(batch: list[VideoChunk]) -> npt.NDArray[np.int64]:
    """Return which images of a batch make up each input, (P, L) int64: P inputs of L images."""
    indices, images = [], 0
    for chunk in batch:
        indices.append(chunk.image_indices + images)
        images += len(chunk.kept) + len(chunk.times)  # times are the indices of decoded images
    return np.concatenate(indices)

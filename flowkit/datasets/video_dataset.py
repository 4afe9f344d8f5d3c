"""Read samples of images from a store, RGB frames and flow fields: the base class of datasets.

    store ─ rows of a subset ─ times (sampling.py) ─ JPEG bytes ─ crops (transforms.py) ─ tensors

A stream is one kind of data of a video: here ``rgb`` or ``flow``. An image is an RGB frame or a
flow field, and a time is its index in the video. If a video cannot be read, an error is raised that
names it; the video is never replaced by another one.

    B  batch size    N  videos    K  segments    T  frames of a clip    C H W  channels, height,
    width    V  views: crops of snippets or clips
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import Dataset

from flowkit.datasets.loading import Key, make_tensor, split_key
from flowkit.datasets.sampling import Times, list_times, make_generator
from flowkit.datasets.subsets import Subset
from flowkit.datasets.transforms import (
    FLOW_SCALES,
    RGB_SCALES,
    U8,
    CropStrategy,
    MultiScaleCrop,
    TenCrop,
    apply_crop,
)  # fmt: skip
from flowkit.errors import UsageError
from flowkit.store import Store, Video
from flowkit.store.format.jpeg import decode_grey, decode_rgb
from flowkit.streams import STREAMS

IMAGE_STREAMS = ("rgb", "flow")
"""Streams that snippets and clips can be made of."""


class VideoDataset(Dataset[dict[str, torch.Tensor]], ABC):
    """Base class of datasets of images: subclasses choose the times of the images.

    Args:
        store: A store, or its path.
        subset: Name of a subset of the store's index, or the row of the only video.
        streams: Streams to read: ``rgb``, ``flow`` or both.
        training: Whether to draw random times and crops instead of fixed ones.
        crops: Which crops to use; None means those that `choose_crops` returns.
        multi_label: Whether a video may have any number of labels instead of exactly one.
        seed: Seed of all random choices.
        as_bytes: Whether images stay uint8 as in the store.

    Attributes:
        flow_distance: Frames between the two frames of a flow field.
        first_time: Time of the first image: if flow leads to an earlier frame, the first frames
            have no flow and are not used.

    Raises:
        UsageError: If a name is unknown, or no stream is named.
        StoreError: If a video of the subset does not have all streams or a label.
    """

    num_segments: int
    """Number of segments K of a video, each of which gives one snippet or clip of a sample."""
    clip_shape: tuple[int, ...] = ()
    """(T,) for clips of T images; () for snippets, whose flow fields are channels of one image."""
    flow_length: int = 1
    """Number of flow fields that are the channels of one image."""

    def __init__(
        self,
        store: Store | Path | str,
        subset: str | int,
        streams: tuple[str, ...],
        training: bool,
        crops: CropStrategy | None,
        multi_label: bool,
        seed: int,
        as_bytes: bool,
    ) -> None:
        """Open the store and check the videos of the subset."""
        if set(streams) - set(IMAGE_STREAMS) or not streams:
            raise UsageError(
                f"expected streams rgb, flow or both, got {', '.join(streams) or 'none'}"
            )
        self.subset = Subset(store, subset, multi_label, streams)
        self.training, self.seed, self.as_bytes = training, seed, as_bytes
        self.crops = crops or choose_crops(streams, training)
        step = self.subset.store.flow_step
        self.flow_distance = abs(step)
        self.first_time = max(0, -step) if "flow" in streams else 0

    def __len__(self) -> int:
        """Return the number of videos."""
        return len(self.subset.rows)

    def __getitem__(self, key: int | Key) -> dict[str, torch.Tensor]:
        """Read one sample.

        Args:
            key: Epoch and index, or an index alone for epoch 0.

        Returns:
            The images of each stream, ``label``, and ``row``: the video's row in the store.
        """
        self.prefetch([key])
        images = {s: torch.empty(shape, dtype=torch.uint8) for s, shape in self.list_image_shapes()}
        annotations = self.fill_sample(key, images)
        if not self.as_bytes:
            images = {stream: scale_bytes(image, stream) for stream, image in images.items()}
        return {**images, **annotations}

    def __getitems__(self, keys: Sequence[int | Key]) -> list[dict[str, torch.Tensor]]:
        """Read several samples, as a DataLoader does for a batch."""
        self.prefetch(keys)
        return [self[key] for key in keys]

    def prefetch(self, keys: Sequence[int | Key]) -> None:
        """Request the images of several samples side by side, if the store is remote."""
        if not self.subset.store.is_remote:
            return
        reads = []
        for epoch, index in map(split_key, keys):
            row = int(self.subset.rows[index])
            times, _ = self.sample_times(row, make_generator(self.seed, epoch, row))
            reads += [
                self.plan_read(row, stream, int(t))
                for t in times.ravel()
                for stream in self.subset.streams
            ]
        self.subset.store.prefetch(reads)

    def plan_read(self, row: int, stream: str, t: int) -> tuple[int, str, int, int]:
        """Return what `read_images` reads: row, stream, first frame and number of frames."""
        if stream == "rgb":
            return row, stream, t, 1
        stop = self.first_time + self.subset.count(row, "flow")
        return row, stream, t, int(list_times(t, self.flow_length, stop)[-1]) - t + 1

    def labels(self) -> torch.Tensor:
        """Return the labels of all videos.

        Returns:
            (N,) int64, or, with ``multi_label``, (N, classes) float32 of 0 and 1.
        """
        return self.subset.labels(self.subset.rows)

    def batch(self, keys: Sequence[int | Key]) -> dict[str, torch.Tensor]:
        """Read several samples as one batch.

        Args:
            keys: Epochs and indices, or indices alone for epoch 0; at least one.

        Returns:
            The fields of a sample, stacked to (B, …); images are uint8 whatever ``as_bytes`` is.
        """
        self.prefetch(keys)
        batch = {s: make_tensor((len(keys), *shape)) for s, shape in self.list_image_shapes()}
        annotations = [
            self.fill_sample(key, {stream: images[i] for stream, images in batch.items()})
            for i, key in enumerate(keys)
        ]
        for name in annotations[0]:
            batch[name] = torch.stack([fields[name] for fields in annotations])
        return batch

    def list_image_shapes(self) -> list[tuple[str, tuple[int, ...]]]:
        """List each stream with the shape of its images in a sample."""
        size, shapes = self.crops.size, []
        crops = self.crops(size, size, make_generator(self.seed, 0, 0))
        views = self.num_segments * len(crops)
        for stream in self.subset.streams:
            channels = STREAMS[stream].channels * (self.flow_length if stream == "flow" else 1)
            shapes.append((stream, (views, channels, *self.clip_shape, size, size)))
        return shapes

    def fill_sample(
        self, key: int | Key, sample: dict[str, torch.Tensor]
    ) -> dict[str, torch.Tensor]:
        """Write the images of a sample into tensors.

        Args:
            key: Epoch and index, or an index alone for epoch 0.
            sample: One uint8 tensor per stream, with the shapes of `list_image_shapes`.

        Returns:
            ``label`` and ``row`` of the sample.
        """
        epoch, index = split_key(key)
        row = int(self.subset.rows[index])
        video, random = self.subset.store[row], make_generator(self.seed, epoch, row)
        times, label = self.sample_times(row, random)
        crops = self.crops(video.height, video.width, random)
        (segments, length), size = times.shape, self.crops.size
        views = {
            stream: tensor.numpy().reshape(segments, len(crops), -1, length, size, size)
            for stream, tensor in sample.items()
        }
        for (segment, i), t in np.ndenumerate(times):
            for stream in sample:
                images = self.read_images(video, row, stream, int(t))
                for crop, view in zip(crops, views[stream][segment], strict=True):
                    apply_crop(images, crop, view[:, i], flow=stream == "flow")
        return {"label": label, "row": torch.tensor(row)}

    @abstractmethod
    def sample_times(self, row: int, random: np.random.Generator) -> tuple[Times, torch.Tensor]:
        """Choose the times of a sample's images.

        Args:
            row: Row of the video in the store.
            random: Generator of the sample.

        Returns:
            (K, T) times, where T is 1 for snippets, and the label of the sample.
        """

    def read_images(self, video: Video, row: int, stream: str, t: int) -> list[U8]:
        """Decode RGB frame t, or x and y of ``flow_length`` flow fields that start with field t."""
        if stream == "rgb":
            return [decode_rgb(video.rgb_bytes(t))]
        stop = self.first_time + self.subset.count(row, "flow")
        times = list_times(t, self.flow_length, stop)
        fields = video.flow_jpegs(t, int(times[-1]) - t + 1)
        return [decode_grey(plane) for time in times for plane in fields[time - t]]


def choose_crops(streams: tuple[str, ...], training: bool) -> CropStrategy:
    """Choose the crops of the papers: TSN's corner crops for training, ten crops for testing.

    Args:
        streams: Streams that are read.
        training: Whether the crops are for training.

    Returns:
        The crops; with flow among the streams, those for training have flow scales.
    """
    if not training:
        return TenCrop()
    return MultiScaleCrop(FLOW_SCALES if "flow" in streams else RGB_SCALES)


def scale_bytes(images: torch.Tensor, stream: str) -> torch.Tensor:
    """Convert uint8 images to float32, on the device that they are on.

    Args:
        images: uint8 images of any shape.
        stream: ``rgb`` or ``flow``.

    Returns:
        float32 images of the same shape: RGB in [0, 1], flow in [−1, 1], where no motion is
        exactly 0 and the largest motion that the store can represent is 1.
    """
    if stream == "rgb":
        return images.float() / 255
    return (images.float() - 128) / 127

"""Feed PyTorch from a store: snippets for two-stream networks, clips for 3-D networks.

    store ─ rows of a subset ─ times (sampling.py) ─ JPEG bytes ─ crops (transforms.py) ─ tensors

A sample depends on (seed, epoch, index) only. Keys carry the epoch, so that persistent loader
workers learn of a new epoch from the keys themselves: `EpochSampler` yields (epoch, index), and a
plain index means epoch 0. A video that cannot be read raises an error that names it; it is never
replaced by another one.

    B  batch size    N  videos    K  segments    T  frames of a clip    C H W  channels, height,
    width    V  views: crops of snippets or clips
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch.utils.data import Dataset, Sampler, get_worker_info

from flowkit.datasets.sampling import (
    ClipSampling,
    Times,
    count_positions,
    list_times,
    make_generator,
    sample_middles,
    sample_randomly,
)  # fmt: skip
from flowkit.datasets.subsets import STREAMS, Subset
from flowkit.datasets.transforms import (
    FLOW_SCALES,
    RGB_SCALES,
    Crops,
    MultiScaleCrop,
    TenCrop,
    apply_crop,
)
from flowkit.errors import UsageError
from flowkit.store import Store, Video
from flowkit.store.format.jpeg import decode_grey, decode_rgb

U8 = npt.NDArray[np.uint8]

Key = tuple[int, int]
"""Epoch and index of a sample."""


class VideoDataset(Dataset[dict[str, torch.Tensor]], ABC):
    """Base class of datasets of images: subclasses write samples into given tensors.

    Args:
        store: A store, or its path.
        subset: Name of a subset of the store's index.
        streams: Streams to read: ``rgb``, ``flow`` or both.
        training: Whether to take random times and crops instead of fixed ones.
        crops: How to crop; None chooses the crops of TSN for ``streams`` and ``training``.
        many: Whether a video may have any number of labels instead of exactly one.
        seed: Seed of everything random.
        as_bytes: Whether images stay uint8 as in the store.
    """

    def __init__(
        self,
        store: Store | Path | str,
        subset: str,
        streams: tuple[str, ...],
        training: bool,
        crops: Crops | None,
        many: bool,
        seed: int,
        as_bytes: bool,
    ) -> None:
        """Open the store and check the videos of the subset."""
        store = store if isinstance(store, Store) else Store(store)
        self.subset = Subset(store=store, name=subset, streams=streams, many=many)
        self.training, self.seed, self.as_bytes = training, seed, as_bytes
        self.crops = crops or choose_crops(streams, training)

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
        sample = {
            stream: torch.empty(shape, dtype=torch.uint8)
            for stream, shape in self.list_image_shapes()
        }
        annotations = self.fill_sample(key, sample)
        if not self.as_bytes:
            sample = {stream: scale_bytes(image, stream) for stream, image in sample.items()}
        return {**sample, **annotations}

    def labels(self) -> torch.Tensor:
        """Return the labels of all videos.

        Returns:
            (N,) int64, or, with ``many``, (N, classes) float32 of 0 and 1.
        """
        return torch.stack([self.subset.label(int(row)) for row in self.subset.rows])

    def batch(self, keys: Sequence[int | Key]) -> dict[str, torch.Tensor]:
        """Read several samples as one batch.

        Args:
            keys: Epochs and indices, or indices alone for epoch 0; at least one.

        Returns:
            The fields of a sample, stacked to (B, …); images are uint8 whatever ``as_bytes`` is.
        """
        batch = {
            stream: make_tensor((len(keys), *shape)) for stream, shape in self.list_image_shapes()
        }
        annotations = [
            self.fill_sample(key, {stream: images[i] for stream, images in batch.items()})
            for i, key in enumerate(keys)
        ]
        stacked = {
            name: torch.stack([fields[name] for fields in annotations]) for name in annotations[0]
        }
        return {**batch, **stacked}

    @abstractmethod
    def list_image_shapes(self) -> list[tuple[str, tuple[int, ...]]]:
        """List each stream with the shape of its images in a sample."""

    @abstractmethod
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

    def count_crops(self) -> int:
        """Count the crops of one image."""
        return len(self.crops(self.crops.size, self.crops.size, make_generator(self.seed, 0, 0)))


class SnippetDataset(VideoDataset):
    """K snippets of each video: RGB frame t with the flow fields t … t + ``flow_length`` − 1.

    A sample is a dict of

    - ``rgb``: (V, 3, H, W) float32 in [0, 1];
    - ``flow``: (V, 2·flow_length, H, W) float32 in [−1, 1], in the order x_t, y_t, x_{t+1}, …;
    - ``label``: () int64, or (classes,) float32 of 0 and 1 with ``many``;
    - ``row``: () int64, the row of the video in the store.

    V is K times the number of crops. All crops of the first snippet come first.

    Args:
        store: A store, or its path.
        subset: Name of a subset of the store's index.
        num_segments: Number of segments K, at least 1. Training takes a random snippet of each
            segment, testing takes the middle one.
        flow_length: Flow fields of a snippet, at least 1. A time beyond the last field is the last
            field.
        streams: Streams to read: ``rgb``, ``flow`` or both. Both see the same times, crops and
            flips.
        training: Whether to take random times and crops instead of fixed ones.
        crops: How to crop. Default: the multi-scale corner crops of TSN for training (with RGB
            scales if RGB is the only stream, else with flow scales), and ten crops for testing.
        many: Whether a video may have any number of labels instead of exactly one.
        seed: Seed of everything random.
        as_bytes: Whether images stay uint8 as in the store. `scale_bytes` then converts them
            later, on the GPU if they are there, which moves a quarter of the bytes.

    Raises:
        UsageError: If a name is unknown or a number is below 1.
        StoreError: If a video of the subset lacks a stream or a label.

    Example:
        >>> dataset = SnippetDataset("stores/hmdb51", "train1", 3, training=True)
        >>> dataset[0]["flow"].shape
        torch.Size([3, 10, 224, 224])
    """

    def __init__(
        self,
        store: Store | Path | str,
        subset: str,
        num_segments: int,
        *,
        flow_length: int = 5,
        streams: tuple[str, ...] = STREAMS,
        training: bool = False,
        crops: Crops | None = None,
        many: bool = False,
        seed: int = 0,
        as_bytes: bool = False,
    ) -> None:
        """Open the store and check the videos of the subset."""
        if flow_length < 1 or num_segments < 1:
            raise UsageError(
                f"expected flow_length and num_segments of at least 1, got {flow_length} and "
                f"{num_segments}"
            )
        super().__init__(store, subset, streams, training, crops, many, seed, as_bytes)
        self.num_segments, self.flow_length = num_segments, flow_length

    def list_image_shapes(self) -> list[tuple[str, tuple[int, ...]]]:
        """List each stream with the shape of its images in a sample."""
        square = (self.crops.size, self.crops.size)
        channels = {"rgb": 3, "flow": 2 * self.flow_length}
        views = self.num_segments * self.count_crops()
        return [(stream, (views, channels[stream], *square)) for stream in self.subset.streams]

    def fill_sample(
        self, key: int | Key, sample: dict[str, torch.Tensor]
    ) -> dict[str, torch.Tensor]:
        """Write the images of a sample into tensors; return its label and row."""
        epoch, index = (0, key) if isinstance(key, int) else key
        row = int(self.subset.rows[index])
        video, random = self.subset.store[row], make_generator(self.seed, epoch, row)
        times, label = self._sample(row, random)
        crops = self.crops(video.height, video.width, random)
        images = {stream: tensor.numpy() for stream, tensor in sample.items()}
        for k, t in enumerate(times.tolist()):
            for stream, out in images.items():
                frames = self._read(video, row, stream, t)
                for c, crop in enumerate(crops):
                    apply_crop(frames, crop, out[k * len(crops) + c], flow=stream == "flow")
        return {"label": label, "row": torch.tensor(row)}

    def _sample(self, row: int, random: np.random.Generator) -> tuple[Times, torch.Tensor]:
        """Choose where the snippets start, (K,), and their label; subclasses override this."""
        return self._sample_times(row, random), self.subset.label(row)

    def _sample_times(self, row: int, random: np.random.Generator) -> Times:
        positions = self._count_starts(self._count_frames(row))
        if self.training:
            return sample_randomly(positions, self.num_segments, random)
        return sample_middles(positions, self.num_segments)

    def _count_frames(self, row: int) -> int:
        """Count the frames to sample from; a flow field lies between two frames."""
        if "flow" in self.subset.streams:
            return self.subset.count(row, "flow") + 1
        return self.subset.count(row, "rgb")

    def _count_starts(self, frames: int) -> int:
        """Count the starts of snippets whose flow fields all lie within the frames; at least 1."""
        if "flow" in self.subset.streams:
            return count_positions(frames - 1, self.flow_length)
        return frames

    def _read(self, video: Video, row: int, stream: str, t: int) -> list[U8]:
        """Decode RGB frame t, or x and y of each flow field from t on."""
        if stream == "rgb":
            return [decode_rgb(video.rgb_bytes(t))]
        times = list_times(t, self.flow_length, self.subset.count(row, "flow"))
        fields = video.flow_jpegs(t, int(times[-1]) - t + 1)
        return [decode_grey(plane) for time in times for plane in fields[time - t]]


class Batches(Dataset[dict[str, torch.Tensor]]):
    """A dataset of whole batches of another dataset, made by its ``batch`` method.

    A key is a list of keys of the other dataset. Batches hold what ``DataLoader(dataset, 8,
    sampler=sampler)`` would give (with ``as_bytes``), but with less work: loader workers write the
    images directly into memory that they share with the training process.

    Args:
        dataset: A dataset with a method ``batch``, such as `SnippetDataset`.

    Example:
        >>> batches = BatchSampler(EpochSampler(len(dataset), training=True), 8, False)
        >>> loader = DataLoader(Batches(dataset), sampler=batches, batch_size=None)
    """

    def __init__(self, dataset: Any) -> None:
        """Keep the other dataset."""
        self.dataset = dataset

    def __len__(self) -> int:
        """Return the number of samples of the other dataset, not of batches."""
        return len(self.dataset)

    def __getitem__(self, keys: list[Key]) -> dict[str, torch.Tensor]:
        """Read one batch."""
        batch: dict[str, torch.Tensor] = self.dataset.batch(keys)
        return batch


def make_tensor(shape: tuple[int, ...], dtype: torch.dtype = torch.uint8) -> torch.Tensor:
    """Create an uninitialized tensor, in shared memory if this is a worker of a DataLoader.

    Args:
        shape: Shape of the tensor.
        dtype: Its type.

    Returns:
        The tensor, with arbitrary values.
    """
    size = math.prod(shape)
    if get_worker_info() is None or not size:
        return torch.empty(shape, dtype=dtype)
    # As in torch's default_collate; share_memory_() would copy the memory that is not yet written.
    storage = torch.UntypedStorage._new_shared(size * dtype.itemsize)
    return torch.empty(0, dtype=dtype).set_(storage, 0, shape)


class ClipDataset(VideoDataset):
    """Clips of frames or flow fields of each video, for 3-D networks.

    A sample is a dict of

    - ``rgb``: (V, 3, T, H, W) float32 in [0, 1];
    - ``flow``: (V, 2, T, H, W) float32 in [−1, 1];
    - ``label``: () int64, or (classes,) float32 of 0 and 1 with ``many``;
    - ``row``: () int64, the row of the video in the store.

    V is the number of clips times the number of crops. All crops of the first clip come first.

    Args:
        store: A store, or its path.
        subset: Name of a subset of the store's index.
        sampling: Length and stride of the clips, and how many of them testing takes. Training
            takes one clip at a random position.
        streams: Streams to read: ``rgb``, ``flow`` or both. Both see the same times, crops and
            flips.
        training: Whether to take random times and crops instead of fixed ones.
        crops: How to crop. Default: as for `SnippetDataset`.
        many: Whether a video may have any number of labels instead of exactly one.
        seed: Seed of everything random.
        as_bytes: Whether images stay uint8 as in the store; see `SnippetDataset`.

    Raises:
        UsageError: If a name is unknown.
        StoreError: If a video of the subset lacks a stream or a label.

    Example:
        >>> dataset = ClipDataset("stores/hmdb51", "test1", ClipSampling(length=32, clips=10))
        >>> dataset[0]["rgb"].shape
        torch.Size([100, 3, 32, 224, 224])
    """

    def __init__(
        self,
        store: Store | Path | str,
        subset: str,
        sampling: ClipSampling,
        *,
        streams: tuple[str, ...] = ("rgb",),
        training: bool = False,
        crops: Crops | None = None,
        many: bool = False,
        seed: int = 0,
        as_bytes: bool = False,
    ) -> None:
        """Open the store and check the videos of the subset."""
        super().__init__(store, subset, streams, training, crops, many, seed, as_bytes)
        self.sampling = sampling

    def list_image_shapes(self) -> list[tuple[str, tuple[int, ...]]]:
        """List each stream with the shape of its images in a sample."""
        size, clips = self.crops.size, 1 if self.training else self.sampling.clips
        views, length = clips * self.count_crops(), self.sampling.length
        channels = {"rgb": 3, "flow": 2}
        return [(s, (views, channels[s], length, size, size)) for s in self.subset.streams]

    def fill_sample(
        self, key: int | Key, sample: dict[str, torch.Tensor]
    ) -> dict[str, torch.Tensor]:
        """Write the images of a sample into tensors; return its label and row."""
        epoch, index = (0, key) if isinstance(key, int) else key
        row = int(self.subset.rows[index])
        video, random = self.subset.store[row], make_generator(self.seed, epoch, row)
        available = min(self.subset.count(row, stream) for stream in self.subset.streams)
        if self.training:
            clips = self.sampling.sample_randomly(available, random)
        else:
            clips = self.sampling.sample_middles(available)
        crops = self.crops(video.height, video.width, random)
        for stream, tensor in sample.items():
            self._read_clips(video, stream, clips, crops, tensor.numpy())
        return {"label": self.subset.label(row), "row": torch.tensor(row)}

    def _read_clips(
        self, video: Video, stream: str, clips: Times, crops: list[Any], out: U8
    ) -> None:
        """Decode the frames or flow fields of clips (clips, T) and write their crops to ``out``."""
        for v, times in enumerate(clips.tolist()):
            for i, t in enumerate(times):
                if stream == "rgb":
                    images = [decode_rgb(video.rgb_bytes(t))]
                else:
                    images = [decode_grey(plane) for plane in video.flow_bytes(t)]
                for c, crop in enumerate(crops):
                    apply_crop(images, crop, out[v * len(crops) + c, :, i], flow=stream == "flow")


def choose_crops(streams: tuple[str, ...], training: bool) -> Crops:
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
        exactly 0 and the bound of the store is 1.
    """
    if stream == "rgb":
        return images.float() / 255
    return (images.float() - 128) / 127


class EpochSampler(Sampler[Key]):
    """Sampler that shards each epoch over processes and can resume within an epoch.

    Training shuffles by (seed, epoch) and gives each process the same number of samples, so the
    last ``size`` mod ``world`` samples of the order are left out of this epoch. Testing keeps the
    order and neither drops nor repeats samples, so the counts of two processes may differ by one.

    Call `set_epoch` before each epoch. To save the position within an epoch, set ``taken`` to the
    number of samples that were used for training (a DataLoader prefetches more than that) and call
    `state_dict`.

    Args:
        size: Number of samples of the dataset.
        training: Whether to shuffle.
        seed: Seed of the shuffling.
        rank: Rank of this process, 0 … ``world`` − 1.
        world: Number of processes.

    Raises:
        UsageError: If the rank is out of range.

    Example:
        >>> sampler = EpochSampler(len(dataset), training=True)
        >>> loader = DataLoader(dataset, 8, sampler=sampler)
        >>> for epoch in range(epochs):
        ...     sampler.set_epoch(epoch)
        ...     for batch in loader:
        ...         ...
    """

    def __init__(
        self, size: int, *, training: bool, seed: int = 0, rank: int = 0, world: int = 1
    ) -> None:
        """Start at epoch 0, with no sample taken."""
        if not 0 <= rank < world:
            raise UsageError(f"expected a rank from 0 to {world - 1}, got {rank}")
        self.size, self.training, self.seed = size, training, seed
        self.rank, self.world = rank, world
        self.epoch, self.taken = 0, 0

    def __len__(self) -> int:
        """Return how many samples this process has left in this epoch."""
        return max(0, len(self._list_indices()) - self.taken)

    def __iter__(self) -> Iterator[Key]:
        """Iterate over the remaining keys (epoch, index) of this process."""
        return ((self.epoch, int(index)) for index in self._list_indices()[self.taken :])

    def set_epoch(self, epoch: int) -> None:
        """Start an epoch.

        Args:
            epoch: Epoch, counted from 0.
        """
        self.epoch, self.taken = epoch, 0

    def state_dict(self) -> dict[str, int]:
        """Return the position within the epoch, for a checkpoint."""
        return {"epoch": self.epoch, "taken": self.taken, "size": self.size}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Continue at a saved position.

        Args:
            state: What `state_dict` returned.

        Raises:
            UsageError: If the dataset had a different size when the state was saved.
        """
        if state["size"] != self.size:
            raise UsageError(
                f"expected a dataset of {state['size']} videos, as when this was saved, got "
                f"{self.size}: the store or the subset changed"
            )
        self.epoch, self.taken = state["epoch"], state["taken"]

    def _list_indices(self) -> npt.NDArray[np.int64]:
        """List the indices of this process in this epoch, in order."""
        order = np.arange(self.size)
        if self.training:
            generator = make_generator(self.seed, self.epoch, (1 << 40) - 1)
            order = generator.permutation(self.size)
            order = order[: self.size // self.world * self.world]
        return order[self.rank :: self.world]

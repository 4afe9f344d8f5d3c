"""PyTorch datasets over a store: snippets for two-stream networks, clips for 3-D ones.

    store ─ rows of a subset ─ times (sampling.py) ─ JPEG bytes ─ crops (transforms.py) ─ tensors

A sample is a function of (seed, epoch, index) alone. Keys carry the epoch, so that workers
which outlive an epoch need not be told of a new one: `EpochSampler` yields (epoch, index), and
a plain index stands for epoch 0. Nothing is ever substituted: a video that cannot be read is an
error that names it.

    C H W  channels, height, width      K  segments      V  views: crops of snippets, or of clips
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
    draw,
    list_times,
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


Key = tuple[int, int]  # epoch, index


class VideoDataset(Dataset[dict[str, torch.Tensor]], ABC):
    """What both kinds of datasets are: samples that are written where they are wanted."""

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
        store = store if isinstance(store, Store) else Store(store)
        self.subset = Subset(store=store, name=subset, streams=streams, many=many)
        self.training, self.seed, self.as_bytes = training, seed, as_bytes
        self.crops = crops or choose_crops(streams, training)

    def __len__(self) -> int:
        return len(self.subset.rows)

    def __getitem__(self, key: int | Key) -> dict[str, torch.Tensor]:
        sample = {stream: torch.empty(shape, dtype=torch.uint8) for stream, shape in self.shapes()}
        facts = self.fill(key, sample)
        if not self.as_bytes:
            sample = {stream: scale_bytes(image, stream) for stream, image in sample.items()}
        return {**sample, **facts}

    def labels(self) -> torch.Tensor:
        """Of all videos: (N,) int64, or (N, classes) float32 of 0 and 1 with ``many``."""
        return torch.stack([self.subset.label(int(row)) for row in self.subset.rows])

    def batch(self, keys: Sequence[int | Key]) -> dict[str, torch.Tensor]:
        """Samples as one batch, their images as bytes: (B, …) of what one of them is."""
        batch = {stream: make_tensor((len(keys), *shape)) for stream, shape in self.shapes()}
        facts = [
            self.fill(key, {stream: images[i] for stream, images in batch.items()})
            for i, key in enumerate(keys)
        ]
        return {**batch, **{name: torch.stack([f[name] for f in facts]) for name in facts[0]}}

    @abstractmethod
    def shapes(self) -> list[tuple[str, tuple[int, ...]]]:
        """Each stream, and the shape of its images in a sample."""

    @abstractmethod
    def fill(self, key: int | Key, sample: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Write the images of a sample, uint8 of `shapes`, into tensors; its label and row."""

    def count_crops(self) -> int:
        """Crops of an image."""
        return len(self.crops(self.crops.size, self.crops.size, draw(self.seed, 0, 0)))


class SnippetDataset(VideoDataset):
    """K snippets of each video: RGB frame t, and the flow fields t … t + ``flow_length`` − 1.

    Parameters
    ----------
    store: a Store, or its path.
    subset: the name of a subset of the store's index.
    num_segments: K. Training takes a random snippet of each, testing the middle one.
    flow_length: fields of a snippet. A time beyond the last field is the last one.
    streams: of "rgb" and "flow". Together they see the same times, crops and flips.
    training: random times and crops, or fixed ones.
    crops: how to crop; by default TSN's multi-scale corners for training (with RGB's scales for
        RGB alone, else flow's) and ten crops for testing.
    many: labels as (classes,) float32 of 0 and 1, for videos with several.
    seed: of all that is random.
    as_bytes: leave the images uint8 as the store has them; `scale_bytes` does the rest, on the
        device if asked there, for a quarter of the bytes on the way.

    A sample is a dict of ``rgb`` (V, 3, H, W) float32 in [0, 1], ``flow`` (V, 2·flow_length, H,
    W) float32 in [−1, 1] as x_t, y_t, x_t+1, …, ``label`` and ``row`` (of the video in the
    store); V is K, times the number of crops where that is not one: all crops of the first
    snippet, then those of the second.
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
        if flow_length < 1 or num_segments < 1:
            raise UsageError(
                f"expected flow_length and num_segments of at least 1, got {flow_length} and "
                f"{num_segments}"
            )
        super().__init__(store, subset, streams, training, crops, many, seed, as_bytes)
        self.num_segments, self.flow_length = num_segments, flow_length

    def shapes(self) -> list[tuple[str, tuple[int, ...]]]:
        square = (self.crops.size, self.crops.size)
        channels = {"rgb": 3, "flow": 2 * self.flow_length}
        views = self.num_segments * self.count_crops()
        return [(stream, (views, channels[stream], *square)) for stream in self.subset.streams]

    def fill(self, key: int | Key, sample: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        epoch, index = (0, key) if isinstance(key, int) else key
        row = int(self.subset.rows[index])
        video, random = self.subset.store[row], draw(self.seed, epoch, row)
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
        """What a kind of dataset decides: where the snippets begin, (K,), and their label."""
        return self._sample_times(row, random), self.subset.label(row)

    def _sample_times(self, row: int, random: np.random.Generator) -> Times:
        positions = self._count_starts(self._count_frames(row))
        if self.training:
            return sample_randomly(positions, self.num_segments, random)
        return sample_middles(positions, self.num_segments)

    def _count_frames(self, row: int) -> int:
        """Frames that can be sampled from; a flow field lies between two."""
        if "flow" in self.subset.streams:
            return self.subset.count(row, "flow") + 1
        return self.subset.count(row, "rgb")

    def _count_starts(self, frames: int) -> int:
        """Where a snippet can begin: with all its fields among the frames, if there are enough."""
        if "flow" in self.subset.streams:
            return count_positions(frames - 1, self.flow_length)
        return frames

    def _read(self, video: Video, row: int, stream: str, t: int) -> list[U8]:
        """RGB frame t, or x and y of each flow field from t on."""
        if stream == "rgb":
            return [decode_rgb(video.rgb_bytes(t))]
        times = list_times(t, self.flow_length, self.subset.count(row, "flow"))
        fields = video.flow_jpegs(t, int(times[-1]) - t + 1)
        return [decode_grey(plane) for time in times for plane in fields[time - t]]


class Batches(Dataset[dict[str, torch.Tensor]]):
    """Whole batches of a dataset that makes them: its keys are lists of that one's keys.

        DataLoader(Batches(dataset), sampler=BatchSampler(sampler, 8, False), batch_size=None)

    gives what ``DataLoader(dataset, 8, sampler=sampler)`` does (of images with ``as_bytes``) with
    less work: they are written where the training process reads them, not copied there.
    """

    def __init__(self, dataset: Any) -> None:
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, keys: list[Key]) -> dict[str, torch.Tensor]:
        batch: dict[str, torch.Tensor] = self.dataset.batch(keys)
        return batch


def make_tensor(shape: tuple[int, ...], dtype: torch.dtype = torch.uint8) -> torch.Tensor:
    """An uninitialized tensor; in a loader's worker, in memory that all processes share."""
    size = math.prod(shape)
    if get_worker_info() is None or not size:
        return torch.empty(shape, dtype=dtype)
    # As torch's own default_collate does; share_memory_() would copy what is not yet written.
    storage = torch.UntypedStorage._new_shared(size * dtype.itemsize)
    return torch.empty(0, dtype=dtype).set_(storage, 0, shape)


class ClipDataset(VideoDataset):
    """Clips of frames or flow fields of each video, for 3-D networks.

    ``sampling`` says how long and how far apart their frames are, and how many clips a test
    takes; training takes one at a random place. Other parameters as for `SnippetDataset`.

    A sample is a dict of ``rgb`` (V, 3, T, H, W) float32 in [0, 1] or ``flow`` (V, 2, T, H, W)
    float32 in [−1, 1], ``label`` and ``row``; V is the number of clips times that of crops, all
    crops of the first clip first.
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
        super().__init__(store, subset, streams, training, crops, many, seed, as_bytes)
        self.sampling = sampling

    def shapes(self) -> list[tuple[str, tuple[int, ...]]]:
        size, clips = self.crops.size, 1 if self.training else self.sampling.clips
        views, length = clips * self.count_crops(), self.sampling.length
        channels = {"rgb": 3, "flow": 2}
        return [(s, (views, channels[s], length, size, size)) for s in self.subset.streams]

    def fill(self, key: int | Key, sample: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        epoch, index = (0, key) if isinstance(key, int) else key
        row = int(self.subset.rows[index])
        video, random = self.subset.store[row], draw(self.seed, epoch, row)
        available = min(self.subset.count(row, stream) for stream in self.subset.streams)
        if self.training:
            clips = self.sampling.sample_randomly(available, random)
        else:
            clips = self.sampling.sample_middles(available)
        crops = self.crops(video.height, video.width, random)
        for stream, tensor in sample.items():
            self._read(video, stream, clips, crops, tensor.numpy())
        return {"label": self.subset.label(row), "row": torch.tensor(row)}

    def _read(self, video: Video, stream: str, clips: Times, crops: list[Any], out: U8) -> None:
        for v, times in enumerate(clips.tolist()):
            for i, t in enumerate(times):
                if stream == "rgb":
                    images = [decode_rgb(video.rgb_bytes(t))]
                else:
                    images = [decode_grey(plane) for plane in video.flow_bytes(t)]
                for c, crop in enumerate(crops):
                    apply_crop(images, crop, out[v * len(crops) + c, :, i], flow=stream == "flow")


def choose_crops(streams: tuple[str, ...], training: bool) -> Crops:
    """The papers' crops: TSN's corners for training, ten crops for testing."""
    if not training:
        return TenCrop()
    return MultiScaleCrop(FLOW_SCALES if "flow" in streams else RGB_SCALES)


def scale_bytes(images: torch.Tensor, stream: str) -> torch.Tensor:
    """uint8 images → float32, on the device that they are on: RGB to [0, 1], flow to [−1, 1].

    No motion is 0 exactly, the store's bound is 1.
    """
    if stream == "rgb":
        return images.float() / 255
    return (images.float() - 128) / 127


class EpochSampler(Sampler[Key]):
    """Which samples a process takes, in which order; resumable within an epoch.

    Training shuffles by (seed, epoch) and gives each of ``world`` processes the same number of
    samples, so the last ``size mod world`` of the order sit this epoch out. Testing keeps the
    order and shards without dropping or repeating: the counts of two processes may differ by one.

    ``epoch`` is set before each epoch; ``state_dict`` after ``taken`` samples were *used* (a
    loader runs ahead of them) continues there.
    """

    def __init__(
        self, size: int, *, training: bool, seed: int = 0, rank: int = 0, world: int = 1
    ) -> None:
        if not 0 <= rank < world:
            raise UsageError(f"expected a rank from 0 to {world - 1}, got {rank}")
        self.size, self.training, self.seed = size, training, seed
        self.rank, self.world = rank, world
        self.epoch, self.taken = 0, 0

    def __len__(self) -> int:
        return max(0, len(self._list()) - self.taken)

    def __iter__(self) -> Iterator[Key]:
        return ((self.epoch, int(index)) for index in self._list()[self.taken :])

    def set_epoch(self, epoch: int) -> None:
        """Begin an epoch."""
        self.epoch, self.taken = epoch, 0

    def state_dict(self) -> dict[str, int]:
        return {"epoch": self.epoch, "taken": self.taken, "size": self.size}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Continue; UsageError where the dataset is another size than it was."""
        if state["size"] != self.size:
            raise UsageError(
                f"expected a dataset of {state['size']} videos, as when this was saved, got "
                f"{self.size}: the store or the subset changed"
            )
        self.epoch, self.taken = state["epoch"], state["taken"]

    def _list(self) -> npt.NDArray[np.int64]:
        order = np.arange(self.size)
        if self.training:
            order = draw(self.seed, self.epoch, (1 << 40) - 1).permutation(self.size)
            order = order[: self.size // self.world * self.world]
        return order[self.rank :: self.world]

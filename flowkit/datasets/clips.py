"""A PyTorch dataset of clips, consecutive or strided frames or flow fields, for 3-D networks.

video_dataset.py explains how samples are read, and has the legend of the shapes. Times are the
indices of frames and flow fields in their video.
"""

from pathlib import Path

import numpy as np
import torch

from flowkit.datasets.sampling import ClipSampling, Times
from flowkit.datasets.transforms import CropStrategy
from flowkit.datasets.video_dataset import VideoDataset
from flowkit.store import Store


class ClipDataset(VideoDataset):
    """Clips of frames or flow fields of each video, for 3-D networks.

    A sample is a dict of

    - ``rgb``: (V, 3, T, H, W) float32 in [0, 1];
    - ``flow``: (V, 2, T, H, W) float32 in [−1, 1];
    - ``label``: () int64, or (classes,) float32 of 0 and 1 with ``multi_label``;
    - ``row``: () int64, the row of the video in the store.

    V is the number of clips times the number of crops. All crops of the first clip come first.

    Args:
        store: A store, or its path.
        subset: Name of a subset of the store's index, or the row of the only video.
        sampling: Length and stride of the clips, and how many of them testing uses. Training uses
            one clip at a random position.
        streams: Streams to read: ``rgb``, ``flow`` or both. Both see the same times, crops and
            flips.
        training: Whether to draw random times and crops instead of fixed ones.
        crops: Which crops to use. Default: as for `SnippetDataset`.
        multi_label: Whether a video may have any number of labels instead of exactly one.
        seed: Seed of all random choices.
        as_bytes: Whether images stay uint8 as in the store; see `SnippetDataset`.

    Raises:
        UsageError: If a name is unknown, or no stream is named.
        StoreError: If a video of the subset does not have all streams or a label.

    Example:
        >>> dataset = ClipDataset("stores/hmdb51", "test1", ClipSampling(length=32, clips=10))
        >>> dataset[0]["rgb"].shape
        torch.Size([100, 3, 32, 224, 224])
    """

    def __init__(
        self,
        store: Store | Path | str,
        subset: str | int,
        sampling: ClipSampling,
        *,
        streams: tuple[str, ...] = ("rgb",),
        training: bool = False,
        crops: CropStrategy | None = None,
        multi_label: bool = False,
        seed: int = 0,
        as_bytes: bool = False,
    ) -> None:
        """Open the store and check the videos of the subset."""
        super().__init__(store, subset, streams, training, crops, multi_label, seed, as_bytes)
        self.sampling, self.clip_shape = sampling, (sampling.length,)
        self.num_segments = 1 if training else sampling.clips  # one clip of each

    def sample_times(self, row: int, random: np.random.Generator) -> tuple[Times, torch.Tensor]:
        """Choose the times of the clips' images, (clips, T), and return the label of the video."""
        available = min(self.subset.count(row, stream) for stream in self.subset.streams)
        if self.training:
            times = self.sampling.sample_randomly(available, random)
        else:
            times = self.sampling.sample_middles(available)
        return self.first_time + times, self.subset.label(row)

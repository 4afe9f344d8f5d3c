"""A PyTorch dataset of snippets, for two-stream networks such as TSN.

A snippet is RGB frame t with the flow fields t … t + ``flow_length`` − 1. RGB frames and flow
fields are two streams of the store; a two-stream network has one branch for each, which is a
network of its own. Times are the indices of frames and flow fields in their video. video_dataset.py
explains how samples are read, and has the legend of the shapes.
"""

from pathlib import Path

import numpy as np
import torch

from flowkit.datasets.sampling import Times, count_positions, sample_middles, sample_randomly
from flowkit.datasets.transforms import CropStrategy
from flowkit.datasets.video_dataset import IMAGE_STREAMS, VideoDataset
from flowkit.errors import UsageError
from flowkit.store import Store


class SnippetDataset(VideoDataset):
    """K snippets of each video: RGB frame t with the flow fields t … t + ``flow_length`` − 1.

    A sample is a dict of

    - ``rgb``: (V, 3, H, W) float32 in [0, 1];
    - ``flow``: (V, 2·flow_length, H, W) float32 in [−1, 1], in the order x_t, y_t, x_{t+1}, …;
    - ``label``: () int64, or (classes,) float32 of 0 and 1 with ``multi_label``;
    - ``row``: () int64, the row of the video in the store.

    V is K times the number of crops. All crops of the first snippet come first.

    Args:
        store: A store, or its path.
        subset: Name of a subset of the store's index, or the row of the only video.
        num_segments: Number of segments K, at least 1. Training uses a random snippet of each
            segment, testing uses the middle one.
        flow_length: Number of flow fields in a snippet, at least 1. For a time beyond the last
            field, the last field is used.
        streams: Streams to read: ``rgb``, ``flow`` or both. Both see the same times, crops and
            flips.
        training: Whether to draw random times and crops instead of fixed ones.
        crops: Which crops to use. Default: the multi-scale corner crops of TSN for training (with
            RGB scales if RGB is the only stream, else with flow scales), and ten crops for testing.
        multi_label: Whether a video may have any number of labels instead of exactly one.
        seed: Seed of all random choices.
        as_bytes: Whether images stay uint8 as in the store. `scale_bytes` then converts them
            later, on the GPU if they are there, so that a quarter of the bytes is copied to it.

    Raises:
        UsageError: If a name is unknown or a number is below 1.
        StoreError: If a video of the subset does not have all streams or a label.

    Example:
        >>> dataset = SnippetDataset("stores/hmdb51", "train1", 3, training=True)
        >>> dataset[0]["flow"].shape
        torch.Size([3, 10, 224, 224])
    """

    def __init__(
        self,
        store: Store | Path | str,
        subset: str | int,
        num_segments: int,
        *,
        flow_length: int = 5,
        streams: tuple[str, ...] = IMAGE_STREAMS,
        training: bool = False,
        crops: CropStrategy | None = None,
        multi_label: bool = False,
        seed: int = 0,
        as_bytes: bool = False,
    ) -> None:
        """Open the store and check the videos of the subset."""
        if flow_length < 1 or num_segments < 1:
            raise UsageError(
                f"expected flow_length and num_segments of at least 1, got {flow_length} and "
                f"{num_segments}"
            )
        super().__init__(store, subset, streams, training, crops, multi_label, seed, as_bytes)
        self.num_segments, self.flow_length = num_segments, flow_length

    def sample_times(self, row: int, random: np.random.Generator) -> tuple[Times, torch.Tensor]:
        """Choose where the snippets start, (K, 1), and return the label of the video."""
        starts = self.count_starts(self.count_frames(row))  # from the first one with flow
        if self.training:
            times = sample_randomly(starts, self.num_segments, random)
        else:
            times = sample_middles(starts, self.num_segments)
        return self.first_time + times[:, None], self.subset.label(row)

    def count_frames(self, row: int) -> int:
        """Count the frames to sample from; a flow field is between two frames."""
        if "flow" in self.subset.streams:
            return self.subset.count(row, "flow") + self.flow_distance
        return self.subset.count(row, "rgb")

    def count_starts(self, frames: int) -> int:
        """Count the starts of snippets whose flow fields are all within the frames; at least 1."""
        if "flow" in self.subset.streams:
            return count_positions(frames - self.flow_distance, self.flow_length)
        return frames

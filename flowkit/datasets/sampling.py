"""Choose the frames of a video that a sample consists of: snippets or clips, by segments.

Everything here is integer arithmetic without I/O. A time is the index of a frame (or of a flow
field, or of an audio patch) in its video, counted from 0. A position is a time at which a snippet
or clip can start: from 0 on, as long as all of its frames are in the video. ``available`` is always
the number of frames (or flow fields, or patches) of the video.

Wang et al., "Temporal Segment Networks", ECCV 2016, §3: the n positions of a video are divided into
K segments of (nearly) equal length. Training uses a random position of each segment, testing uses
the middle one.

    segment k of K      positions ⌊kn/K⌋ … ⌊(k+1)n/K⌋ − 1
    its middle          ⌊(2k+1)n / 2K⌋

Deviation from the code of TSN: its training drew from ⌊n/K⌋ positions per segment, so it never
used the last n mod K positions, and it repeated position 0 in short videos. The segments here cover
all positions. The test positions are those of TSN (n = 246 and K = 25 give 4, 14, 24, …, 241).

One rule covers all videos that are too short: **a time beyond the last frame is the last frame.**
If there are fewer positions than segments, neighbouring segments share a position. A snippet or
clip that runs past the end of the video repeats the last flow field or frame.

All randomness comes from `make_generator`, which depends on (seed, epoch, index) only. A sample is
therefore the same in every process and worker, and at any time.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from flowkit.errors import UsageError

Times = npt.NDArray[np.int64]
"""Indices of frames, flow fields or patches in their video."""


def make_generator(seed: int, epoch: int, index: int) -> np.random.Generator:
    """Create the random number generator of one sample in one epoch.

    Args:
        seed: Seed of the dataset.
        epoch: Epoch, counted from 0.
        index: Index of the sample, below 2^40.

    Returns:
        A generator whose numbers depend on the three arguments only.
    """
    return np.random.Generator(np.random.Philox(key=[seed, (epoch << 40) | index]))


def count_positions(available: int, length: int) -> int:
    """Count the positions where a snippet or clip can start.

    Args:
        available: Frames or flow fields of the video, at least 1.
        length: Frames or flow fields from the first to the last of the snippet or clip, at least
            1; with a stride, also those between.

    Returns:
        The number of start positions, at least 1 even if the video is too short.

    Raises:
        UsageError: If one of the numbers is below 1.
    """
    if available < 1 or length < 1:
        raise UsageError(
            f"expected at least 1 frame in a clip and in its video, got {length} and {available}"
        )
    return max(1, available - length + 1)


def sample_middles(positions: int, segments: int) -> Times:
    """Choose the middle position of each segment, for testing.

    Args:
        positions: Number of positions in the video, at least 1.
        segments: Number of segments K, at least 1.

    Returns:
        (K,) int64 positions in ascending order.

    Raises:
        UsageError: If one of the numbers is below 1.
    """
    check_segments(positions, segments)
    return (2 * np.arange(segments) + 1) * positions // (2 * segments)


def sample_randomly(positions: int, segments: int, random: np.random.Generator) -> Times:
    """Choose a random position of each segment, for training.

    Args:
        positions: Number of positions in the video, at least 1.
        segments: Number of segments K, at least 1.
        random: Generator of the sample.

    Returns:
        (K,) int64 positions in ascending order.

    Raises:
        UsageError: If one of the numbers is below 1.
    """
    check_segments(positions, segments)
    bounds = np.arange(segments + 1) * positions // segments
    return random.integers(bounds[:-1], np.maximum(bounds[1:], bounds[:-1] + 1))


def list_times(start: int | Times, length: int, available: int, stride: int = 1) -> Times:
    """List the times of the frames of a snippet or clip.

    Args:
        start: Time (index) of the first frame, or an array of such times.
        length: Number of frames or flow fields.
        available: Frames or flow fields of the video.
        stride: Distance between two frames of the clip.

    Returns:
        (…, length) int64 times, … being the shape of ``start``; a time beyond the last frame is
        the last frame.
    """
    return np.minimum(np.asarray(start)[..., None] + stride * np.arange(length), available - 1)


@dataclass(frozen=True, kw_only=True)
class ClipSampling:
    """Which clips of a video are used.

    Example:
        >>> ClipSampling(length=3, stride=2).sample_middles(available=9)
        array([[2, 4, 6]])
    """

    length: int
    """Number of frames in a clip, at least 1."""
    stride: int = 1
    """Distance between two frames of a clip, at least 1."""
    clips: int = 1
    """Number of evenly spaced clips per video in testing, at least 1; training uses one."""

    def __post_init__(self) -> None:
        """Check that all numbers are at least 1."""
        for name in ("length", "stride", "clips"):
            if getattr(self, name) < 1:
                raise UsageError(f"{name} of clips must be at least 1, got {getattr(self, name)}")

    @property
    def span(self) -> int:
        """Frames of the video from the first to the last frame of a clip, both included."""
        return (self.length - 1) * self.stride + 1

    def sample_middles(self, available: int) -> Times:
        """Choose evenly spaced clips, which start at the middles of segments.

        Args:
            available: Frames or flow fields of the video, at least 1.

        Returns:
            (clips, length) int64 times.
        """
        starts = sample_middles(count_positions(available, self.span), self.clips)
        return list_times(starts, self.length, available, self.stride)

    def sample_randomly(self, available: int, random: np.random.Generator) -> Times:
        """Choose one clip at a random position.

        Args:
            available: Frames or flow fields of the video, at least 1.
            random: Generator of the sample.

        Returns:
            (1, length) int64 times.
        """
        starts = sample_randomly(count_positions(available, self.span), 1, random)
        return list_times(starts, self.length, available, self.stride)


def check_segments(positions: int, segments: int) -> None:
    """Check that there is at least one position and one segment.

    Args:
        positions: Number of positions in the video.
        segments: Number of segments.

    Raises:
        UsageError: If one of the numbers is below 1.
    """
    if positions < 1 or segments < 1:
        raise UsageError(
            f"expected at least 1 position and 1 segment, got {positions} and {segments}"
        )

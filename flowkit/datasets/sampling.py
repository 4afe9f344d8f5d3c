"""Which frames of a video make a sample: segments, snippets, clips. Integers only, no I/O.

Wang et al., "Temporal Segment Networks", ECCV 2016, §3: a video of n positions is cut into K
segments of (nearly) equal length; training takes a random position of each, testing the middle.

    segment k of K      positions ⌊kn/K⌋ … ⌊(k+1)n/K⌋ − 1
    its middle          ⌊(2k+1)n / 2K⌋

Departs from TSN's code: its training drew from ⌊n/K⌋ positions a segment and so never saw the
last n mod K, and repeated position 0 in short videos; segments here cover all. Test positions
are TSN's (n = 246 and K = 25 give 4, 14, 24, …, 241).

The rule for videos shorter than asked, everywhere: **a time beyond the last is the last.** With
fewer positions than segments, neighbouring segments share a position; a snippet or clip that
runs over the end repeats the last flow field or frame.

Randomness comes from `draw`, a function of (seed, epoch, index) alone: the same sample whatever
process or worker makes it, and whenever.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from flowkit.errors import UsageError

Times = npt.NDArray[np.int64]


def draw(seed: int, epoch: int, index: int) -> np.random.Generator:
    """The random numbers of one sample of one epoch."""
    return np.random.Generator(np.random.Philox(key=[seed, (epoch << 40) | index]))


def count_positions(available: int, length: int) -> int:
    """Where something of ``length`` can begin in ``available`` frames or fields; at least 1."""
    if available < 1 or length < 1:
        raise UsageError(f"expected a length of at least 1 in a video, got {length} in {available}")
    return max(1, available - length + 1)


def sample_middles(positions: int, segments: int) -> Times:
    """The middle of each segment, (K,) int64, ascending; for testing."""
    check_segments(positions, segments)
    return (2 * np.arange(segments) + 1) * positions // (2 * segments)


def sample_randomly(positions: int, segments: int, random: np.random.Generator) -> Times:
    """A random position of each segment, (K,) int64, ascending; for training."""
    check_segments(positions, segments)
    bounds = np.arange(segments + 1) * positions // segments
    return random.integers(bounds[:-1], np.maximum(bounds[1:], bounds[:-1] + 1))


def list_times(start: int, length: int, available: int, stride: int = 1) -> Times:
    """The times of a snippet or clip that begins at ``start``, (length,); the last is repeated."""
    return np.minimum(start + stride * np.arange(length), available - 1)


@dataclass(frozen=True, kw_only=True)
class ClipSampling:
    """Clips of ``length`` frames, ``stride`` apart; ``clips`` of them evenly spaced at test."""

    length: int
    stride: int = 1
    clips: int = 1

    def __post_init__(self) -> None:
        for name in ("length", "stride", "clips"):
            if getattr(self, name) < 1:
                raise UsageError(f"{name} of clips must be at least 1, got {getattr(self, name)}")

    @property
    def span(self) -> int:
        """Frames from the first of a clip to its last."""
        return (self.length - 1) * self.stride + 1

    def sample_middles(self, available: int) -> Times:
        """Times of evenly spaced clips, (clips, length): their starts are segments' middles."""
        starts = sample_middles(count_positions(available, self.span), self.clips)
        return self._list(starts, available)

    def sample_randomly(self, available: int, random: np.random.Generator) -> Times:
        """Times of one clip at a random place, (1, length)."""
        starts = sample_randomly(count_positions(available, self.span), 1, random)
        return self._list(starts, available)

    def _list(self, starts: Times, available: int) -> Times:
        return np.stack([list_times(int(t), self.length, available, self.stride) for t in starts])


def check_segments(positions: int, segments: int) -> None:
    if positions < 1 or segments < 1:
        raise UsageError(
            f"expected at least 1 position and 1 segment, got {positions} and {segments}"
        )

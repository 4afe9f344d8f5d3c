"""Choose the frames of the windows from which the features of a video are computed.

A feature file has one row for each window of a video, and a window has the same number of frames
everywhere. `WindowSampling` computes which frames these are, for a whole video or while its frames
arrive one by one. Frames are numbered from 0.

    symbol  name               meaning
    N       frames             frames of the video
    n       usable frames      N, or N - 1 where the last frame is dropped
    L       length             frames of a window
    d       step               frames from one frame of a window to the next
    E       extent             (L - 1) d + 1, frames from the first to the last of a window
    S       stride             frames from the start of one window to the start of the next
    k       row                index of a window, from 0

    placement  first frame of window k    number of windows, for n >= 1
    whole      k S                        max(1, floor((n - E) / S) + 1)
    covering   k S                        min(ceil(n / S), ceil(max(0, n - E) / S) + 1)
    centred    k S - floor(L / 2) d       ceil(n / S)

Frame i of window k is its first frame plus i d, moved into the video where it lies outside: to
frame 0 or to frame n - 1, which are thus repeated. A whole window is padded only where n < E; of
the covering windows, only the last one is.

A centred window has frame k S as its frame floor(L / 2). An odd window has equally many frames
before and after it. An even one has one frame more before it: 16 frames are t - 8 ... t + 7, so
that the middle of the window is the moment at which frame t appears.
"""

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from flowkit.errors import UsageError

I64 = npt.NDArray[np.int64]
F64 = npt.NDArray[np.float64]
Placement = Literal["whole", "covering", "centred"]
LastFrame = Literal["keep", "drop"]


@dataclass(frozen=True, kw_only=True)
class WindowSampling:
    """Where the windows of a video lie, and which frames each of them has.

    Raises:
        UsageError: A number is below 1, or a word is unknown; the message names the option.
    """

    length: int = 16
    """Number of frames in a window."""
    stride: int = 16
    """Number of frames from the start of one window to the start of the next."""
    step: int = 1
    """Number of frames from one frame of a window to the next."""
    placement: Placement = "whole"
    """Where windows lie. "whole": in the video, from its first frame on; a video that is shorter
    than a window has one padded window. "covering": as "whole", with one more, padded window if
    frames are left over. "centred": one window around every `stride`-th frame, padded at both ends
    of the video."""
    last_frame: LastFrame = "keep"
    """What to do with the last frame of a video, from which no flow leads to a next frame. "keep":
    it is used like the others. "drop": windows see only the frames before it."""

    def __post_init__(self) -> None:
        numbers = (
            ("--window", "the number of frames in a window", self.length),
            ("--stride", "the number of frames from one window to the next", self.stride),
            (
                "--clip-stride",
                "the number of frames from one frame of a window to the next",
                self.step,
            ),
        )
        for option, meaning, value in numbers:
            if value < 1:
                raise UsageError(f"{option} {value}: {meaning} must be at least 1")
        words = (
            ("--placement", self.placement, get_args(Placement)),
            ("--last-frame", self.last_frame, get_args(LastFrame)),
        )
        for option, word, choices in words:
            if word not in choices:
                raise UsageError(f"{option} {word}: expected one of {', '.join(choices)}")

    @property
    def extent(self) -> int:
        """Return the number of frames from the first to the last frame of a window, inclusive."""
        return (self.length - 1) * self.step + 1

    @property
    def offset(self) -> int:
        """Return how many frames before its reference frame, ``row * stride``, a window starts."""
        return self.length // 2 * self.step if self.placement == "centred" else 0

    def count_usable(self, frames: int) -> int:
        """Return how many of the frames of a video the windows may use."""
        return max(0, frames - 1 if self.last_frame == "drop" else frames)

    def is_too_short(self, frames: int) -> bool:
        """Return whether a video has fewer usable frames than one window spans."""
        return self.count_usable(frames) < self.extent

    def count_rows(self, frames: int) -> int:
        """Return the number of windows of a video.

        Args:
            frames: Number of frames of the video.

        Returns:
            The number of windows, at least 1; 0 only for a video without a usable frame.
        """
        usable = self.count_usable(frames)
        if not usable:
            return 0
        if self.placement == "centred":
            return -(-usable // self.stride)
        beyond_first = max(0, usable - self.extent)
        if self.placement == "whole":
            return beyond_first // self.stride + 1
        return min(-(-usable // self.stride), -(-beyond_first // self.stride) + 1)

    def count_complete(self, available: int) -> int:
        """Return how many windows are final while the frames of a video still arrive.

        A window is final when its frames have arrived and none of them can turn out to be the last
        frame of the video that is dropped. However the video goes on, it has these windows. With
        flow, `available` is the number of frames whose flow has arrived too.

        Args:
            available: Number of frames that have arrived: frames 0 … `available` - 1.

        Returns:
            The number of windows; they are the first ones of `list_frames`, however many frames
            the whole video has.
        """
        beyond_first = self.count_usable(available) - (self.extent - self.offset)
        return max(0, beyond_first // self.stride + 1)

    def find_oldest_needed(self, row: int) -> int:
        """Return the first frame that a window or any later one needs; earlier ones can be dropped.

        Args:
            row: Index of the next window that is not computed yet.

        Returns:
            Index of the frame, which may not have arrived yet.
        """
        return max(0, row * self.stride - self.offset)

    def list_starts(self, frames: int) -> I64:
        """Return the first frame of each window; those of centred windows may be negative.

        Args:
            frames: Number of frames of the video.

        Returns:
            Frame indices before they are moved into the video, int64 (T,).
        """
        rows = np.arange(self.count_rows(frames), dtype=np.int64)
        starts: I64 = rows * self.stride - self.offset
        return starts

    def list_frames(self, frames: int) -> I64:
        """Return the frames of each window of a video.

        Args:
            frames: Number of frames of the video.

        Returns:
            Frame indices from 0 to the last usable frame, int64 (T, L).
        """
        within = np.arange(self.length, dtype=np.int64) * self.step
        indices: I64 = self.list_starts(frames)[:, None] + within
        return indices.clip(0, max(0, self.count_usable(frames) - 1))

    def list_padding(self, frames: int) -> I64:
        """Return how many frames of each window repeat the first or last frame of the video.

        Args:
            frames: Number of frames of the video.

        Returns:
            Number of repeated frames of each window, 0 where all are its own, int64 (T,).
        """
        starts = self.list_starts(frames)
        before = -(starts // self.step)  # frames of the window before frame 0, rounded up
        inside = -((starts - self.count_usable(frames)) // self.step)  # those up to the last frame
        padding: I64 = before.clip(0) + self.length - inside.clip(0, self.length)
        return padding

    def compute_times(
        self,
        frames: int,
        *,
        fps: float | None = None,
        frame_times: F64 | None = None,
        duration: float | None = None,
    ) -> F64:
        """Compute which time of the video each window shows.

        A window shows the time from the moment its first frame appears to the moment after its last
        frame. Padding does not count: a window never starts before the video or ends after it.

        Args:
            frames: Number of frames of the video.
            fps: Frames per second, where all frames are shown equally long.
            frame_times: The times at which the frames appear instead, in seconds, increasing,
                float64 (frames,).
            duration: The time at which the last frame disappears, in seconds. By default it is
                shown for the median time of the others, or for 0 s if there is no other.

        Returns:
            Start and end of each window in seconds, float64 (T, 2).

        Raises:
            ValueError: Neither or both of `fps` and `frame_times` are given, or they do not fit.
        """
        edges = compute_edges(frames, fps, frame_times, duration)
        starts, last = self.list_starts(frames), max(0, self.count_usable(frames) - 1)
        ends = starts + self.extent - 1
        return np.stack([edges[starts.clip(0, last)], edges[ends.clip(0, last) + 1]], axis=1)


def compute_edges(
    frames: int, fps: float | None, frame_times: F64 | None, duration: float | None
) -> F64:
    """Compute when each frame of a video appears, and when the last one disappears.

    Args:
        frames: Number of frames of the video.
        fps: Frames per second, or None.
        frame_times: When the frames appear in seconds, float64 (frames,), or None.
        duration: When the last frame disappears in seconds; see `WindowSampling.compute_times`.

    Returns:
        Times in seconds, float64 (frames + 1,).

    Raises:
        ValueError: The arguments contradict each other.
    """
    if (fps is None) == (frame_times is None):
        raise ValueError("expected either fps or frame_times")
    if fps is not None:
        if not 0 < fps < np.inf:
            raise ValueError(f"expected a positive frame rate, got {fps}")
        edges = np.arange(frames + 1) / fps
    else:
        times = np.asarray(frame_times, dtype=np.float64)
        if times.shape != (frames,):
            raise ValueError(f"expected the times of {frames} frames, got shape {times.shape}")
        shown = np.diff(times)
        if not (shown >= 0).all():
            raise ValueError("expected the times of the frames in increasing order")
        last = float(np.median(shown)) if len(shown) else 0.0
        edges = np.append(times, times[-1] + last if frames else 0.0)
    if duration is not None and frames:
        if not edges[-2] <= duration < np.inf:
            raise ValueError(f"the last frame appears at {edges[-2]} s, after the end {duration} s")
        edges[-1] = duration
    return edges

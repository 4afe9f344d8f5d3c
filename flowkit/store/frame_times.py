"""Convert between the frames of a video and their times in seconds.

``times`` are the times at which frames are shown, float64 seconds from the first frame, as
`Video.times` returns them. A frame is shown until the next one; the last frame is taken to be shown
as long as a frame is on average. A file with wrong timestamps can show a frame before an earlier
one; then the earlier frame is taken to be shown for no time.
"""

import numpy as np
import numpy.typing as npt

F64 = npt.NDArray[np.float64]

RATE_TOLERANCE = 0.001
"""Seconds by which frames may deviate from a constant rate: Matroska and others round times to
milliseconds.
"""


def list_bounds(times: F64, fps: float) -> F64:
    """List the times at which frames start, and that at which the last one ends.

    Args:
        times: (T,) times of the frames, T ≥ 1.
        fps: Frames per second, which is used for a video of one frame only.

    Returns:
        (T + 1,) float64 seconds, ascending: frame t is shown from bounds[t] to bounds[t + 1].
    """
    ascending = np.maximum.accumulate(times)
    return np.append(ascending, compute_duration(float(ascending[-1]), len(times), fps))


def compute_duration(last_time: float, frames: int, fps: float) -> float:
    """Compute when the last frame of a video ends.

    Args:
        last_time: When it is shown, in seconds from the first frame.
        frames: Number of frames of the video, at least 1.
        fps: Frames per second, which is used for a video of one frame only.

    Returns:
        Seconds from the first frame.
    """
    if frames > 1:
        return round(float(last_time) * frames / (frames - 1), 6)
    return 1 / fps if fps > 0 else 0.0


def has_constant_rate(times: F64, fps: float) -> bool:
    """Return whether all frames are shown at t / fps, up to the rounding of containers."""
    if not fps > 0:
        return False
    return bool((abs(times - np.arange(len(times)) / fps) <= RATE_TOLERANCE).all())


def find_frame(times: F64, seconds: float) -> int:
    """Find the frame that is shown at a time, by bisection.

    Args:
        times: (T,) times of the frames, T ≥ 1.
        seconds: Seconds from the first frame.

    Returns:
        The last frame before the first one that is shown after ``seconds``; at least 0.
    """
    ascending = np.maximum.accumulate(times)
    return max(0, int(np.searchsorted(ascending, seconds, side="right")) - 1)

"""Pair the frames of a video between which flow is computed, and compute TV-L1 of the pairs.

With step K, flow leads from frame t to frame t + K. For K < 0 that is an earlier frame (backward
flow). A method of flow gets two equally long batches, the first and the second frames of the pairs,
whatever the step is.
"""

import numpy as np
import numpy.typing as npt

from flowkit.flow import quantize, tvl1, tvl1_video_quantized
from flowkit.flow.params import TVL1Params

U8 = npt.NDArray[np.uint8]


class FramePairs:
    """Pairs of frames of one video that comes in chunks; |step| frames are kept between chunks.

    Args:
        step: Frames from the first to the second frame of a pair; not 0.
    """

    def __init__(self, step: int) -> None:
        self._step = step
        self._kept: list[U8] = []

    def add(self, frames: list[U8]) -> tuple[list[U8], list[U8]]:
        """Add the next frames, and return the pairs that they complete.

        Args:
            frames: Frames of any kind, such as grey ones.

        Returns:
            The first and the second frames of the pairs, both in the order of time. Over all calls,
            the first frames are all that have a partner, each once.
        """
        distance = abs(self._step)
        window = [*self._kept, *frames]
        self._kept = window[-distance:]
        earlier, later = window[:-distance], window[distance:]
        return (earlier, later) if self._step > 0 else (later, earlier)


def compute_tvl1(
    first: list[U8], second: list[U8], step: int, params: TVL1Params, bound: float, backend: str
) -> U8:
    """Compute the TV-L1 flow of pairs of frames of a video, as the bytes that a store holds.

    Pairs of neighbouring frames share their frames, each of which is then prepared once. The bytes
    are the same as those of pairs that are computed one by one.

    Args:
        first: Grey frames (H, W), consecutive ones of the video; at least one.
        second: The frames that flow leads to, as many.
        step: Frames from a first to its second frame.
        params: Parameters of the solver.
        bound: Displacement in pixels beyond which flow is clipped.
        backend: Name of the backend.

    Returns:
        uint8 (N, H, W, 2).
    """
    # Neighbouring pairs share a frame: the second one of a pair is the first one of the next.
    if step == 1:
        return tvl1_video_quantized(np.stack([first[0], *second]), params, bound, backend)
    if step == -1:
        backward = np.stack([*first[::-1], second[0]])
        return tvl1_video_quantized(backward, params, bound, backend)[::-1]
    return quantize(tvl1(np.stack(first), np.stack(second), params, backend), bound)

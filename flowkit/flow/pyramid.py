# ruff: noqa: N803, N806
"""Image pyramids: which levels a frame has, the levels themselves, and flow between them.

A level is `scale_step` times the size of the next finer one, each side rounded to the
nearest integer (half to even). Levels whose shorter side would be below `min_side` are
left out; the full image is always there. Shrinking is bilinear without a blur and with
half-pixel centres, as in OpenCV's CPU class.
"""

from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from flowkit.flow.params import TVL1Params

F32 = npt.NDArray[np.float32]


def compute_level_sizes(height: int, width: int, params: TVL1Params) -> list[tuple[int, int]]:
    """(height, width) of each level, the full image first; never empty."""
    sizes = [(height, width)]
    while len(sizes) < params.scales:
        # round() on a float is half-to-even, as OpenCV's cvRound
        height, width = round(height * params.scale_step), round(width * params.scale_step)
        if min(height, width) < params.min_side or (height, width) == sizes[-1]:
            break
        sizes.append((height, width))
    return sizes


def build_pyramid(
    frame_HW: npt.NDArray[Any], params: TVL1Params, out: list[F32] | None = None
) -> list[F32]:
    """Build the levels of one grey frame (uint8 or float32, 0–255), the full image first.

    Args:
        frame_HW: the frame.
        params: decide which levels there are.
        out: memory for them, as an earlier call returned it.

    Returns:
        Float32 arrays with the sizes of `compute_level_sizes`.
    """
    import cv2

    height, width = frame_HW.shape
    sizes = compute_level_sizes(height, width, params)
    levels = [np.empty(size, np.float32) for size in sizes] if out is None else out
    levels[0][:] = frame_HW
    step = params.scale_step
    for larger, level in pairwise(levels):
        # The exact step, not the ratio of the rounded sizes, maps destination to source:
        # cv2 does so when it is given factors instead of a size.
        made = cv2.resize(larger, None, level, fx=step, fy=step, interpolation=cv2.INTER_LINEAR)
        assert made is level  # cv2 takes memory of its own if it rounds the size otherwise
    return levels


def enlarge_flow(
    flow_2HW: F32, height: int, width: int, scale_step: float, out_2HW: F32 | None = None
) -> F32:
    """Carry the flow of one level to the next finer one: bilinear, vectors scaled.

    Args:
        flow_2HW: (2, h, w) float32, in pixels of its level.
        height: of the finer level.
        width: of the finer level.
        scale_step: size of a level relative to the next finer one.
        out_2HW: memory for the result.

    Returns:
        (2, H, W) float32, in pixels of the finer level; `out_2HW` if that is given.
    """
    import cv2

    if out_2HW is None:
        out_2HW = np.empty((2, height, width), np.float32)
    for plane, out_HW in zip(flow_2HW, out_2HW, strict=True):
        cv2.resize(plane, (width, height), out_HW, interpolation=cv2.INTER_LINEAR)
    out_2HW *= np.float32(1 / scale_step)
    return out_2HW


def filter_flow(flow_2HW: F32, side: int, out_2HW: F32 | None = None) -> F32:
    """Replace each value of both flow planes by the median of those around it.

    Args:
        flow_2HW: (2, H, W) float32, in pixels.
        side: side of the square of values, in pixels: 3 or 5, or 1 for no filter. The values at
            the border are repeated outside.
        out_2HW: memory for the result.

    Returns:
        (2, H, W) float32; `flow_2HW` itself if `side` is 1, else `out_2HW` if that is given.
    """
    import cv2

    if side == 1:
        return flow_2HW
    if out_2HW is None:
        out_2HW = np.empty(flow_2HW.shape, np.float32)
    for plane, out_HW in zip(flow_2HW, out_2HW, strict=True):
        cv2.medianBlur(np.ascontiguousarray(plane), side, out_HW)
    return out_2HW

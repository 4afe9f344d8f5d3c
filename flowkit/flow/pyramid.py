# ruff: noqa: N803, N806
"""Build image pyramids, and enlarge the flow of one level for the next finer one.

A level is `scale_step` times the size of the next finer one, each side rounded to the nearest
integer (half to even). Levels whose shorter side would be below `min_side` are left out; the full
image is always present. Images are reduced bilinearly without a blur and with half-pixel centres,
as in OpenCV's DualTVL1OpticalFlow.
"""

from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from flowkit.flow.params import TVL1Params

F32 = npt.NDArray[np.float32]


def compute_level_sizes(height: int, width: int, params: TVL1Params) -> list[tuple[int, int]]:
    """Compute the size of each level.

    Args:
        height: Height of the full image in pixels.
        width: Width of the full image in pixels.
        params: `scales`, `scale_step` and `min_side` are used.

    Returns:
        (height, width) of each level, the full image first; never empty.
    """
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
    """Build the levels of one grey frame, the full image first.

    Args:
        frame_HW: uint8 or float32 (H, W) with values 0–255.
        params: Decides which levels there are.
        out: Arrays to write to, as an earlier call returned them.

    Returns:
        float32 arrays with the sizes of `compute_level_sizes`.
    """
    import cv2

    height, width = frame_HW.shape
    sizes = compute_level_sizes(height, width, params)
    levels = [np.empty(size, np.float32) for size in sizes] if out is None else out
    levels[0][:] = frame_HW
    step = params.scale_step
    for larger, level in pairwise(levels):
        # With factors instead of a size, cv2 maps destination to source by the exact step rather
        # than by the ratio of the rounded sizes.
        resized = cv2.resize(larger, None, level, fx=step, fy=step, interpolation=cv2.INTER_LINEAR)
        assert resized is level  # cv2 would allocate a new array if it rounded the size otherwise
    return levels


def enlarge_flow(
    flow_2HW: F32, height: int, width: int, scale_step: float, out_2HW: F32 | None = None
) -> F32:
    """Enlarge the flow of one level to the size of the next finer one, bilinearly.

    The displacements grow with the image: they are multiplied by 1/scale_step.

    Args:
        flow_2HW: float32 (2, h, w), in pixels of its level.
        height: Height of the finer level in pixels.
        width: Width of the finer level in pixels.
        scale_step: Size of a level relative to the next finer one.
        out_2HW: Array to write to.

    Returns:
        float32 (2, H, W), in pixels of the finer level; `out_2HW` if that is given.
    """
    import cv2

    if out_2HW is None:
        out_2HW = np.empty((2, height, width), np.float32)
    for plane, out_HW in zip(flow_2HW, out_2HW, strict=True):
        cv2.resize(plane, (width, height), out_HW, interpolation=cv2.INTER_LINEAR)
    out_2HW *= np.float32(1 / scale_step)
    return out_2HW


def filter_flow(flow_2HW: F32, side: int, out_2HW: F32 | None = None) -> F32:
    """Replace each value of both flow planes by the median of the values around it.

    Args:
        flow_2HW: float32 (2, H, W), in pixels.
        side: Side of the square of values, in pixels: 3 or 5, or 1 for no filter. The values at the
            border are repeated outside.
        out_2HW: Array to write to.

    Returns:
        float32 (2, H, W); `flow_2HW` itself if `side` is 1, else `out_2HW` if that is given.
    """
    import cv2

    if side == 1:
        return flow_2HW
    if out_2HW is None:
        out_2HW = np.empty(flow_2HW.shape, np.float32)
    for plane, out_HW in zip(flow_2HW, out_2HW, strict=True):
        cv2.medianBlur(np.ascontiguousarray(plane), side, out_HW)
    return out_2HW

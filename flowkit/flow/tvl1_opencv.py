# ruff: noqa: N803, N806
"""TV-L1 by OpenCV's CPU class, `cv2.optflow.DualTVL1OpticalFlow`: the reference.

It measures the change at every iteration instead of now and then, so it may stop one or
two iterations earlier than the other backends; otherwise the schedule is the same (no
median filter, one inner iteration). Its gradients read a second row and column whether there is
one or not: a frame of a single row or column is given to it doubled.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from flowkit.errors import FlowError
from flowkit.flow.params import TVL1Params
from flowkit.flow.pyramid import F32, compute_level_sizes


def solve_pairs(
    frames0_NHW: npt.NDArray[Any], frames1_NHW: npt.NDArray[Any], params: TVL1Params
) -> F32:
    """Flow from each frame of frames0 to the one of frames1: (N, H, W) twice → (N, H, W, 2)."""
    _, height, width = frames0_NHW.shape
    if 1 in (height, width):
        doubled = ((0, 0), (0, int(height == 1)), (0, int(width == 1)))
        frames0_NHW, frames1_NHW = (np.pad(f, doubled, "edge") for f in (frames0_NHW, frames1_NHW))
    solver = _create_solver(height, width, params)
    flows = [solver.calc(a, b, None) for a, b in zip(frames0_NHW, frames1_NHW, strict=True)]
    return np.stack(flows)[:, :height, :width]


def _create_solver(height: int, width: int, params: TVL1Params) -> Any:
    # A new object for each size: OpenCV's keeps the fewer scales of a small frame for ever.
    import cv2

    optflow: Any = cv2.optflow
    solver = optflow.DualTVL1OpticalFlow_create()
    solver.setTau(params.tau)
    solver.setLambda(params.lambda_)
    solver.setTheta(params.theta)
    solver.setEpsilon(params.epsilon)
    solver.setScalesNumber(count_levels(height, width, params))
    solver.setScaleStep(params.scale_step)
    solver.setWarpingsNumber(params.warps)
    solver.setOuterIterations(params.iterations)
    solver.setInnerIterations(1)
    solver.setMedianFiltering(1)
    solver.setUseInitialFlow(False)
    return solver


def count_levels(height: int, width: int, params: TVL1Params) -> int:
    """Levels to ask OpenCV for; it leaves out those below 16 pixels itself."""
    if params.min_side < 16 and params.scales > 1:
        raise FlowError(
            f"OpenCV's pyramids end at 16 pixels, got min_side {params.min_side}; use backend numba"
        )
    return len(compute_level_sizes(height, width, params))

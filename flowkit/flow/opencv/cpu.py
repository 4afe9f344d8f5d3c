# ruff: noqa: N803, N806
"""TV-L1 by OpenCV's CPU class, `cv2.optflow.DualTVL1OpticalFlow`: the reference.

It measures the change at every iteration instead of now and then, so it may stop one or
two iterations earlier than the other backends; otherwise the schedule is the same (one inner
iteration). Its gradients read a second row and column whether there is one or not: a frame of a
single row or column is given to it doubled.

One call of the class solves all levels alike. Where the parameters tell levels apart, or filter
u after each (the class's own filter comes after each of its outer iterations instead), it is
called once for each level, on our pyramid, with the flow of the coarser level to start from.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from flowkit.errors import FlowError
from flowkit.flow.params import LevelSchedule, TVL1Params
from flowkit.flow.pyramid import (
    F32,
    build_pyramid,
    compute_level_sizes,
    enlarge_flow,
    filter_flow,
)


def solve_pairs(
    frames0_NHW: npt.NDArray[Any], frames1_NHW: npt.NDArray[Any], params: TVL1Params
) -> F32:
    """Flow from each frame of frames0 to the one of frames1: (N, H, W) twice → (N, H, W, 2)."""
    _, height, width = frames0_NHW.shape
    if 1 in (height, width):
        doubled = ((0, 0), (0, int(height == 1)), (0, int(width == 1)))
        frames0_NHW, frames1_NHW = (np.pad(f, doubled, "edge") for f in (frames0_NHW, frames1_NHW))
    if params.is_uniform:
        solver = _create_solver(
            count_levels(height, width, params), params, params.get_schedule(finest=True)
        )
        flows = [
            solver.calc(scale_floats(frame0), scale_floats(frame1), None)
            for frame0, frame1 in zip(frames0_NHW, frames1_NHW, strict=True)
        ]
    else:
        flows = [
            _solve_by_level(frame0, frame1, params)
            for frame0, frame1 in zip(frames0_NHW, frames1_NHW, strict=True)
        ]
    return np.stack(flows)[:, :height, :width]


def _solve_by_level(
    frame0_HW: npt.NDArray[Any], frame1_HW: npt.NDArray[Any], params: TVL1Params
) -> F32:
    """Compute the flow of one pair, (H, W, 2), by a call for each level, from coarse to fine."""
    levels0, levels1 = build_pyramid(frame0_HW, params), build_pyramid(frame1_HW, params)
    flow_2HW = np.zeros((2, *levels0[-1].shape), np.float32)
    for number in reversed(range(len(levels0))):
        level0, level1 = levels0[number], levels1[number]
        if level0.shape != flow_2HW.shape[1:]:
            height, width = level0.shape
            flow_2HW = enlarge_flow(flow_2HW, height, width, params.scale_step)
        schedule = params.get_schedule(finest=number == 0)
        solver = _create_solver(1, params, schedule)
        solver.setUseInitialFlow(True)
        start = np.ascontiguousarray(flow_2HW.transpose(1, 2, 0))
        flow_HW2 = solver.calc(scale_floats(level0), scale_floats(level1), start)
        flow_2HW = filter_flow(flow_HW2.transpose(2, 0, 1), schedule.median_side)
    return flow_2HW.transpose(1, 2, 0)


def _create_solver(levels: int, params: TVL1Params, schedule: LevelSchedule) -> Any:
    # A new object for each size: OpenCV's keeps the fewer scales of a small frame for ever.
    import cv2

    optflow: Any = cv2.optflow
    solver = optflow.DualTVL1OpticalFlow_create()
    solver.setTau(params.tau)
    solver.setLambda(params.lambda_)
    solver.setTheta(params.theta)
    solver.setEpsilon(schedule.epsilon)
    solver.setScalesNumber(levels)
    solver.setScaleStep(params.scale_step)
    solver.setWarpingsNumber(schedule.warps)
    solver.setOuterIterations(params.iterations)
    solver.setInnerIterations(1)
    solver.setMedianFiltering(1)
    solver.setUseInitialFlow(False)
    return solver


def scale_floats(frame_HW: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return a frame as OpenCV's classes expect it: bytes, or float32 in 0–1 instead of 0–255."""
    return frame_HW if frame_HW.dtype == np.uint8 else frame_HW / np.float32(255)


def count_levels(height: int, width: int, params: TVL1Params) -> int:
    """Levels to ask OpenCV for; it leaves out those below 16 pixels itself."""
    if params.min_side < 16 and params.scales > 1:
        raise FlowError(
            f"OpenCV's pyramids end at 16 pixels, got min_side {params.min_side}; use backend numba"
        )
    return len(compute_level_sizes(height, width, params))

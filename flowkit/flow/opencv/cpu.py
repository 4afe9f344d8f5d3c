# ruff: noqa: N803, N806
"""Compute TV-L1 with OpenCV's CPU class, `cv2.optflow.DualTVL1OpticalFlow`: the reference.

The class measures the change at every iteration, so it may stop one or two iterations earlier than
the other backends. Otherwise its schedule is theirs: each iteration has one inner iteration.
Its gradients read a second row and column even if there is none, so a frame with a single row or
column is duplicated first.

One call of the class solves all levels with the same settings. If the settings differ between
levels, or the flow is median-filtered after each level (the class's own filter runs after each of
its outer iterations instead), the class is called once for each level, on the pyramid of
`flow/pyramid.py`, starting with the flow of the coarser level.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from flowkit.errors import FlowError
from flowkit.flow.params import LevelSchedule, TVL1Params
from flowkit.flow.pyramid import F32, build_pyramid, compute_level_sizes, enlarge_flow, filter_flow


def solve_pairs(
    frames0_NHW: npt.NDArray[Any], frames1_NHW: npt.NDArray[Any], params: TVL1Params
) -> F32:
    """Compute the flow from each frame of frames0 to the same frame of frames1.

    Args:
        frames0_NHW: uint8 or float32 (N, H, W), values 0–255.
        frames1_NHW: uint8 or float32 (N, H, W), values 0–255.
        params: Parameters of TV-L1.

    Returns:
        float32 (N, H, W, 2), displacement (x, y) in pixels.

    Raises:
        FlowError: `min_side` is below 16 pixels.
    """
    _, height, width = frames0_NHW.shape
    if 1 in (height, width):
        padding = ((0, 0), (0, int(height == 1)), (0, int(width == 1)))
        frames0_NHW, frames1_NHW = (np.pad(f, padding, "edge") for f in (frames0_NHW, frames1_NHW))
    levels = count_levels(height, width, params)
    solver = None
    if params.is_uniform:
        solver = _create_solver(levels, params, params.get_schedule(finest=True))
    flows = [
        solver.calc(scale_floats(frame0), scale_floats(frame1), None)
        if solver
        else _solve_by_level(frame0, frame1, params)
        for frame0, frame1 in zip(frames0_NHW, frames1_NHW, strict=True)
    ]
    return np.stack(flows)[:, :height, :width]


def _solve_by_level(
    frame0_HW: npt.NDArray[Any], frame1_HW: npt.NDArray[Any], params: TVL1Params
) -> F32:
    """Compute the flow of one pair, (H, W, 2), with one call per level, from coarse to fine."""
    levels0, levels1 = build_pyramid(frame0_HW, params), build_pyramid(frame1_HW, params)
    flow_2HW = np.zeros((2, *levels0[-1].shape), np.float32)
    for level in reversed(range(len(levels0))):
        level0, level1 = levels0[level], levels1[level]
        if level0.shape != flow_2HW.shape[1:]:
            height, width = level0.shape
            flow_2HW = enlarge_flow(flow_2HW, height, width, params.scale_step)
        schedule = params.get_schedule(finest=level == 0)
        solver = _create_solver(1, params, schedule)
        solver.setUseInitialFlow(True)
        initial_flow = np.ascontiguousarray(flow_2HW.transpose(1, 2, 0))
        flow_HW2 = solver.calc(scale_floats(level0), scale_floats(level1), initial_flow)
        flow_2HW = filter_flow(flow_HW2.transpose(2, 0, 1), schedule.median_side)
    return flow_2HW.transpose(1, 2, 0)


def _create_solver(levels: int, params: TVL1Params, schedule: LevelSchedule) -> Any:
    """Create OpenCV's solver object with these parameters."""
    # Created again for each frame size: after a small frame, OpenCV's object keeps using the
    # smaller number of levels.
    import cv2

    optflow: Any = cv2.optflow
    gamma, inner_iterations, median_side, use_initial_flow = 0.0, 1, 1, False
    return optflow.DualTVL1OpticalFlow_create(
        params.tau, params.lambda_, params.theta, levels, schedule.warps, schedule.epsilon,
        inner_iterations, params.iterations, params.scale_step, gamma, median_side,
        use_initial_flow,
    )  # fmt: skip


def scale_floats(frame_HW: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Convert a frame to what OpenCV's classes expect.

    Args:
        frame_HW: uint8 or float32 (H, W), values 0–255.

    Returns:
        The frame itself if it is uint8, else float32 with values 0–1.
    """
    return frame_HW if frame_HW.dtype == np.uint8 else frame_HW / np.float32(255)


def count_levels(height: int, width: int, params: TVL1Params) -> int:
    """Count the pyramid levels to request; OpenCV itself leaves out those below 16 pixels.

    Args:
        height: Height of the frames in pixels.
        width: Width of the frames in pixels.
        params: Parameters of TV-L1.

    Returns:
        The number of levels, at least 1.

    Raises:
        FlowError: `min_side` is below 16 pixels and `scales` above 1.
    """
    if params.min_side < 16 and params.scales > 1:
        raise FlowError(
            f"OpenCV's pyramids end at 16 pixels, got min_side {params.min_side}: use the numba "
            "backend"
        )
    return len(compute_level_sizes(height, width, params))

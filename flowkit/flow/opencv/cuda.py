# ruff: noqa: N803
"""Compute TV-L1 with OpenCV's CUDA class, on machines with a CUDA build of OpenCV.

No wheel on PyPI contains such a build. The pyramid of the class has no half-pixel shift, and the
class repeats the border of the second frame instead of dropping what leaves it, so its flow differs
somewhat from that of the other backends. "auto" never chooses it.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from flowkit.errors import FlowError
from flowkit.flow.opencv.cpu import count_levels, scale_floats
from flowkit.flow.params import TVL1Params
from flowkit.flow.pyramid import F32


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
        FlowError: The parameters differ between levels or need a median filter, or `min_side` is
            below 16 pixels and `scales` above 1.
    """
    if not params.is_uniform:
        # Solving level by level, as cpu.py does, does not work here: with `useInitialFlow` the
        # class reads buffers that it has not filled.
        raise FlowError(
            "the opencv-cuda backend solves every level of the pyramid alike and without a median "
            "filter, and these parameters (such as the preset fast) ask for more: use --backend "
            "triton on the GPU, or --backend numba"
        )
    import cv2

    cuda: Any = cv2.cuda
    _, height, width = frames0_NHW.shape
    gamma, use_initial_flow = 0.0, False
    # By position: builds differ in the name of lambda, which is a Python keyword.
    solver = cuda.OpticalFlowDual_TVL1_create(
        params.tau, params.lambda_, params.theta, count_levels(height, width, params),
        params.warps, params.epsilon, params.iterations, params.scale_step, gamma, use_initial_flow,
    )  # fmt: skip
    flows = []
    for frame0, frame1 in zip(frames0_NHW, frames1_NHW, strict=True):
        first, second = cuda.GpuMat(), cuda.GpuMat()
        first.upload(np.ascontiguousarray(scale_floats(frame0)))
        second.upload(np.ascontiguousarray(scale_floats(frame1)))
        flows.append(solver.calc(first, second, None).download())
    return np.stack(flows)

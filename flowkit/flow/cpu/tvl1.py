# ruff: noqa: N803, N806
"""Compute TV-L1 optical flow on the CPU with kernels compiled by Numba.

Zach, Pock, Bischof, "A Duality Based Approach for Realtime TV-L1 Optical Flow", DAGM 2007; Sánchez,
Meinhardt-Llopis, Facciolo, "TV-L1 Optical Flow Estimation", IPOL 2013. TV-L1 means total variation,
which keeps the flow smooth, and the L1 norm of the difference in brightness, the data term.

u = (u₁, u₂) is the flow in pixels, v a second flow that the data term is applied to and that θ
couples to u, p₁ and p₂ are the dual variables of the total variation of u₁ and u₂, I₀ and I₁ the
two frames, and ρ the residual of the data term. At each level, coarse to fine, the second frame and
its gradient are warped `warps` times by the current flow u₀; after each warp these steps are
iterated for the components i = 1, 2:

    ρ(u)  = I₁(x+u₀) − I₀ + ∇I₁(x+u₀)·(u − u₀)                   residual, linear in u
    vᵢ    = uᵢ + clamp(−ρ/|∇I₁|², −λθ, λθ) · ∂ᵢI₁                 thresholding
    uᵢ    ← vᵢ + θ div pᵢ                                         primal step
    pᵢ    ← (pᵢ + τ/θ ∇uᵢ) / (1 + τ/θ |∇uᵢ|)                      dual step

In the code they have these names; those in capitals are the planes of the state (state.py):

    I₀        frame0          u      U1, U2 (pixels)        ρ(0)      RHO
    I₁, ∇I₁   warpable        θp₁    P11, P12               1/|∇I₁|²  INV (0 where |∇I₁|²
    ∇I₁(x+u₀) IX, IY          θp₂    P21, P22                         ≤ FLT_EPSILON)

p is stored times θ, which saves two products per pixel: θp ← (θp + τ∇u) / (1 + τ/θ |∇u|). ∇u are
forward differences, 0 at the last column and row; div is their negative adjoint; ∇I₁ are central
differences of the unwarped I₁. p is 0 at the start of a level and kept over its warps. The schedule
and all constants are those of OpenCV's CUDA class: the change Σ|Δu|² is measured at some iterations
only (see `iterate`) and compared with ε² · area. If the parameters ask for it, a level ends with a
median filter of u₁ and u₂, once after all its warps.

Deviations from OpenCV's CUDA class, where its CPU class deviates too. They follow the CPU class, so
that the flow can be compared with a reference that anybody can install:

- the pyramid has half-pixel centres; CUDA's has none, which shifts levels against each other;
- the second frame is 0 outside, so pixels that leave it lose their data term; CUDA repeats the
  edge, and matches what is no longer visible;
- the bicubic kernel has a = −0.75; CUDA's has −0.5.

Deviations from both: warp positions are exact, which the CPU class rounds to 1/32 pixel; and the
residual's threshold is computed from 1/|∇I₁|², which differs by rounding only.
"""

import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from flowkit.flow.cpu.compilation import exact_kernel
from flowkit.flow.cpu.iterate import iterate
from flowkit.flow.cpu.state import LEFT, U1, U2, allocate_floats, compute_state_size, fill_state
from flowkit.flow.cpu.warp import compute_warpable_size, fill_warpable, warp
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
    """
    count, height, width = frames0_NHW.shape
    flows_NHW2 = np.empty((count, height, width, 2), np.float32)
    workspace = get_workspace(height, width, params)
    for flow_HW2, frame0, frame1 in zip(flows_NHW2, frames0_NHW, frames1_NHW, strict=True):
        levels0 = build_pyramid(frame0, params, workspace.pyramids[0])
        levels1 = build_pyramid(frame1, params, workspace.pyramids[1])
        interleave_planes(solve_pair(levels0, levels1, params, workspace), flow_HW2)
    return flows_NHW2


def solve_video(frames_THW: npt.NDArray[Any], params: TVL1Params) -> F32:
    """Compute the flow from each frame to the next; each pyramid is built once.

    Args:
        frames_THW: uint8 or float32 (T, H, W), values 0–255.
        params: Parameters of TV-L1.

    Returns:
        float32 (T−1, H, W, 2), displacement (x, y) in pixels.
    """
    count, height, width = frames_THW.shape
    flows_NHW2 = np.empty((count - 1, height, width, 2), np.float32)
    for flow_HW2, flow_2HW in zip(flows_NHW2, iterate_video_flows(frames_THW, params), strict=True):
        interleave_planes(flow_2HW, flow_HW2)
    return flows_NHW2


def solve_video_quantized(
    frames_THW: npt.NDArray[Any], params: TVL1Params, bound: float
) -> npt.NDArray[np.uint8]:
    """Compute the flow from each frame to the next, and quantize it as `quantize` does.

    Args:
        frames_THW: uint8 or float32 (T, H, W), values 0–255.
        params: Parameters of TV-L1.
        bound: Displacement in pixels that becomes 255.

    Returns:
        uint8 (T−1, H, W, 2), with the same bits as `quantize(solve_video(…), bound)`.
    """
    count, height, width = frames_THW.shape
    out_NHW2 = np.empty((count - 1, height, width, 2), np.uint8)
    for out_HW2, flow_2HW in zip(out_NHW2, iterate_video_flows(frames_THW, params), strict=True):
        quantize_planes(flow_2HW, np.float32(bound), out_HW2)
    return out_NHW2


def iterate_video_flows(frames_THW: npt.NDArray[Any], params: TVL1Params) -> Iterator[F32]:
    """Compute the flow from each frame to the next, one at a time.

    Args:
        frames_THW: uint8 or float32 (T, H, W), values 0–255.
        params: Parameters of TV-L1.

    Yields:
        float32 (2, H, W); the array is overwritten by the next flow.
    """
    _, height, width = frames_THW.shape
    workspace = get_workspace(height, width, params)
    memory0, memory1 = workspace.pyramids
    levels0 = build_pyramid(frames_THW[0], params, memory0)
    for frame in frames_THW[1:]:
        levels1 = build_pyramid(frame, params, memory1)
        yield solve_pair(levels0, levels1, params, workspace)
        levels0, memory0, memory1 = levels1, memory1, memory0


def interleave_planes(flow_2HW: F32, out_HW2: F32) -> None:
    """Copy a flow of two planes, x and y, into an array with both components at each pixel.

    Args:
        flow_2HW: float32 (2, H, W).
        out_HW2: float32 (H, W, 2), written to.
    """
    # NumPy copies whole planes four times as fast as their transpose.
    for component in range(2):
        out_HW2[..., component] = flow_2HW[component]


@exact_kernel
def quantize_planes(flow_2HW: F32, bound: np.float32, out_HW2: npt.NDArray[np.uint8]) -> None:
    """Quantize a flow with the same operations in the same order as `quantize`.

    Args:
        flow_2HW: float32 (2, H, W), in pixels.
        bound: Displacement in pixels that becomes 255.
        out_HW2: uint8 (H, W, 2), written to.
    """
    height, width, _ = out_HW2.shape
    scale, half = np.float32(127), np.float32(0.5)
    for y in range(height):
        for component in range(2):
            for x in range(width):
                scaled = min(max(flow_2HW[component, y, x], -bound), bound) * scale / bound
                scaled += half if scaled >= 0 else -half
                out_HW2[y, x, component] = np.int32(scaled) + 128


class Workspace:
    """Holds the arrays that are needed to compute the flow of one pair."""

    def __init__(self, height: int, width: int, params: TVL1Params) -> None:
        """Allocate the arrays.

        Args:
            height: Height of the frames in pixels.
            width: Width of the frames in pixels.
            params: Parameters of TV-L1, which decide the pyramid.
        """
        sizes = compute_level_sizes(height, width, params)
        self.key = (height, width, params)
        self.state = allocate_floats(compute_state_size(height, width))
        self.warpable = allocate_floats(compute_warpable_size(height, width))
        self.pyramids = [[np.empty(size, np.float32) for size in sizes] for _ in range(2)]
        # At each level: the flow that it starts from, and the flow after its filter.
        self.initial_flows = [np.zeros((2, *size), np.float32) for size in sizes]
        self.filtered_flows = [np.empty((2, *size), np.float32) for size in sizes]


MAX_CACHED_PIXELS = 1 << 20
"""Largest frame, in pixels, whose workspace is kept; a workspace has about 100 bytes per pixel."""
_thread_cache = threading.local()


def get_workspace(height: int, width: int, params: TVL1Params) -> Workspace:
    """Return this thread's workspace for frames of that size, as the last call left it.

    A fast schedule takes a few milliseconds per pair, and newly allocated memory is mapped page by
    page: for a call with four pairs of 256×256 that took a sixth of the time. The workspace of
    large frames, for which it does not matter, is not kept.

    Args:
        height: Height of the frames in pixels.
        width: Width of the frames in pixels.
        params: Parameters of TV-L1.

    Returns:
        The workspace.
    """
    workspace: Workspace | None = getattr(_thread_cache, "workspace", None)
    if workspace is None or workspace.key != (height, width, params):
        workspace = Workspace(height, width, params)
        _thread_cache.workspace = workspace if height * width <= MAX_CACHED_PIXELS else None
    return workspace


def solve_pair(
    levels0: list[F32], levels1: list[F32], params: TVL1Params, workspace: Workspace
) -> F32:
    """Solve one pair from coarse to fine.

    Args:
        levels0: Pyramid of the first frame.
        levels1: Pyramid of the second frame.
        params: Parameters of TV-L1.
        workspace: Arrays for frames of this size.

    Returns:
        float32 (2, H, W), in memory of the workspace.
    """
    coarsest = len(levels0) - 1
    flow_2HW = workspace.initial_flows[coarsest]  # always zero, because nothing is written there
    for level in range(coarsest, -1, -1):
        frame0, frame1 = levels0[level], levels1[level]
        if level < coarsest:
            height, width = frame0.shape
            initial_flow = workspace.initial_flows[level]
            flow_2HW = enlarge_flow(flow_2HW, height, width, params.scale_step, initial_flow)
        schedule = params.get_schedule(finest=level == 0)
        warpable_HWC = fill_warpable(workspace.warpable, frame1)
        state_RPX = fill_state(workspace.state, flow_2HW)
        solve_level(state_RPX, frame0, warpable_HWC, params, schedule)
        flow_2HW = view_flow(state_RPX, frame0.shape[1])
        flow_2HW = filter_flow(flow_2HW, schedule.median_side, workspace.filtered_flows[level])
    return flow_2HW


def solve_level(
    state_RPX: F32, frame0_HW: F32, warpable_HWC: F32, params: TVL1Params, schedule: LevelSchedule
) -> int:
    """Refine the flow of one level.

    Args:
        state_RPX: The state (state.py); updated in place.
        frame0_HW: float32 (H, W), the first frame at this level.
        warpable_HWC: The second frame, as `fill_warpable` makes it.
        params: Parameters of TV-L1.
        schedule: Settings of this level.

    Returns:
        The number of iterations done.
    """
    height, width = frame0_HW.shape
    tolerance = schedule.epsilon**2 * height * width
    constants = float(params.tau), float(params.lambda_), float(params.theta)
    iterations = 0
    for _ in range(schedule.warps):
        warp(state_RPX, frame0_HW, warpable_HWC)
        iterations += iterate(state_RPX, width, params.iterations, tolerance, *constants)
    return iterations


def view_flow(state_RPX: F32, width: int) -> F32:
    """Return u of a state, (2, H, W), without copying it."""
    return state_RPX[1:, U1 : U2 + 1, LEFT : LEFT + width].transpose(1, 0, 2)

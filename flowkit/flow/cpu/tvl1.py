# ruff: noqa: N803, N806
"""TV-L1 optical flow on the CPU, compiled by Numba.

Zach, Pock, Bischof, "A Duality Based Approach for Realtime TV-L1 Optical Flow", DAGM 2007;
Sánchez, Meinhardt-Llopis, Facciolo, "TV-L1 Optical Flow Estimation", IPOL 2013.

At each level, coarse to fine, the second frame and its gradient are warped `warps` times by
the flow u₀ found so far; after each warp these steps are iterated for the components i = 1, 2:

    ρ(u)  = I₁(x+u₀) − I₀ + ∇I₁(x+u₀)·(u − u₀)                   residual, linear in u
    vᵢ    = uᵢ + clamp(−ρ/|∇I₁|², −λθ, λθ) · ∂ᵢI₁                 thresholding
    uᵢ    ← vᵢ + θ div pᵢ                                         primal step
    pᵢ    ← (pᵢ + τ/θ ∇uᵢ) / (1 + τ/θ |∇uᵢ|)                      dual step

    I₀        frame0          u      U1, U2 (pixels)        ρ(0)      RHO
    I₁, ∇I₁   warpable        θp₁    P11, P12               1/|∇I₁|²  INV (0 where |∇I₁|²
    ∇I₁(x+u₀) IX, IY          θp₂    P21, P22                         ≤ FLT_EPSILON)

p is stored times θ, which saves two products a pixel: θp ← (θp + τ∇u) / (1 + τ/θ |∇u|). ∇u are
forward differences, 0 at the last column and row; div is their negative adjoint; ∇I₁ are
central differences of the unwarped I₁. p is 0 at the start of a level and kept over its
warps. Schedule and all constants are those of OpenCV's CUDA class: the change Σ|Δu|² is
measured now and then (see `iterate`) and held against ε² · area. Where the parameters ask for
it, a level ends with a median filter of u₁ and u₂, once after all its warps.

Departs from OpenCV's CUDA class where its CPU class does, and then follows the CPU class,
so that the flow can be held against a reference that anybody can install:
- the pyramid has half-pixel centres; CUDA's has none, which shifts levels against each other;
- the second frame is 0 outside, so pixels that leave it lose their data term; CUDA repeats
  the edge, and matches what is no longer visible;
- the bicubic kernel has a = −0.75; CUDA's has −0.5.
Departs from both: warp positions are exact, which the CPU class rounds to 1/32 pixel; and
the residual's threshold is taken through 1/|∇I₁|², which differs by rounding only.
"""

import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from flowkit.flow.cpu.compilation import exact_kernel
from flowkit.flow.cpu.iterate import iterate
from flowkit.flow.cpu.state import LEFT, U1, U2, allocate_floats, count_state, fill_state
from flowkit.flow.cpu.warp import count_warpable, fill_warpable, warp
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
    count, height, width = frames0_NHW.shape
    flows_NHW2 = np.empty((count, height, width, 2), np.float32)
    workspace = take_workspace(height, width, params)
    for flow_HW2, frame0, frame1 in zip(flows_NHW2, frames0_NHW, frames1_NHW, strict=True):
        levels0 = build_pyramid(frame0, params, workspace.pyramids[0])
        levels1 = build_pyramid(frame1, params, workspace.pyramids[1])
        interleave(solve_pair(levels0, levels1, params, workspace), flow_HW2)
    return flows_NHW2


def solve_video(frames_THW: npt.NDArray[Any], params: TVL1Params) -> F32:
    """Flow from each frame to the next: (T, H, W) → (T−1, H, W, 2)."""
    count, height, width = frames_THW.shape
    flows_NHW2 = np.empty((count - 1, height, width, 2), np.float32)
    for flow_HW2, flow_2HW in zip(flows_NHW2, solve_in_turn(frames_THW, params), strict=True):
        interleave(flow_2HW, flow_HW2)
    return flows_NHW2


def solve_video_quantized(
    frames_THW: npt.NDArray[Any], params: TVL1Params, bound: float
) -> npt.NDArray[np.uint8]:
    """As `quantize(solve_video(…), bound)`, bit for bit: (T, H, W) → (T−1, H, W, 2) uint8."""
    count, height, width = frames_THW.shape
    out_NHW2 = np.empty((count - 1, height, width, 2), np.uint8)
    for out_HW2, flow_2HW in zip(out_NHW2, solve_in_turn(frames_THW, params), strict=True):
        quantize_planes(flow_2HW, np.float32(bound), out_HW2)
    return out_NHW2


def solve_in_turn(frames_THW: npt.NDArray[Any], params: TVL1Params) -> Iterator[F32]:
    """Yield the flow (2, H, W) from each frame to the next; each pyramid is built once.

    What is yielded is overwritten by the next.
    """
    _, height, width = frames_THW.shape
    workspace = take_workspace(height, width, params)
    memory0, memory1 = workspace.pyramids
    levels0 = build_pyramid(frames_THW[0], params, memory0)
    for frame in frames_THW[1:]:
        levels1 = build_pyramid(frame, params, memory1)
        yield solve_pair(levels0, levels1, params, workspace)
        levels0, memory0, memory1 = levels1, memory1, memory0


def interleave(flow_2HW: F32, out_HW2: F32) -> None:
    """Write a flow of two planes as one of pairs."""
    for component in range(2):  # NumPy copies whole planes four times as fast as their transpose
        out_HW2[..., component] = flow_2HW[component]


@exact_kernel
def quantize_planes(flow_2HW: F32, bound: np.float32, out_HW2: npt.NDArray[np.uint8]) -> None:
    """Write the bytes of `quantize`: the same operations in the same order."""
    height, width, _ = out_HW2.shape
    scale, half = np.float32(127), np.float32(0.5)
    for y in range(height):
        for component in range(2):
            for x in range(width):
                scaled = min(max(flow_2HW[component, y, x], -bound), bound) * scale / bound
                scaled += half if scaled >= 0 else -half
                out_HW2[y, x, component] = np.int32(scaled) + 128


class Workspace:
    """Memory for all that is made on the way to the flow of one pair."""

    def __init__(self, height: int, width: int, params: TVL1Params) -> None:
        """Allocate memory for frames of that size, solved with these parameters."""
        sizes = compute_level_sizes(height, width, params)
        self.purpose = (height, width, params)
        self.state = allocate_floats(count_state(height, width))
        self.warpable = allocate_floats(count_warpable(height, width))
        self.pyramids = [[np.empty(size, np.float32) for size in sizes] for _ in range(2)]
        # At each level: the flow that it starts from, and the one that its filter leaves.
        self.starts = [np.zeros((2, *size), np.float32) for size in sizes]
        self.filtered = [np.empty((2, *size), np.float32) for size in sizes]


KEPT_PIXELS = 1 << 20  # some 100 bytes each
_kept = threading.local()


def take_workspace(height: int, width: int, params: TVL1Params) -> Workspace:
    """Return this thread's workspace for frames of that size, as the last call left it.

    A fast schedule takes a few milliseconds a pair, and memory that the system has just given is
    mapped page by page: for a call with four pairs of 256×256 that was a sixth of the time. That
    of large frames, for which it does not count, is not kept.
    """
    workspace: Workspace | None = getattr(_kept, "workspace", None)
    if workspace is None or workspace.purpose != (height, width, params):
        workspace = Workspace(height, width, params)
        _kept.workspace = workspace if height * width <= KEPT_PIXELS else None
    return workspace


def solve_pair(
    levels0: list[F32], levels1: list[F32], params: TVL1Params, workspace: Workspace
) -> F32:
    """Solve one pair from coarse to fine, given the pyramids of its frames.

    Returns:
        The flow (2, H, W), in memory of the workspace.
    """
    coarsest = len(levels0) - 1
    flow_2HW = workspace.starts[coarsest]  # zeros: nothing else is written there
    for number in range(coarsest, -1, -1):
        frame0, frame1 = levels0[number], levels1[number]
        if number < coarsest:
            height, width = frame0.shape
            start = workspace.starts[number]
            flow_2HW = enlarge_flow(flow_2HW, height, width, params.scale_step, start)
        schedule = params.get_schedule(finest=number == 0)
        warpable_HWC = fill_warpable(workspace.warpable, frame1)
        state_RPX = fill_state(workspace.state, flow_2HW)
        solve_level(state_RPX, frame0, warpable_HWC, params, schedule)
        flow_2HW = view_flow(state_RPX, frame0.shape[1])
        flow_2HW = filter_flow(flow_2HW, schedule.median_side, workspace.filtered[number])
    return flow_2HW


def solve_level(
    state_RPX: F32,
    frame0_HW: F32,
    warpable_HWC: F32,
    params: TVL1Params,
    schedule: LevelSchedule,
) -> int:
    """Refine the flow in the state of one level; returns the number of iterations done."""
    height, width = frame0_HW.shape
    tolerance = schedule.epsilon**2 * height * width
    iterations = 0
    for _ in range(schedule.warps):
        warp(state_RPX, frame0_HW, warpable_HWC)
        iterations += iterate(
            state_RPX,
            width,
            params.iterations,
            tolerance,
            float(params.tau),
            float(params.lambda_),
            float(params.theta),
        )
    return iterations


def view_flow(state_RPX: F32, width: int) -> F32:
    """Return u of a state, (2, H, W), without copying it."""
    return state_RPX[1:, U1 : U2 + 1, LEFT : LEFT + width].transpose(1, 0, 2)

"""TV-L1 optical flow on the CPU, compiled by Numba.

Zach, Pock, Bischof, "A Duality Based Approach for Realtime TV-L1 Optical Flow", DAGM 2007;
Sánchez, Meinhardt-Llopis, Facciolo, "TV-L1 Optical Flow Estimation", IPOL 2013.

At each level, coarse to fine, I₁ and its gradient are warped `warps` times by the flow so
far, and between warps these three steps are iterated, for the components i = 1, 2:

    ρ(u)  = I₁(x+u₀) − I₀ + ∇I₁(x+u₀)·(u − u₀)                      residual, linear in u
    vᵢ    = uᵢ + clamp(−ρ/|∇I₁|², −λθ, λθ) · ∂ᵢI₁                    thresholding
    uᵢ    ← vᵢ + θ div pᵢ                                            primal step
    pᵢ    ← (pᵢ + τ/θ ∇uᵢ) / (1 + τ/θ |∇uᵢ|)                         dual step

    I₀ I₁   frame0, frame1        θp₁ = (P11, P12)     the dual fields are stored times θ,
    u       (U1, U2), pixels      θp₂ = (P21, P22)     which saves two products a pixel:
    ∂₁I₁    IX                    ρ(0)   RHO           θp ← (θp + τ∇u) / (1 + τ/θ |∇u|)
    ∂₂I₁    IY                    1/|∇I₁|²  INV (0 where |∇I₁|² ≤ FLT_EPSILON)

∇u are forward differences (0 at the last row and column), div their negative adjoint, ∇I₁
central differences of I₁ with a replicated border, taken before the warp. p is zeroed once
per level and kept over warps. The schedule is that of OpenCV's CUDA class: the change
E = Σ|Δu|² is measured at odd iterations only, first at iteration 1; while E exceeds
ε²·area the next measurement waits about E/(ε²·area) iterations.

Departs from OpenCV's CUDA class where its CPU class differs from it, and then follows the
CPU class, so that the result can be held against a reference that everybody can install:
half-pixel centres in the pyramid (CUDA: none, which shifts levels against each other);
pixels beyond the border of I₁ are 0, so what leaves the image has no data term (CUDA: the
edge is repeated); bicubic kernel with a = −0.75 (CUDA: −0.5). Departs from both: warp
positions are not rounded to 1/32 pixel.

Memory decides the speed. Rows of all ten planes lie together (state_RPX: row, plane,
column), and DEPTH iterations go down the image as one wavefront, each one row behind the
one before, so that a row is updated DEPTH times while it is in the cache. Iteration k
updates u in row y, then p in row y−1 (which needs the new u of rows y−1 and y); iteration
k+1 may then do the same one row higher. Everything happens in place, and the result is bit
for bit that of DEPTH separate sweeps.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numba
import numpy as np
import numpy.typing as npt
from numba.core.compiler import Compiler

from flowkit.flow.params import PRESETS, TVL1Params
from flowkit.flow.pyramid import F32, build_pyramid, enlarge_flow

U1, U2, P11, P12, P21, P22, IX, IY, RHO, INV = range(10)
PLANES = 10
LEFT = 8  # columns left of the image: p₁₁ and p₂₁ are 0 there, and rows start aligned
RIGHT = 8  # columns right of the image: u repeats its last column in the first of them
APRON = 3  # zeros around a warpable image; one more at the far sides
DEPTH = 8  # iterations in flight; 8 rows × 10 planes × 256 columns × 4 bytes = 80 kB

Function = TypeVar("Function", bound=Callable[..., Any])


class _NoAliasCompiler(Compiler):  # type: ignore[misc]
    """Tells LLVM that the array arguments of a function do not overlap where written.

    C's `restrict`. LLVM would otherwise have to prove it by comparing a dozen pointers at
    run time, gives up, and leaves the loop scalar.
    """

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.state.flags.noalias = True


# Everything of fastmath but `arcp` and `afn`: their reciprocal estimates have other bits on
# CPUs of other makers.
_FASTMATH = {"nnan", "ninf", "nsz", "contract", "reassoc"}


def _compile(**options: Any) -> Callable[[Function], Function]:
    jit: Callable[[Function], Function] = numba.njit(
        nogil=True, cache=True, fastmath=_FASTMATH, error_model="numpy", **options
    )
    return jit


_kernel = _compile()
_inline = _compile(forceinline=True)
_row = _compile(forceinline=True, pipeline_class=_NoAliasCompiler)


@_row
def _update_u_row(u1, u2, p11, p12, p21, p22, p12_up, p22_up, ix, iy, rho, inv, bound):  # type: ignore[no-untyped-def]
    """Thresholding and primal step of one row; returns Σ|Δu|². p11 and p21 start one column to the left."""
    change = np.float32(0)
    for x in range(u1.size):
        a, b = u1[x], u2[x]
        slope = min(max(-(rho[x] + ix[x] * a + iy[x] * b) * inv[x], -bound), bound)
        u1[x] = a + slope * ix[x] + (p11[x + 1] - p11[x] + p12[x] - p12_up[x])
        u2[x] = b + slope * iy[x] + (p21[x + 1] - p21[x] + p22[x] - p22_up[x])
        change += (u1[x] - a) * (u1[x] - a) + (u2[x] - b) * (u2[x] - b)
    return change


@_row
def _update_p_row(p11, p12, p21, p22, u1, u2, u1_down, u2_down, tau, tau_by_theta):  # type: ignore[no-untyped-def]
    """Dual step of one row. u1 and u2 are one column longer. One division serves both components."""
    one = np.float32(1)
    for x in range(p11.size):
        u1x, u1y = u1[x + 1] - u1[x], u1_down[x] - u1[x]
        u2x, u2y = u2[x + 1] - u2[x], u2_down[x] - u2[x]
        n1 = one + tau_by_theta * np.sqrt(u1x * u1x + u1y * u1y)
        n2 = one + tau_by_theta * np.sqrt(u2x * u2x + u2y * u2y)
        r = one / (n1 * n2)
        r1, r2 = r * n2, r * n1
        p11[x] = (p11[x] + tau * u1x) * r1
        p12[x] = (p12[x] + tau * u1y) * r1
        p21[x] = (p21[x] + tau * u2x) * r2
        p22[x] = (p22[x] + tau * u2y) * r2


@_inline
def _update_row(state_RPX, y, bound, tau, tau_by_theta):  # type: ignore[no-untyped-def]  # noqa: N803
    """One iteration at row y: u there, then p in the row above. Row 0 is a margin of zeros."""
    height, first, last = state_RPX.shape[0] - 1, LEFT, state_RPX.shape[2] - RIGHT
    change = np.float32(0)
    row, up = state_RPX[min(y, height)], state_RPX[y - 1]
    if y <= height:
        change = _update_u_row(
            row[U1, first:last], row[U2, first:last],
            row[P11, first - 1:last], row[P12, first:last],
            row[P21, first - 1:last], row[P22, first:last],
            up[P12, first:last], up[P22, first:last],
            row[IX, first:last], row[IY, first:last], row[RHO, first:last], row[INV, first:last],
            bound,
        )  # fmt: skip
        row[U1, last], row[U2, last] = row[U1, last - 1], row[U2, last - 1]
    if y > 1:
        _update_p_row(
            up[P11, first:last], up[P12, first:last], up[P21, first:last], up[P22, first:last],
            up[U1, first:last + 1], up[U2, first:last + 1],
            row[U1, first:last], row[U2, first:last],
            tau, tau_by_theta,
        )  # fmt: skip
    return change


@_kernel
def _sweep(state_RPX, depth, bound, tau, tau_by_theta):  # type: ignore[no-untyped-def]  # noqa: N803
    """`depth` iterations in one wavefront; returns Σ|Δu|² of the last one."""
    height = state_RPX.shape[0] - 1
    change = 0.0
    for front in range(1, height + 1 + depth):
        for k in range(max(0, front - height - 1), min(depth, front)):
            row_change = _update_row(state_RPX, front - k, bound, tau, tau_by_theta)
            if k == depth - 1:
                change += row_change
    return change


@_kernel
def _iterate(state_RPX, iterations, tolerance, bound, tau, tau_by_theta):  # type: ignore[no-untyped-def]  # noqa: N803
    """Iterate between two warps, until Σ|Δu|² ≤ tolerance where measured; returns the iterations done."""
    done, wait = 0, 2
    while done < iterations:
        wait = min(wait, iterations - done)
        change = 0.0
        for start in range(0, wait, DEPTH):
            change = _sweep(state_RPX, min(DEPTH, wait - start), bound, tau, tau_by_theta)
        done += wait
        if change <= tolerance:
            break
        # The next measurement is at the first odd iteration with E − (iterations waited)·tolerance < tolerance.
        skipped = int(min(change / tolerance, float(iterations)))
        wait = (skipped | 1) + 1
    return done


@_row
def _locate_row(u, origin, step, far, index, w0, w1, w2, w3):  # type: ignore[no-untyped-def]
    """For each point origin + step·x + u[x]: its first of four taps, and their bicubic weights.

    Coordinates count from the second sample of the apron, so the point lies between the
    second and the third tap. Points further out are moved to where all taps are zeros.
    """
    a, zero, one = np.float32(-0.75), np.float32(0), np.float32(1)
    two, three = np.float32(2), np.float32(3)
    for x in range(u.size):
        point = min(max(origin + step * np.float32(np.int32(x)) + u[x], zero), far)
        first = np.int32(point)
        t = point - np.float32(first)
        s = one - t
        index[x] = first
        w0[x] = a * t * s * s
        w1[x] = ((a + two) * t - (a + three)) * t * t + one
        w2[x] = ((a + two) * s - (a + three)) * s * s + one
        w3[x] = a * s * t * t


@_row
def _gather_row(samples, row_size, column, line, weights_x, weights_y, warped):  # type: ignore[no-untyped-def]
    """Bicubic interpolation of four interleaved channels; LLVM makes each channel a vector lane."""
    for x in range(column.size):
        # Unsigned, since Numba lets negative indices wrap around and checks for it each time.
        tap = np.uint64(line[x]) * row_size + np.uint64(4) * np.uint64(column[x])
        i = gx = gy = spare = np.float32(0)
        for r in range(4):
            w0, w1 = weights_y[r, x] * weights_x[0, x], weights_y[r, x] * weights_x[1, x]
            w2, w3 = weights_y[r, x] * weights_x[2, x], weights_y[r, x] * weights_x[3, x]
            at = tap + np.uint64(r) * row_size
            i += (
                w0 * samples[at]
                + w1 * samples[at + np.uint64(4)]
                + w2 * samples[at + np.uint64(8)]
                + w3 * samples[at + np.uint64(12)]
            )
            gx += (
                w0 * samples[at + np.uint64(1)]
                + w1 * samples[at + np.uint64(5)]
                + w2 * samples[at + np.uint64(9)]
                + w3 * samples[at + np.uint64(13)]
            )
            gy += (
                w0 * samples[at + np.uint64(2)]
                + w1 * samples[at + np.uint64(6)]
                + w2 * samples[at + np.uint64(10)]
                + w3 * samples[at + np.uint64(14)]
            )
            spare += (
                w0 * samples[at + np.uint64(3)]
                + w1 * samples[at + np.uint64(7)]
                + w2 * samples[at + np.uint64(11)]
                + w3 * samples[at + np.uint64(15)]
            )
        warped[4 * x] = i
        warped[4 * x + 1] = gx
        warped[4 * x + 2] = gy
        warped[4 * x + 3] = spare


@_row
def _linearize_row(warped, u, v, frame0, ix, iy, rho, inv):  # type: ignore[no-untyped-def]
    epsilon, zero, one = np.float32(1.1920929e-07), np.float32(0), np.float32(1)
    for x in range(u.size):
        gx, gy = warped[4 * x + 1], warped[4 * x + 2]
        square = gx * gx + gy * gy
        ix[x] = gx
        iy[x] = gy
        rho[x] = warped[4 * x] - gx * u[x] - gy * v[x] - frame0[x]
        inv[x] = one / square if square > epsilon else zero


@_kernel
def _warp(state_RPX, frame0_HW, warpable_HWC):  # type: ignore[no-untyped-def]  # noqa: N803
    """Warp I₁ and ∇I₁ by u, and linearize ρ there: fills IX, IY, RHO and INV."""
    height, width = frame0_HW.shape
    far_x, far_y = np.float32(width + APRON), np.float32(height + APRON)
    samples = warpable_HWC.reshape(warpable_HWC.size)
    row_size = np.uint64(4 * warpable_HWC.shape[1])
    column, line = np.empty(width, np.int32), np.empty(width, np.int32)
    wx, wy = np.empty((4, width), np.float32), np.empty((4, width), np.float32)
    warped = np.empty(4 * width, np.float32)
    origin = np.float32(APRON - 1)
    for y in range(height):
        row = state_RPX[y + 1, :, LEFT : LEFT + width]
        _locate_row(row[U1], origin, np.float32(1), far_x, column, wx[0], wx[1], wx[2], wx[3])
        _locate_row(
            row[U2], origin + np.float32(y), np.float32(0), far_y, line, wy[0], wy[1], wy[2], wy[3]
        )
        _gather_row(samples, row_size, column, line, wx, wy, warped)
        _linearize_row(warped, row[U1], row[U2], frame0_HW[y], row[IX], row[IY], row[RHO], row[INV])


@_kernel
def _make_warpable(image_HW):  # type: ignore[no-untyped-def]  # noqa: N803
    """(I, ∂₁I, ∂₂I, 0) of each pixel side by side, in an apron of zeros."""
    height, width = image_HW.shape
    out_HWC = np.zeros((height + 2 * APRON + 1, width + 2 * APRON + 1, 4), np.float32)  # noqa: N806
    half = np.float32(0.5)
    for y in range(height):
        up, down = max(y - 1, 0), min(y + 1, height - 1)
        for x in range(width):
            left, right = max(x - 1, 0), min(x + 1, width - 1)
            out = out_HWC[y + APRON, x + APRON]
            out[0] = image_HW[y, x]
            out[1] = half * (image_HW[y, right] - image_HW[y, left])
            out[2] = half * (image_HW[down, x] - image_HW[up, x])
    return out_HWC


@_kernel
def _solve_level(
    flow_2HW, frame0_HW, warpable_HWC, warps, iterations, tau, lambda_, theta, epsilon
):  # type: ignore[no-untyped-def]  # noqa: N803
    """Refine flow_2HW in place; returns the iterations done."""
    height, width = frame0_HW.shape
    # 16 columns more than a multiple of 64 keep rows of the planes off the same cache sets
    state_RPX = np.zeros((height + 1, PLANES, LEFT + width + RIGHT), np.float32)  # noqa: N806
    state_RPX[1:, U1, LEFT : LEFT + width] = flow_2HW[0]
    state_RPX[1:, U2, LEFT : LEFT + width] = flow_2HW[1]
    tolerance = epsilon * epsilon * height * width
    bound, step, ratio = np.float32(lambda_ * theta), np.float32(tau), np.float32(tau / theta)
    done = 0
    for _ in range(warps):
        _warp(state_RPX, frame0_HW, warpable_HWC)
        done += _iterate(state_RPX, iterations, tolerance, bound, step, ratio)
    flow_2HW[0] = state_RPX[1:, U1, LEFT : LEFT + width]
    flow_2HW[1] = state_RPX[1:, U2, LEFT : LEFT + width]
    return done


class FramePyramid:
    """All that the solver needs of one frame, as the first or the second of a pair."""

    def __init__(self, frame_HW: npt.NDArray[Any], params: TVL1Params) -> None:  # noqa: N803
        self.levels = build_pyramid(frame_HW, params)
        self.warpables: list[F32] = [_make_warpable(level) for level in self.levels]


def _solve_pair(first: FramePyramid, second: FramePyramid, params: TVL1Params) -> F32:
    flow_2HW = np.zeros((2, *first.levels[-1].shape), np.float32)  # noqa: N806
    for frame0, warpable in zip(reversed(first.levels), reversed(second.warpables), strict=True):
        if frame0.shape != flow_2HW.shape[1:]:
            flow_2HW = enlarge_flow(flow_2HW, *frame0.shape, params.scale_step)  # noqa: N806
        _solve_level(
            flow_2HW, frame0, warpable, params.warps, params.iterations,
            params.tau, params.lambda_, params.theta, params.epsilon,
        )  # fmt: skip
    return flow_2HW.transpose(1, 2, 0)


def solve_pairs(
    frames0_NHW: npt.NDArray[Any], frames1_NHW: npt.NDArray[Any], params: TVL1Params
) -> F32:  # noqa: N803
    """Flow from each frame of frames0 to the one of frames1: (N, H, W) twice → (N, H, W, 2)."""
    flows_NHW2 = np.empty((*frames0_NHW.shape, 2), np.float32)  # noqa: N806
    for flow, frame0, frame1 in zip(flows_NHW2, frames0_NHW, frames1_NHW, strict=True):
        flow[:] = _solve_pair(FramePyramid(frame0, params), FramePyramid(frame1, params), params)
    return flows_NHW2


def solve_video(frames_THW: npt.NDArray[Any], params: TVL1Params) -> F32:  # noqa: N803
    """Flow from each frame to the next: (T, H, W) → (T−1, H, W, 2); each pyramid is built once."""
    flows_NHW2 = np.empty((len(frames_THW) - 1, *frames_THW.shape[1:], 2), np.float32)  # noqa: N806
    first = FramePyramid(frames_THW[0], params)
    for flow, frame in zip(flows_NHW2, frames_THW[1:], strict=True):
        second = FramePyramid(frame, params)
        flow[:] = _solve_pair(first, second, params)
        first = second
    return flows_NHW2


def warm_up() -> None:
    """Compile all kernels, or load them from Numba's cache."""
    solve_pairs(np.zeros((1, 16, 16), np.uint8), np.zeros((1, 16, 16), np.uint8), PRESETS["paper"])

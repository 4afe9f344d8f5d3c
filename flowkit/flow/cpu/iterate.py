# ruff: noqa: N803
"""Run the inner iterations of TV-L1 between two warps, for the Numba solver.

The equations and symbols (u, p, ρ, τ, …) are in `tvl1.py`, the planes of the state in `state.py`.
One iteration reads ten numbers per pixel and writes six, for about forty operations. With one sweep
over the image per iteration, an image that exceeds the L2 cache would have to be fetched from
memory each time. So DEPTH iterations move down the image as one wavefront, each one row behind the
previous one, and a row is updated DEPTH times while it is in the cache:

    front = 5        row:  1   2   3   4   5
                     k=0               p   u      iteration k updates u in row front − k,
                     k=1           p   u          then p in the row above, which needs
                     k=2       p   u              the new u of both rows

All updates are in place. Iteration k+1 at row y finds u of row y, and p of rows y and y−1, as
iteration k left them: k has already updated p in row y, and no longer needs the u that k+1
overwrites. The u of row y−1, which p needs, is that of k+1 itself. So the result is that of DEPTH
separate sweeps, bit for bit.
"""

import numpy as np

from flowkit.flow.cpu.compilation import inlined, kernel, row_kernel
from flowkit.flow.cpu.state import INV, IX, IY, LEFT, P11, P12, P21, P22, RHO, U1, U2, pad_width
from flowkit.flow.pyramid import F32

DEPTH = 8
"""Iterations in flight. For 256 columns their rows are 8 × 10 planes × 256 × 4 bytes = 80 kB."""


@row_kernel
def _update_u(
    u1: F32, u2: F32,
    p11: F32, p11_left: F32, p12: F32, p12_up: F32,
    p21: F32, p21_left: F32, p22: F32, p22_up: F32,
    ix: F32, iy: F32, rho: F32, inv: F32,
    inside: F32, threshold: np.float32,
) -> np.float32:  # fmt: skip
    """Do the thresholding and the primal step of one row.

    p11_left and p21_left start one column to the left of the row: reading a column twice is faster
    than shuffling the vectors into place, which LLVM does for a single longer array.

    Returns:
        Σ|Δu|² over the pixels where `inside` is 1 rather than 0.
    """
    change = np.float32(0)
    for x in range(u1.size):
        a, b = u1[x], u2[x]
        slope = min(max(-(rho[x] + ix[x] * a + iy[x] * b) * inv[x], -threshold), threshold)
        div1 = p11[x] - p11_left[x] + p12[x] - p12_up[x]
        div2 = p21[x] - p21_left[x] + p22[x] - p22_up[x]
        u1[x] = a + slope * ix[x] + div1
        u2[x] = b + slope * iy[x] + div2
        change += inside[x] * ((u1[x] - a) * (u1[x] - a) + (u2[x] - b) * (u2[x] - b))
    return change


@row_kernel
def _update_p(
    p11: F32, p12: F32, p21: F32, p22: F32,
    u1: F32, u1_right: F32, u1_down: F32, u2: F32, u2_right: F32, u2_down: F32,
    tau: np.float32, tau_by_theta: np.float32,
) -> None:  # fmt: skip
    """Do the dual step of one row; u1_right and u2_right start one column to the right of it."""
    one = np.float32(1)
    for x in range(p11.size):
        u1x, u1y = u1_right[x] - u1[x], u1_down[x] - u1[x]
        u2x, u2y = u2_right[x] - u2[x], u2_down[x] - u2[x]
        norm1 = one + tau_by_theta * np.sqrt(u1x * u1x + u1y * u1y)
        norm2 = one + tau_by_theta * np.sqrt(u2x * u2x + u2y * u2y)
        # Roots and divisions share one slow unit, so one division serves both components.
        reciprocal = one / (norm1 * norm2)
        by_norm1, by_norm2 = reciprocal * norm2, reciprocal * norm1
        p11[x] = (p11[x] + tau * u1x) * by_norm1
        p12[x] = (p12[x] + tau * u1y) * by_norm1
        p21[x] = (p21[x] + tau * u2x) * by_norm2
        p22[x] = (p22[x] + tau * u2y) * by_norm2


@inlined
def _update_row(
    state_RPX: F32, inside: F32, width: int, y: int,
    threshold: np.float32, tau: np.float32, tau_by_theta: np.float32,
) -> np.float32:  # fmt: skip
    """Do one iteration at row y of the state (1 … height + 1): u there, then p in the row above."""
    height, first, last = state_RPX.shape[0] - 1, LEFT, LEFT + inside.size
    change = np.float32(0)
    up, row = state_RPX[y - 1], state_RPX[min(y, height)]  # below the image u repeats itself
    if y <= height:
        change = _update_u(
            row[U1, first:last], row[U2, first:last],
            row[P11, first:last], row[P11, first - 1 : last - 1],
            row[P12, first:last], up[P12, first:last],
            row[P21, first:last], row[P21, first - 1 : last - 1],
            row[P22, first:last], up[P22, first:last],
            row[IX, first:last], row[IY, first:last],
            row[RHO, first:last], row[INV, first:last],
            inside, threshold,
        )  # fmt: skip
        end = LEFT + width
        row[U1, end], row[U2, end] = row[U1, end - 1], row[U2, end - 1]
    if y > 1:
        _update_p(
            up[P11, first:last], up[P12, first:last],
            up[P21, first:last], up[P22, first:last],
            up[U1, first:last], up[U1, first + 1 : last + 1], row[U1, first:last],
            up[U2, first:last], up[U2, first + 1 : last + 1], row[U2, first:last],
            tau, tau_by_theta,
        )  # fmt: skip
    return change


@kernel
def sweep(
    state_RPX: F32, width: int, depth: int,
    threshold: np.float32, tau: np.float32, tau_by_theta: np.float32,
) -> np.float64:  # fmt: skip
    """Run `depth` iterations as one wavefront.

    Args:
        state_RPX: float32, the state (state.py); updated in place.
        width: Width of the image in pixels.
        depth: Number of iterations.
        threshold: λθ.
        tau: τ.
        tau_by_theta: τ/θ.

    Returns:
        Σ|Δu|² of the last iteration, in pixels².
    """
    height = state_RPX.shape[0] - 1
    inside = np.zeros(pad_width(width), np.float32)
    inside[:width] = 1
    change = np.float64(0)
    for front in range(1, height + 1 + depth):
        for k in range(max(0, front - height - 1), min(depth, front)):
            row_change = _update_row(
                state_RPX, inside, width, front - k, threshold, tau, tau_by_theta
            )
            if k == depth - 1:
                change += row_change
    return change


@kernel
def iterate(
    state_RPX: F32, width: int, iterations: int, tolerance: float,
    tau: float, lambda_: float, theta: float,
) -> int:  # fmt: skip
    """Iterate until Σ|Δu|² ≤ tolerance is measured, or `iterations` are done.

    The change is measured at odd iterations, counted from 0: first at 1, then, if it was E, after
    about E/tolerance more.

    Args:
        state_RPX: float32, the state (state.py); updated in place.
        width: Width of the image in pixels.
        iterations: Maximum number of iterations.
        tolerance: Change Σ|Δu|² at which to stop, in pixels².
        tau: τ.
        lambda_: λ.
        theta: θ.

    Returns:
        The number of iterations done.
    """
    threshold, step, ratio = np.float32(lambda_ * theta), np.float32(tau), np.float32(tau / theta)
    done, interval = 0, 2
    while done < iterations:
        interval = min(interval, iterations - done)
        change = np.float64(0)
        for start in range(0, interval, DEPTH):
            change = sweep(state_RPX, width, min(DEPTH, interval - start), threshold, step, ratio)
        done += interval
        if change <= tolerance:
            break
        # Skip the smallest odd number of iterations n with E − n·tolerance < tolerance.
        skipped = int(min(change / tolerance, float(iterations)))
        interval = (skipped | 1) + 1
    return done

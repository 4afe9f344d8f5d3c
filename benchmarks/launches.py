# ruff: noqa: N803
"""TV-L1 on a GPU the way OpenCV's CUDA class does it: the structure to compare ours with.

One pair at a time; two launches for each iteration, first u, then p, each a pass over memory;
at the schedule's checks the sum of |Δu|² is brought to the host, which decides what comes
next. Equations, schedule and pyramid are those of flowkit's own solvers, and so is the flow.
"""

import numpy as np
import torch
import triton
import triton.language as tl

from flowkit.flow import TVL1Params
from flowkit.flow.gpu.layout import plan_levels
from flowkit.flow.gpu.tvl1 import build_pyramids
from flowkit.flow.gpu.warp import FLT_EPSILON, interpolate

BLOCK = 256


@triton.jit
def warp(frame0, frame1, state, height, width, BLOCK: tl.constexpr):
    area = height * width
    pixel = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = pixel < area
    y, x = pixel // width, pixel % width
    u1 = tl.load(state + pixel, inside, 0.0)
    u2 = tl.load(state + area + pixel, inside, 0.0)
    i1, ix, iy = interpolate(frame1, y, x, u1, u2, height, width)
    i0 = tl.load(frame0 + pixel, inside, 0.0)
    square = ix * ix + iy * iy
    inv = tl.where(square > FLT_EPSILON, 1.0 / tl.maximum(square, FLT_EPSILON), 0.0)
    tl.store(state + 6 * area + pixel, ix, inside)
    tl.store(state + 7 * area + pixel, iy, inside)
    tl.store(state + 8 * area + pixel, i1 - i0 - ix * u1 - iy * u2, inside)
    tl.store(state + 9 * area + pixel, inv, inside)


@triton.jit
def update_u(state, change, height, width, bound, BLOCK: tl.constexpr):
    area = height * width
    pixel = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = pixel < area
    y, x = pixel // width, pixel % width
    at = state + pixel
    u1, u2 = tl.load(at, inside, 0.0), tl.load(at + area, inside, 0.0)
    ix, iy = tl.load(at + 6 * area, inside, 0.0), tl.load(at + 7 * area, inside, 0.0)
    rho, inv = tl.load(at + 8 * area, inside, 0.0), tl.load(at + 9 * area, inside, 0.0)
    slope = tl.minimum(tl.maximum(-(rho + ix * u1 + iy * u2) * inv, -bound), bound)
    div1 = tl.load(at + 2 * area, inside, 0.0) + tl.load(at + 3 * area, inside, 0.0)
    div1 -= tl.load(at + 2 * area - 1, inside & (x > 0), 0.0)
    div1 -= tl.load(at + 3 * area - width, inside & (y > 0), 0.0)
    div2 = tl.load(at + 4 * area, inside, 0.0) + tl.load(at + 5 * area, inside, 0.0)
    div2 -= tl.load(at + 4 * area - 1, inside & (x > 0), 0.0)
    div2 -= tl.load(at + 5 * area - width, inside & (y > 0), 0.0)
    change1, change2 = slope * ix + div1, slope * iy + div2
    tl.store(at, u1 + change1, inside)
    tl.store(at + area, u2 + change2, inside)
    square = tl.where(inside, change1 * change1 + change2 * change2, 0.0)
    tl.store(change + tl.program_id(0), tl.sum(square))


@triton.jit
def update_p(state, height, width, tau, tau_by_theta, BLOCK: tl.constexpr):
    area = height * width
    pixel = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = pixel < area
    y, x = pixel // width, pixel % width
    for plane in tl.static_range(2):
        at = state + plane * area + pixel
        u = tl.load(at, inside, 0.0)
        ux = tl.load(at + 1, inside & (x < width - 1), 0.0) - u
        uy = tl.load(at + width, inside & (y < height - 1), 0.0) - u
        ux = tl.where(x < width - 1, ux, 0.0)
        uy = tl.where(y < height - 1, uy, 0.0)
        norm = 1.0 / (1.0 + tau_by_theta * tl.sqrt(ux * ux + uy * uy))
        dual = state + (2 + 2 * plane) * area + pixel
        tl.store(dual, (tl.load(dual, inside, 0.0) + tau * ux) * norm, inside)
        dual += area
        tl.store(dual, (tl.load(dual, inside, 0.0) + tau * uy) * norm, inside)


def solve(frame0: np.ndarray, frame1: np.ndarray, params: TVL1Params, device: str) -> np.ndarray:
    """Flow of one pair, (H, W, 2)."""
    height, width = frame0.shape
    levels = plan_levels(height, width, params)
    frames = torch.tensor(np.stack([frame0, frame1]), device=device)
    pyramids = build_pyramids(frames, levels, params)
    flow = None
    for height, width, _, _, offset in levels.table[::-1].tolist():
        state = torch.zeros(10, height, width, device=device)
        if flow is not None:
            state[:2] = (
                torch.nn.functional.interpolate(
                    flow[None], (height, width), mode="bilinear", align_corners=False
                )[0]
                / params.scale_step
            )
        for _ in range(params.warps):
            grid = (triton.cdiv(height * width, BLOCK),)
            planes = pyramids[0, offset:], pyramids[1, offset:]
            warp[grid](*planes, state, height, width, BLOCK=BLOCK)
            iterate(state, grid, params)
        flow = state[:2]
    return flow.permute(1, 2, 0).cpu().numpy()


def iterate(state: torch.Tensor, grid: tuple[int], params: TVL1Params) -> None:
    """Iterations until the host sees that they have converged; its schedule is OpenCV's."""
    height, width = state.shape[1:]
    tolerance = params.epsilon**2 * height * width
    change = torch.zeros(grid, device=state.device)
    bound = params.lambda_ * params.theta
    done, wait = 0, 2
    while done < params.iterations:
        wait = min(wait, params.iterations - done)
        for _ in range(wait):
            update_u[grid](state, change, height, width, bound, BLOCK=BLOCK)
            update_p[grid](state, height, width, params.tau, params.tau / params.theta, BLOCK=BLOCK)
        done += wait
        found = change.sum().item()  # the host waits for the GPU
        if found <= tolerance:
            return
        wait = (int(min(found / tolerance, params.iterations)) | 1) + 1

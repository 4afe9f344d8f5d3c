# ruff: noqa: N803, N806
"""Warp frames and change levels, which happens between the iterations, for the Triton solver.

The equations and symbols are in `cpu/tvl1.py`, the moving and frozen planes in `state.py`. The
semantics are those of `cpu/warp.py` and `pyramid.enlarge_flow`. A tile is ITEMS rows of LANES
pixels; a program iterates over its pair's image tile by tile.

    P     pixels of a tile, row by row

A tile has one dimension, not two: with as many pixels as a program has threads there is only one
layout, which every version of Triton chooses, and a warp has 32 neighbouring pixels.
"""

import triton
import triton.language as tl

from flowkit.flow.gpu.state import FROZEN, LANES, MOVING, SPAN, compute_offset

FLT_EPSILON = tl.constexpr(1.1920929e-07)
"""Squared gradients up to this value count as 0."""


@triton.jit
def warp(frame0, frame1, moving, frozen, height, width, blocks, ITEMS: tl.constexpr):
    """Warp I₁ and ∇I₁ by u and linearize ρ there: write the frozen planes.

    `frame0` points to the level's I₀, `frame1` to I₁, followed by ∂₁I₁ and ∂₂I₁.
    """
    for tile in range(0, tl.cdiv(height, ITEMS) * tl.cdiv(width, LANES)):
        y_P, x_P = locate_tile(tile, width, ITEMS)
        inside = (y_P < height) & (x_P < width)
        at = moving + compute_offset(y_P, x_P, blocks, MOVING)
        u1, u2 = tl.load(at, inside, 0.0), tl.load(at + SPAN, inside, 0.0)
        i1, ix, iy = interpolate(frame1, y_P, x_P, u1, u2, height, width)
        i0 = tl.load(frame0 + (y_P * width + x_P), inside, 0.0)
        square = ix * ix + iy * iy
        inv = tl.where(square > FLT_EPSILON, 1.0 / tl.maximum(square, FLT_EPSILON), 0.0)
        at = frozen + compute_offset(y_P, x_P, blocks, FROZEN)
        tl.store(at, ix, inside)
        tl.store(at + SPAN, iy, inside)
        tl.store(at + 2 * SPAN, i1 - i0 - ix * u1 - iy * u2, inside)
        tl.store(at + 3 * SPAN, inv, inside)
    tl.debug_barrier()


@triton.jit
def interpolate(frame1, y_P, x_P, u1, u2, height, width):
    """Interpolate I₁, ∂₁I₁, ∂₂I₁ at (x + u₁, y + u₂): bicubic, a = −0.75, zero outside."""
    # Coordinates count from two pixels left of the image, so they are never negative. Points
    # further outside are moved to where all taps with weight are outside.
    x = tl.minimum(tl.maximum(2.0 + x_P + u1, 0.0), width + 3.0)
    y = tl.minimum(tl.maximum(2.0 + y_P + u2, 0.0), height + 3.0)
    tap_x, tap_y = x.to(tl.int32), y.to(tl.int32)
    weights_x, weights_y = compute_tap_weights(x - tap_x), compute_tap_weights(y - tap_y)
    area = height * width
    i1, ix, iy = tl.zeros_like(u1), tl.zeros_like(u1), tl.zeros_like(u1)
    for r in tl.static_range(4):
        row = tap_y + (r - 3)
        weight_y = tl.where((row >= 0) & (row < height), weights_y[r], 0.0)
        line = frame1 + tl.minimum(tl.maximum(row, 0), height - 1) * width
        i1_line, ix_line, iy_line = tl.zeros_like(u1), tl.zeros_like(u1), tl.zeros_like(u1)
        for c in tl.static_range(4):
            column = tap_x + (c - 3)
            weight_x = tl.where((column >= 0) & (column < width), weights_x[c], 0.0)
            at = line + tl.minimum(tl.maximum(column, 0), width - 1)
            i1_line += weight_x * tl.load(at)
            ix_line += weight_x * tl.load(at + area)
            iy_line += weight_x * tl.load(at + 2 * area)
        i1, ix, iy = i1 + weight_y * i1_line, ix + weight_y * ix_line, iy + weight_y * iy_line
    return i1, ix, iy


@triton.jit
def compute_tap_weights(t):
    """Compute Keys' cubic convolution weights for a point t after the second of four taps."""
    a: tl.constexpr = -0.75
    s = 1.0 - t
    return (
        a * t * s * s,
        ((a + 2.0) * t - (a + 3.0)) * t * t + 1.0,
        ((a + 2.0) * s - (a + 3.0)) * s * s + 1.0,
        a * s * t * t,
    )


@triton.jit
def start_level(
    source, source_height, source_width, source_blocks, target, height, width, blocks, factor,
    ITEMS: tl.constexpr,
):  # fmt: skip
    """Compute u of a level from the next coarser one, bilinear, times `factor`; p = 0."""
    step_y, step_x = source_height / height, source_width / width
    for tile in range(0, tl.cdiv(height, ITEMS) * tl.cdiv(width, LANES)):
        y_P, x_P = locate_tile(tile, width, ITEMS)
        inside = (y_P < height) & (x_P < width)
        y0, y1, t_y = find_neighbours(y_P, step_y, source_height)
        x0, x1, t_x = find_neighbours(x_P, step_x, source_width)
        corners = (
            source + compute_offset(y0, x0, source_blocks, MOVING),
            source + compute_offset(y0, x1, source_blocks, MOVING),
            source + compute_offset(y1, x0, source_blocks, MOVING),
            source + compute_offset(y1, x1, source_blocks, MOVING),
        )
        at = target + compute_offset(y_P, x_P, blocks, MOVING)
        for plane in tl.static_range(2):
            upper = (1.0 - t_x) * tl.load(corners[0] + plane * SPAN)
            upper += t_x * tl.load(corners[1] + plane * SPAN)
            lower = (1.0 - t_x) * tl.load(corners[2] + plane * SPAN)
            lower += t_x * tl.load(corners[3] + plane * SPAN)
            u = (1.0 - t_y) * upper + t_y * lower
            tl.store(at + plane * SPAN, factor * u, inside)
        for plane in tl.static_range(2, MOVING):
            tl.store(at + plane * SPAN, tl.zeros((ITEMS * LANES,), tl.float32), inside)
    tl.debug_barrier()


@triton.jit
def find_neighbours(position, step, size):
    """Find the two samples around a pixel's centre, scaled by `step`.

    Returns:
        Indices of the two samples, and the distance from the first one in samples. At the end of
        an axis both are the last sample.
    """
    at = tl.minimum(tl.maximum((position + 0.5) * step - 0.5, 0.0), size - 1.0)
    first = at.to(tl.int32)
    return first, tl.minimum(first + 1, size - 1), at - first


@triton.jit
def write_flow(
    moving, flow, pair, height, width, blocks, bound, QUANTIZED: tl.constexpr,
    ITEMS: tl.constexpr,
):  # fmt: skip
    """Write u as the planes (N, 2, H, W) of `flow`: pixels, or the bytes of `quantize`."""
    for tile in range(0, tl.cdiv(height, ITEMS) * tl.cdiv(width, LANES)):
        y_P, x_P = locate_tile(tile, width, ITEMS)
        inside = (y_P < height) & (x_P < width)
        for plane in tl.static_range(2):
            u = tl.load(
                moving + compute_offset(y_P, x_P, blocks, MOVING) + plane * SPAN, inside, 0.0
            )
            if QUANTIZED:
                u = tl.div_rn(127.0 * tl.minimum(tl.maximum(u, -bound), bound), bound)
                u = (u + tl.where(u < 0, -0.5, 0.5)).to(tl.int32) + 128
            at = (pair.to(tl.int64) * 2 + plane) * height * width + (y_P * width + x_P)
            tl.store(flow + at, u.to(flow.dtype.element_ty), inside)


@triton.jit
def locate_tile(tile, width, ITEMS: tl.constexpr):
    """Return the row and column of each pixel of a tile, (ITEMS · LANES,) each."""
    across = tl.cdiv(width, LANES)
    pixel_P = tl.arange(0, ITEMS * LANES)
    return tile // across * ITEMS + pixel_P // LANES, tile % across * LANES + pixel_P % LANES

# ruff: noqa: N803, SIM102
"""Solve one pair per program: the kernel that controls levels, warps and stopping.

Equations, symbols and semantics are those of `cpu/tvl1.py`. All control is on the GPU and is the
same for every thread of a program: it depends on the level table, and on the change of u that the
program's threads have summed together and read back from `change_sums` (`sweep` in iterate.py).

The arguments of `solve`:

    pyramids, pyramid_size          all frames' pyramids (float32 pointer), and floats of each
    pairs                           indices of the two frames of each pair (int32 pointer)
    levels, num_levels              level table (int32 pointer), FIELDS for each level
    state, moving_size, frozen_size states of all pairs (float32 pointer), and floats of one copy of
                                    the moving planes and of the frozen planes (state.py) of each
    change_sums                     one float32 for each pair (pointer)
    flow                            the result (N, 2, H, W) (float32 or uint8 pointer)
    work                            pixel-iterations of each pair (int64 pointer), written to: the
                                    iterations done, times the pixels of their level
    warps, finest_warps             warps at all levels but the finest, and at the finest
    iterations                      maximum number of iterations per warp
    epsilon2, finest_epsilon2       ε² in pixels² at all levels but the finest, and at the finest
    enlargement                     size of a level relative to the next coarser one
    threshold, tau, tau_by_theta    λθ, τ, τ/θ
    bound, QUANTIZED                displacement in pixels that becomes 255, if bytes are written
    MEDIAN_SIDE, FINEST_MEDIAN_SIDE side of the median filter, as for the warps
    ITEMS, DEPTH                    strips done at a time, and iterations in flight (iterate.py)
"""

import triton
import triton.language as tl

from flowkit.flow.gpu.iterate import iterate
from flowkit.flow.gpu.median import filter_flow
from flowkit.flow.gpu.warp import start_level, warp, write_flow

FIELDS = tl.constexpr(5)
"""Fields of a level: height, width, blocks in a row, chunks (iterate.py), offset in a pyramid."""


@triton.jit(do_not_specialize=["pyramid_size", "num_levels", "moving_size", "frozen_size", "warps",
                               "finest_warps", "iterations"])  # fmt: skip
def solve(
    pyramids, pyramid_size, pairs, levels, num_levels, state, moving_size, frozen_size,
    change_sums, flow, work, warps, finest_warps, iterations, epsilon2, finest_epsilon2,
    enlargement, threshold, tau, tau_by_theta, bound, QUANTIZED: tl.constexpr,
    MEDIAN_SIDE: tl.constexpr, FINEST_MEDIAN_SIDE: tl.constexpr, ITEMS: tl.constexpr,
    DEPTH: tl.constexpr,
):  # fmt: skip
    """Solve a whole pair, from the coarsest level to the flow field in `flow`.

    The arguments are listed at the top of this file. A median filter with side 1 does nothing, and
    is not compiled.
    """
    pair = tl.program_id(0)
    frame0 = pyramids + tl.load(pairs + 2 * pair).to(tl.int64) * pyramid_size
    frame1 = pyramids + tl.load(pairs + 2 * pair + 1).to(tl.int64) * pyramid_size
    source = state + pair.to(tl.int64) * (moving_size.to(tl.int64) * 2 + frozen_size)
    target = source + moving_size
    frozen = target + moving_size
    pixel_iterations = tl.zeros((), tl.int64)
    # The coarsest level starts from zero: its source is its own memory, which holds zeros.
    coarsest = levels + (num_levels - 1) * FIELDS
    height, width, blocks = tl.load(coarsest), tl.load(coarsest + 1), tl.load(coarsest + 2)
    for step in range(num_levels):
        level = levels + (num_levels - 1 - step) * FIELDS
        source_height, source_width, source_blocks = height, width, blocks
        height, width, blocks = tl.load(level), tl.load(level + 1), tl.load(level + 2)
        chunks, offset = tl.load(level + 3), tl.load(level + 4)
        start_level(
            source, source_height, source_width, source_blocks, target, height, width, blocks,
            enlargement, ITEMS,
        )  # fmt: skip
        source, target = target, source
        finest = step == num_levels - 1
        level_epsilon2 = tl.where(finest, finest_epsilon2, epsilon2)
        tolerance = level_epsilon2 * height.to(tl.float32) * width.to(tl.float32)
        for _ in range(tl.where(finest, finest_warps, warps)):
            warp(frame0 + offset, frame1 + offset, source, frozen, height, width, blocks, ITEMS)
            source, target, pixel_iterations = iterate(
                source, target, frozen, change_sums + pair, height, width, blocks, chunks,
                iterations, tolerance, threshold, tau, tau_by_theta, pixel_iterations, DEPTH, ITEMS,
            )  # fmt: skip
        if MEDIAN_SIDE > 1:
            if not finest:
                filter_flow(source, target, height, width, blocks, MEDIAN_SIDE, ITEMS)
                source, target = target, source
    if FINEST_MEDIAN_SIDE > 1:
        filter_flow(source, target, height, width, blocks, FINEST_MEDIAN_SIDE, ITEMS)
        source, target = target, source
    write_flow(source, flow, pair, height, width, blocks, bound, QUANTIZED, ITEMS)
    tl.store(work + pair, pixel_iterations)

# ruff: noqa: N803, SIM102
"""Solve one pair per program: the kernel that controls levels, warps and stopping.

Equations, symbols and semantics are those of `cpu/tvl1.py`. All control is on the GPU and is the
same for every thread of a program: it depends on the level table, and on the change of u that the
program's threads have summed together and read back from `change_sums` (see `sweep`).
"""

import triton
import triton.language as tl

from flowkit.flow.gpu.iterate import sweep
from flowkit.flow.gpu.median import filter_flow
from flowkit.flow.gpu.warp import start_level, warp, write_flow

FIELDS = tl.constexpr(5)
"""Fields of a level: height, width, blocks in a row, chunks, offset in a pyramid."""


@triton.jit(do_not_specialize=["pyramid_size", "num_levels", "moving_size", "frozen_size", "warps",
                               "finest_warps", "iterations"])  # fmt: skip
def solve(
    pyramids, pyramid_size, pairs, levels, num_levels, state, moving_size, frozen_size,
    change_sums, flow, work, warps, finest_warps, iterations, epsilon2, finest_epsilon2,
    enlargement, bound, tau, tau_by_theta, largest, QUANTIZED: tl.constexpr,
    MEDIAN_SIDE: tl.constexpr, FINEST_MEDIAN_SIDE: tl.constexpr, ITEMS: tl.constexpr,
    DEPTH: tl.constexpr,
):  # fmt: skip
    """Solve a whole pair, from the coarsest level to the flow field in `flow`.

    A median filter with side 1 does nothing, and is not compiled.

    Args:
        pyramids: Pointer to the pyramids of all frames, float32.
        pyramid_size: Floats of one pyramid.
        pairs: Pointer to the indices of the two frames of each pair, int32.
        levels: Pointer to the level table, int32, FIELDS for each level.
        num_levels: Number of levels.
        state: Pointer to the states of all pairs, float32.
        moving_size: Floats of the moving planes, one side.
        frozen_size: Floats of the frozen planes.
        change_sums: Pointer to one float32 for each pair.
        flow: Pointer to the result (N, 2, H, W), float32 or uint8.
        work: Pointer to the pixel-iterations of each pair, int64, written to.
        warps: Warps at all levels but the finest.
        finest_warps: Warps at the finest level.
        iterations: Most iterations per warp.
        epsilon2: ε² at all levels but the finest, in pixels².
        finest_epsilon2: ε² at the finest level, in pixels².
        enlargement: Size of a level relative to the next coarser one.
        bound: λθ, the threshold.
        tau: τ.
        tau_by_theta: τ/θ.
        largest: Displacement in pixels that becomes 255, if quantized.
        QUANTIZED: Whether to write bytes.
        MEDIAN_SIDE: Side of the median filter at all levels but the finest.
        FINEST_MEDIAN_SIDE: Side of the median filter at the finest level.
        ITEMS: Strips done at a time.
        DEPTH: Iterations in flight.
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
            done, remaining = 0, tl.minimum(2, iterations)
            while done < iterations:
                if remaining >= DEPTH:
                    change = sweep(
                        source, target, frozen, change_sums + pair, height, width, blocks, chunks,
                        bound, tau, tau_by_theta, DEPTH, ITEMS,
                    )  # fmt: skip
                    step_done = DEPTH
                elif remaining >= 2:
                    change = sweep(
                        source, target, frozen, change_sums + pair, height, width, blocks, chunks,
                        bound, tau, tau_by_theta, 2, ITEMS,
                    )  # fmt: skip
                    step_done = 2
                else:
                    change = sweep(
                        source, target, frozen, change_sums + pair, height, width, blocks, chunks,
                        bound, tau, tau_by_theta, 1, ITEMS,
                    )  # fmt: skip
                    step_done = 1
                source, target = target, source
                done += step_done
                remaining -= step_done
                pixel_iterations += step_done * height * width
                if remaining == 0:  # see `flow.cpu.iterate.iterate`
                    skipped = tl.minimum(change / tolerance, iterations.to(tl.float32))
                    remaining = tl.minimum((skipped.to(tl.int32) | 1) + 1, iterations - done)
                    if change <= tolerance:
                        done = iterations
        if MEDIAN_SIDE > 1:
            if not finest:
                filter_flow(source, target, height, width, blocks, MEDIAN_SIDE, ITEMS)
                source, target = target, source
    if FINEST_MEDIAN_SIDE > 1:
        filter_flow(source, target, height, width, blocks, FINEST_MEDIAN_SIDE, ITEMS)
        source, target = target, source
    write_flow(source, flow, pair, height, width, blocks, largest, QUANTIZED, ITEMS)
    tl.store(work + pair, pixel_iterations)

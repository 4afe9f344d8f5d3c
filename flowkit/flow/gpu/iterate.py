# ruff: noqa: N803, N806, RUF005
"""Run the inner iterations of TV-L1 between two warps, for the Triton solver.

The equations and symbols are in `cpu/tvl1.py`, the costs in `tvl1.py`, and the moving and frozen
planes in `state.py`. One iteration reads ten numbers per pixel and writes six, 64 bytes, for about
fifty operations. If each iteration went through memory, a GPU would reach a fifth of its compute
rate. So each warp (32 threads, called lanes) moves down the image in a strip of SPAN columns, with
DEPTH iterations in flight, all in registers, each one row behind the previous one:

    front = y        row:  y−4  y−3  y−2  y−1   y
                     k=0                   p    u     iteration k updates u in row y − k,
                     k=1              p    u          then p in the row above, which
                     k=2         p    u               needs the new u of both rows
                     k=3    p    u
                            p → memory

Lanes exchange p of the pixel to the left and u of the pixel to the right by shuffles, two each per
COLUMNS pixels. Strips overlap by 2·DEPTH columns, and chunks of rows by 2·DEPTH rows: each
iteration invalidates one more column and row at the sides where a strip has neighbours, and a pixel
is written by the strip in which it is exact.

Triton lays the lanes of a warp along the dimension in which addresses are contiguous. Up to version
3.6 it cannot see through minimum, // and % that this dimension is the columns, and lays them over 8
rows × 4 columns. Each exchange then goes through shared memory, with 112 barriers per step. So
`max_contiguous` tells it, and states only what is true on every lane, at borders too: strips begin
at multiples of GROUP pixels, blocks hold whole groups, and it is the group that is clamped to the
image. Hence lanes 2n and 2n + 1 always read neighbouring addresses, whether these are needed or
not. (This does not hold for all 32 lanes, because the block changes within a strip.) The layout
does not change the result.

    I     strip of one chunk; ITEMS of them are done at a time, one by each warp of a program
    L     lane
"""

import triton
import triton.language as tl

from flowkit.flow.gpu.state import COLUMNS, FROZEN, LANES, MOVING, SPAN

NEIGHBOURS = tl.constexpr(2)
"""Lanes whose addresses the compiler is told to be contiguous."""
GROUP = tl.constexpr(4)
"""Pixels of those lanes: NEIGHBOURS · COLUMNS."""


@triton.jit
def iterate(
    source, target, frozen, change_sum, height, width, blocks, chunks, iterations, tolerance,
    threshold, tau, tau_by_theta, pixel_iterations, DEPTH: tl.constexpr, ITEMS: tl.constexpr,
):  # fmt: skip
    """Iterate from the moving planes `source`; when to stop is as in `cpu.iterate.iterate`.

    Returns:
        The moving planes with the result, the other copy of them, and `pixel_iterations` plus those
        that were done here.
    """
    done, remaining = 0, tl.minimum(2, iterations)
    while done < iterations:
        if remaining >= DEPTH:
            change = sweep(
                source, target, frozen, change_sum, height, width, blocks, chunks, threshold, tau,
                tau_by_theta, DEPTH, ITEMS,
            )  # fmt: skip
            step_done = DEPTH
        elif remaining >= 2:
            change = sweep(
                source, target, frozen, change_sum, height, width, blocks, chunks, threshold, tau,
                tau_by_theta, 2, ITEMS,
            )  # fmt: skip
            step_done = 2
        else:
            change = sweep(
                source, target, frozen, change_sum, height, width, blocks, chunks, threshold, tau,
                tau_by_theta, 1, ITEMS,
            )  # fmt: skip
            step_done = 1
        source, target = target, source
        done += step_done
        remaining -= step_done
        pixel_iterations += step_done * height * width
        if remaining == 0:
            skipped = tl.minimum(change / tolerance, iterations.to(tl.float32))
            remaining = tl.minimum((skipped.to(tl.int32) | 1) + 1, iterations - done)
            if change <= tolerance:
                done = iterations
    return source, target, pixel_iterations


@triton.jit
def sweep(
    source, target, frozen, change_sum, height, width, blocks, chunks, threshold, tau, tau_by_theta,
    DEPTH: tl.constexpr, ITEMS: tl.constexpr,
):  # fmt: skip
    """Run DEPTH iterations from the moving planes `source` to `target`.

    The sum is computed in a fixed order, so the bits of a result do not depend on what else runs.

    Args:
        source: Pointer to the moving planes that are read.
        target: Pointer to the moving planes that are written.
        frozen: Pointer to the frozen planes.
        change_sum: Pointer to a float32 that receives Σ|Δu|².
        height: Height of the image in pixels.
        width: Width of the image in pixels.
        blocks: Blocks in a row of a plane.
        chunks: Chunks of rows that the image is divided into.
        threshold: λθ.
        tau: τ.
        tau_by_theta: τ/θ.
        DEPTH: Iterations in flight.
        ITEMS: Strips done at a time.

    Returns:
        Σ|Δu|² of the last iteration, in pixels².
    """
    lane_IL = tl.arange(0, LANES)[None, :] + tl.zeros((ITEMS, 1), tl.int32)
    step: tl.constexpr = (SPAN - 2 * DEPTH) // GROUP * GROUP
    strips = 1 + (tl.maximum(width - SPAN, 0) + step - 1) // step
    rows = (height + chunks - 1) // chunks
    change_IL = tl.zeros((ITEMS, LANES), tl.float32)
    for first in range(0, strips * chunks, ITEMS):
        item = first + tl.arange(0, ITEMS)[:, None]  # items beyond the last one have no rows
        change_IL = sweep_strip(
            source, target, frozen, height, width, blocks, item % strips, strips,
            item // strips * rows, rows, lane_IL, change_IL, threshold, tau, tau_by_theta,
            DEPTH, ITEMS,
        )  # fmt: skip
    # The sum is read back from memory because of ptxas: it knows that a value which all threads
    # read at one address is the same for all, but not that the result of a sum is (from Triton
    # 3.8 on a sum ends in shuffles). The sum decides when the iterations end, so ptxas would
    # consider all inner loops divergent: it would give every shuffle a second path, and spill 20
    # registers in the innermost loop. The value is not overwritten before it is read, because the
    # next sum needs all warps.
    tl.store(change_sum, tl.sum(change_IL))
    tl.debug_barrier()  # the next read is of what other warps wrote
    return tl.load(change_sum)


@triton.jit
def sweep_strip(
    source, target, frozen, height, width, blocks, strip_I, strips, top_I, rows, lane_IL,
    change_IL, threshold, tau, tau_by_theta, DEPTH: tl.constexpr, ITEMS: tl.constexpr,
):  # fmt: skip
    """Run DEPTH iterations in one strip of one chunk for each warp.

    Returns:
        `change_IL` plus |Δu|² of the strip's own pixels in the last iteration.
    """
    step: tl.constexpr = (SPAN - 2 * DEPTH) // GROUP * GROUP
    left_I = strip_I * step
    x_IL = left_I + COLUMNS * lane_IL
    first_x_I = tl.where(strip_I == 0, 0, left_I + DEPTH)
    last_x_I = tl.where(strip_I == strips - 1, width, left_I + step + DEPTH)
    is_last_column, is_exact = (), ()
    for c in tl.static_range(COLUMNS):
        x = x_IL + c
        is_last_column = is_last_column + (x == width - 1,)
        is_exact = is_exact + ((x >= first_x_I) & (x < tl.minimum(last_x_I, width)),)
    bottom_I = tl.minimum(top_I + rows, height)
    # Lanes to the right of the image read the last group of its pixels.
    group_IL = tl.minimum(x_IL // GROUP, (width - 1) // GROUP)
    block_IL = group_IL // (SPAN // GROUP)
    at_IL = group_IL % (SPAN // GROUP) * NEIGHBOURS + lane_IL % NEIGHBOURS

    zero_columns = ((tl.zeros((ITEMS, LANES), tl.float32),) * (MOVING + FROZEN),) * COLUMNS
    in_flight = (zero_columns,) * DEPTH
    for front in range(-DEPTH, rows + DEPTH):
        y_I = top_I + front
        clamped_y_I = tl.minimum(tl.maximum(y_I, 0), height - 1)  # rows outside are never used
        cell_IL = clamped_y_I * blocks + block_IL
        row = load_row(
            source + tl.max_contiguous(cell_IL * (MOVING * SPAN) + at_IL, [1, NEIGHBOURS]),
            frozen + tl.max_contiguous(cell_IL * (FROZEN * SPAN) + at_IL, [1, NEIGHBOURS]),
        )
        next_in_flight = ()
        for k in tl.static_range(DEPTH):
            updated_row, row, square = iterate_row(
                in_flight[k], row, y_I - k, height, lane_IL, is_last_column, threshold, tau,
                tau_by_theta,
            )  # fmt: skip
            next_in_flight = next_in_flight + (updated_row,)
        in_flight = next_in_flight
        measured_I = (y_I - (DEPTH - 1) >= top_I) & (y_I - (DEPTH - 1) < bottom_I)
        written_I = (y_I - DEPTH >= top_I) & (y_I - DEPTH < bottom_I)
        cell_IL = (y_I - DEPTH) * blocks + block_IL
        out = target + tl.max_contiguous(cell_IL * (MOVING * SPAN) + at_IL, [1, NEIGHBOURS])
        for c in tl.static_range(COLUMNS):
            change_IL += tl.where(is_exact[c] & measured_I, square[c], 0.0)
            for plane in tl.static_range(MOVING):
                address = out + (plane * SPAN + c * LANES)
                tl.store(address, row[c][plane], mask=is_exact[c] & written_I)
    return change_IL


@triton.jit
def load_row(moving, frozen):
    """Load all planes of a row, for each of a lane's columns.

    Returns:
        (u₁ … p₂₂, ∂₁I₁ … 1/|∇I₁|²) for each column.
    """
    row = ()
    for c in tl.static_range(COLUMNS):
        column = ()
        for plane in tl.static_range(MOVING):
            column = column + (tl.load(moving + (plane * SPAN + c * LANES)),)
        for plane in tl.static_range(FROZEN):
            column = column + (tl.load(frozen + (plane * SPAN + c * LANES)),)
        row = row + (column,)
    return row


@triton.jit
def iterate_row(above, row, y_I, height, lane_IL, is_last_column, threshold, tau, tau_by_theta):
    """Do one iteration: u in `row`, which is row y, then p in the row above.

    Returns:
        Row y with its new u, the row above with its new p, and |Δu|² of row y.
    """
    last: tl.constexpr = COLUMNS - 1
    to_left_IL, to_right_IL = tl.maximum(lane_IL - 1, 0), tl.minimum(lane_IL + 1, LANES - 1)
    p11_left = tl.where(lane_IL == 0, 0.0, tl.gather(row[last][2], to_left_IL, 1))
    p21_left = tl.where(lane_IL == 0, 0.0, tl.gather(row[last][4], to_left_IL, 1))
    updated_u, square = (), ()
    for c in tl.static_range(COLUMNS):
        u1, u2, p11, p12, p21, p22, ix, iy, rho, inv = row[c]
        p12_up = tl.where(y_I > 0, above[c][3], 0.0)
        p22_up = tl.where(y_I > 0, above[c][5], 0.0)
        slope = tl.minimum(tl.maximum(-(rho + ix * u1 + iy * u2) * inv, -threshold), threshold)
        u1_change = slope * ix + (p11 - p11_left + p12 - p12_up)
        u2_change = slope * iy + (p21 - p21_left + p22 - p22_up)
        square = square + (u1_change * u1_change + u2_change * u2_change,)
        u1, u2 = u1 + u1_change, u2 + u2_change
        updated_u = updated_u + ((u1, u2, p11, p12, p21, p22, ix, iy, rho, inv),)
        p11_left, p21_left = p11, p21

    u1_right = tl.gather(above[0][0], to_right_IL, 1)
    u2_right = tl.gather(above[0][1], to_right_IL, 1)
    updated_p = ()
    for c in tl.static_range(COLUMNS):
        u1, u2, p11, p12, p21, p22, ix, iy, rho, inv = above[c]
        if c < last:
            u1_beside, u2_beside = above[c + 1][0], above[c + 1][1]
        else:
            u1_beside, u2_beside = u1_right, u2_right
        u1x = tl.where(is_last_column[c], 0.0, u1_beside - u1)
        u2x = tl.where(is_last_column[c], 0.0, u2_beside - u2)
        u1y = tl.where(y_I < height, updated_u[c][0] - u1, 0.0)
        u2y = tl.where(y_I < height, updated_u[c][1] - u2, 0.0)
        norm1 = 1.0 + tau_by_theta * tl.sqrt(u1x * u1x + u1y * u1y)
        norm2 = 1.0 + tau_by_theta * tl.sqrt(u2x * u2x + u2y * u2y)
        # A division takes ten instructions, a reciprocal root one, and 1/n is its square.
        root = tl.rsqrt(norm1 * norm2)
        by_norm1, by_norm2 = root * root * norm2, root * root * norm1
        p11, p12 = (p11 + tau * u1x) * by_norm1, (p12 + tau * u1y) * by_norm1
        p21, p22 = (p21 + tau * u2x) * by_norm2, (p22 + tau * u2y) * by_norm2
        updated_p = updated_p + ((u1, u2, p11, p12, p21, p22, ix, iy, rho, inv),)
    return updated_u, updated_p, square

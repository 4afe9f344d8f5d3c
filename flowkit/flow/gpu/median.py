# ruff: noqa: N803, N806, RUF005
"""Filter the flow by the median at the end of a level, for the Triton solver.

The semantics are those of `pyramid.filter_flow`. The median is selected by comparisons alone, so it
has the bits of OpenCV's. If there are 2m − 1 values, the first m + 1 are considered first: neither
the smallest nor the greatest of them can be the median, since m values are not below, or not above
it. Both are discarded, the next value is added to the others, and so on, until one value remains.

    P       pixels of a tile, row by row
    n       number of a pixel in the window of SIDE × SIDE, or of a pair of values that are compared
    moving  the MOVING planes that hold u₁, u₂ and the dual variables; a row is stored as ``blocks``
            of SPAN pixels, in which the planes follow one another (state.py)
"""

import triton
import triton.language as tl

from flowkit.flow.gpu.state import LANES, MOVING, SPAN, compute_offset
from flowkit.flow.gpu.warp import locate_tile


@triton.jit
def filter_flow(source, target, height, width, blocks, SIDE: tl.constexpr, ITEMS: tl.constexpr):
    """Write the median of SIDE × SIDE pixels of u in the moving planes `source` to `target`."""
    count: tl.constexpr = SIDE * SIDE
    for tile in range(0, tl.cdiv(height, ITEMS) * tl.cdiv(width, LANES)):
        y_P, x_P = locate_tile(tile, width, ITEMS)
        inside = (y_P < height) & (x_P < width)
        at = target + compute_offset(y_P, x_P, blocks, MOVING)
        for plane in range(2):
            remaining = ()
            for n in tl.static_range(count):
                y = tl.minimum(tl.maximum(y_P + (n // SIDE - SIDE // 2), 0), height - 1)
                x = tl.minimum(tl.maximum(x_P + (n % SIDE - SIDE // 2), 0), width - 1)
                remaining = remaining + (
                    tl.load(source + compute_offset(y, x, blocks, MOVING) + plane * SPAN),
                )
                if n > count // 2:
                    remaining = discard_extremes(remaining, count + 2 - n)
            tl.store(at + plane * SPAN, remaining[0], inside)
    tl.debug_barrier()


@triton.jit
def discard_extremes(values, COUNT: tl.constexpr):
    """Return all but the smallest and the greatest of COUNT values, for each pixel."""
    half: tl.constexpr = COUNT // 2
    lower, upper = (), ()
    for n in tl.static_range(half):
        lower = lower + (tl.minimum(values[n], values[COUNT - 1 - n]),)
        upper = upper + (tl.maximum(values[n], values[COUNT - 1 - n]),)
    smallest, greatest, remaining = lower[0], upper[0], ()
    for n in tl.static_range(1, half):
        remaining = remaining + (tl.maximum(smallest, lower[n]), tl.minimum(greatest, upper[n]))
        smallest, greatest = tl.minimum(smallest, lower[n]), tl.maximum(greatest, upper[n])
    if COUNT % 2 == 1:
        remaining = remaining + (tl.minimum(tl.maximum(smallest, values[half]), greatest),)
    return remaining

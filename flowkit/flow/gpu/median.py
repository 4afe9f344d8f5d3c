# ruff: noqa: N803, N806, RUF005
"""The median filter of the flow at the end of a level, for the Triton solver.

Semantics of `pyramid.filter_flow`. The median is selected by comparisons alone, so it has the
bits of OpenCV's. Of 2n − 1 values, n + 1 are looked at first: neither the least nor the greatest
of them can be the median, since n values are not below, or not above it. Both are discarded, the
next value joins the rest, and so on, until one value is left.

    P     pixels of a tile, row by row
"""

import triton
import triton.language as tl

from flowkit.flow.gpu.state import LANES, MOVING, SPAN, locate
from flowkit.flow.gpu.warp import locate_tile


@triton.jit
def filter_flow(source, target, height, width, blocks, SIDE: tl.constexpr, ITEMS: tl.constexpr):
    """Write the median of SIDE × SIDE pixels of u in the moving planes `source` to `target`."""
    count: tl.constexpr = SIDE * SIDE
    for tile in range(0, tl.cdiv(height, ITEMS) * tl.cdiv(width, LANES)):
        y_P, x_P = locate_tile(tile, width, ITEMS)
        inside = (y_P < height) & (x_P < width)
        at = target + locate(y_P, x_P, blocks, MOVING)
        for plane in range(2):
            kept = ()
            for n in tl.static_range(count):
                y = tl.minimum(tl.maximum(y_P + (n // SIDE - SIDE // 2), 0), height - 1)
                x = tl.minimum(tl.maximum(x_P + (n % SIDE - SIDE // 2), 0), width - 1)
                kept = kept + (tl.load(source + locate(y, x, blocks, MOVING) + plane * SPAN),)
                if n > count // 2:
                    kept = discard_extremes(kept, count + 2 - n)
            tl.store(at + plane * SPAN, kept[0], inside)
    tl.debug_barrier()


@triton.jit
def discard_extremes(values, COUNT: tl.constexpr):
    """Return COUNT − 2 of the COUNT values: without the least and the greatest of each pixel."""
    half: tl.constexpr = COUNT // 2
    lower, upper = (), ()
    for n in tl.static_range(half):
        lower = lower + (tl.minimum(values[n], values[COUNT - 1 - n]),)
        upper = upper + (tl.maximum(values[n], values[COUNT - 1 - n]),)
    least, greatest, rest = lower[0], upper[0], ()
    for n in tl.static_range(1, half):
        rest = rest + (tl.maximum(least, lower[n]), tl.minimum(greatest, upper[n]))
        least, greatest = tl.minimum(least, lower[n]), tl.maximum(greatest, upper[n])
    if COUNT % 2 == 1:
        rest = rest + (tl.minimum(tl.maximum(least, values[half]), greatest),)
    return rest

# ruff: noqa: N803
"""The pyramid of many frames at once, for the Triton solver; semantics of `pyramid.py`.

A frame's levels lie one after another, each as three planes: I, ∂₁I, ∂₂I, whose gradient is by
central differences with the border replicated. A frame serves two pairs of a video: as the
first by I, as the second by all three.
"""

import triton
import triton.language as tl

from flowkit.flow.gpu.warp import find_neighbours


@triton.jit(do_not_specialize=["source_offset", "source_pitch", "source_height", "source_width",
                               "offset", "pitch", "height", "width"])  # fmt: skip
def build_level(
    sources, source_offset, source_pitch, source_height, source_width,
    pyramids, offset, pitch, height, width, step, BLOCK: tl.constexpr,
):  # fmt: skip
    """One level of each frame from the next finer one; pitches are from frame to frame.

    Level 0 is made from the frames themselves, with `step` 1.
    """
    frame = tl.program_id(0).to(tl.int64)
    source = sources + frame * source_pitch + source_offset
    level = pyramids + frame * pitch + offset
    pixel = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside = pixel < height * width
    pixel = tl.minimum(pixel, height * width - 1)
    y, x = pixel // width, pixel % width
    left, right = tl.maximum(x - 1, 0), tl.minimum(x + 1, width - 1)
    up, down = tl.maximum(y - 1, 0), tl.minimum(y + 1, height - 1)
    centre = shrink(source, y, x, source_height, source_width, step)
    dx = shrink(source, y, right, source_height, source_width, step)
    dx -= shrink(source, y, left, source_height, source_width, step)
    dy = shrink(source, down, x, source_height, source_width, step)
    dy -= shrink(source, up, x, source_height, source_width, step)
    tl.store(level + pixel, centre, inside)
    tl.store(level + height * width + pixel, 0.5 * dx, inside)
    tl.store(level + 2 * height * width + pixel, 0.5 * dy, inside)


@triton.jit
def shrink(source, y, x, height, width, step):
    """The finer level (height × width) where pixel (y, x) of the coarser one lies, bilinear."""
    y0, y1, t_y = find_neighbours(y, step, height)
    x0, x1, t_x = find_neighbours(x, step, width)
    upper = (1.0 - t_x) * tl.load(source + y0 * width + x0).to(tl.float32)
    upper += t_x * tl.load(source + y0 * width + x1).to(tl.float32)
    lower = (1.0 - t_x) * tl.load(source + y1 * width + x0).to(tl.float32)
    lower += t_x * tl.load(source + y1 * width + x1).to(tl.float32)
    return (1.0 - t_y) * upper + t_y * lower

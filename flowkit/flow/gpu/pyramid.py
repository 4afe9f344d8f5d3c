# ruff: noqa: N803
"""Build the pyramids of many frames at once, for the Triton solver.

The semantics are those of `flow/pyramid.py`. The levels of a frame are stored one after another,
each as three planes: the image I and its gradient, ∂₁I and ∂₂I, by central differences with the
border replicated. A frame belongs to two pairs of a video: as the first frame of a pair only I is
read, as the second all three planes.
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
    """Compute one level of each frame from the next finer one.

    A pitch is the number of values from one frame to the next. `step` is the distance of two pixels
    in pixels of the finer level, 1 / `scale_step`; it is 1 for level 0, which is computed from the
    frames themselves. The pixels are on the first axis of the grid: CUDA has at most 65,535
    programs on the others, which 17 million pixels would exceed.
    """
    frame = tl.program_id(1).to(tl.int64)
    source = sources + frame * source_pitch + source_offset
    level = pyramids + frame * pitch + offset
    pixel = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = pixel < height * width
    pixel = tl.minimum(pixel, height * width - 1)
    y, x = pixel // width, pixel % width
    left, right = tl.maximum(x - 1, 0), tl.minimum(x + 1, width - 1)
    up, down = tl.maximum(y - 1, 0), tl.minimum(y + 1, height - 1)
    centre = sample_finer_level(source, y, x, source_height, source_width, step)
    dx = sample_finer_level(source, y, right, source_height, source_width, step)
    dx -= sample_finer_level(source, y, left, source_height, source_width, step)
    dy = sample_finer_level(source, down, x, source_height, source_width, step)
    dy -= sample_finer_level(source, up, x, source_height, source_width, step)
    tl.store(level + pixel, centre, inside)
    tl.store(level + height * width + pixel, 0.5 * dx, inside)
    tl.store(level + 2 * height * width + pixel, 0.5 * dy, inside)


@triton.jit
def sample_finer_level(source, y, x, height, width, step):
    """Sample the finer level (height × width) bilinearly at pixel (y, x) of the coarser level."""
    y0, y1, t_y = find_neighbours(y, step, height)
    x0, x1, t_x = find_neighbours(x, step, width)
    upper = (1.0 - t_x) * tl.load(source + y0 * width + x0).to(tl.float32)
    upper += t_x * tl.load(source + y0 * width + x1).to(tl.float32)
    lower = (1.0 - t_x) * tl.load(source + y1 * width + x0).to(tl.float32)
    lower += t_x * tl.load(source + y1 * width + x1).to(tl.float32)
    return (1.0 - t_y) * upper + t_y * lower

# ruff: noqa: N803
"""Lay out the working memory of the Triton solver: the planes of a pair in the GPU's memory.

The 32 lanes of a warp hold COLUMNS neighbouring pixels each, SPAN in all: lane l has the columns
COLUMNS·l + c. A row of a plane is stored as blocks of SPAN pixels, with the pixels of one c
together, so that lanes read neighbouring addresses. The planes of a block follow one another, so
that the addresses of a row in all planes are one address plus constants:

    row y │ block 0                          │ block 1 …
          │ plane 0        plane 1 …         │
          │ c=0    c=1     c=0    c=1        │
          │ 32     32      32     32 float32 │

    moving   u₁ u₂ p₁₁ p₁₂ p₂₁ p₂₂, which change in each iteration. There are two copies: a sweep
             (a pass over the image that computes DEPTH iterations) reads one and writes the other
    frozen   ∂₁I₁ ∂₂I₁ ρ(0) 1/|∇I₁|², which change only when the second frame is warped

The symbols are those of `cpu/tvl1.py`. A "warp" is NVIDIA's word for 32 threads that run together,
its lanes; warping a frame is something else. A coarse level uses the start of a pair's memory.
Memory is set to zero when it is allocated, because lanes beyond the image read it; what they
compute from it never reaches a pixel.
"""

import triton
import triton.language as tl

LANES = tl.constexpr(32)
COLUMNS = tl.constexpr(2)
"""Neighbouring pixels of a lane."""
SPAN = tl.constexpr(64)
"""Pixels of a block: LANES · COLUMNS."""
MOVING = tl.constexpr(6)
"""Number of moving planes."""
FROZEN = tl.constexpr(4)
"""Number of frozen planes."""


def count_blocks(width: int) -> int:
    """Count the blocks in a row of ``width`` pixels."""
    return -(-width // SPAN.value)


@triton.jit
def compute_offset(y, x, blocks, PLANES: tl.constexpr):
    """Compute the offset (int32) of pixel (y, x) in plane 0; plane n is n · SPAN further on."""
    i = x // COLUMNS
    block, c = i // LANES, x % COLUMNS
    return (y * blocks + block) * (PLANES * SPAN) + c * LANES + i % LANES

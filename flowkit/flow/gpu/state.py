# ruff: noqa: N803
"""The working memory of the Triton solver: how a pair's planes lie in the GPU's memory.

A warp's 32 lanes hold COLUMNS neighbouring pixels each, SPAN in all: lane l has the columns
COLUMNS·l + c. So that lanes read neighbouring addresses, a row of a plane is stored as blocks
of SPAN pixels, the pixels of one c together; and so that a row of all planes is one address
plus constants, the planes of a block follow one another:

    row y │ block 0                          │ block 1 …
          │ plane 0        plane 1 …         │
          │ c=0    c=1     c=0    c=1        │
          │ 32     32      32     32 float32 │

    moving   u₁ u₂ p₁₁ p₁₂ p₂₁ p₂₂, twice: a sweep reads one side and writes the other
    frozen   ∂₁I₁ ∂₂I₁ ρ(0) 1/|∇I₁|², rewritten by each warp

At a coarse level a pair uses the front of its memory. Memory is zeroed when it is allocated,
since lanes beyond the image read it; what they make of it never reaches a pixel.
"""

import triton
import triton.language as tl

LANES = tl.constexpr(32)
COLUMNS = tl.constexpr(2)
SPAN = tl.constexpr(64)  # LANES · COLUMNS
MOVING = tl.constexpr(6)
FROZEN = tl.constexpr(4)


def count_blocks(width: int) -> int:
    """Blocks in a row of that many pixels."""
    return -(-width // SPAN.value)


@triton.jit
def locate(y, x, blocks, PLANES: tl.constexpr):
    """Where pixel (y, x) of plane 0 lies; plane n is n · SPAN further on. int32."""
    i = x // COLUMNS
    block, c = i // LANES, x % COLUMNS
    return (y * blocks + block) * (PLANES * SPAN) + c * LANES + i % LANES

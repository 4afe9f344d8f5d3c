# ruff: noqa: N803, N806
"""Lay out the working memory of the TV-L1 optical-flow solver on the CPU: the state of one level.

The equations of TV-L1 and the table of symbols are in `flow/cpu/tvl1.py`. The state is one float32
array, state_RPX[row, plane, column], with ten planes:

    U1, U2               u, the flow (x, y) in pixels
    P11, P12, P21, P22   θ·p, the dual variables of u₁ and of u₂, each with an x and a y component
    IX, IY               ∇I₁, the gradient of the second frame, warped by the flow
    RHO                  ρ(0), the constant part of the residual between the two frames
    INV                  1/|∇I₁|², the inverse of the squared length of that gradient

    R  image height + 1 rows     P  planes     X  columns, see `compute_state_columns`

The planes of one image row are next to each other in memory. So a sweep down the image accesses
memory in one direction only, and the planes of an image whose width is a power of two do not fall
into the same cache sets. An image of width W is surrounded by:

    row 0            zeros: p₁₂ and p₂₂ above the image; image row y is row y + 1
    columns < LEFT   zeros: p₁₁ and p₂₁ left of the image; image column x is column LEFT + x
    column LEFT + W  a copy of u of the last image column, so that ∂₁u is 0 in that column

The kernels compute whole AVX vectors of LANES columns. If W is not a multiple of LANES, the last
vector of a row ends beyond the image. What it computes there stays finite, since IX, IY, RHO and
INV are 0, and no image pixel reads it: beyond its own column, a pixel reads only p at x − 1 and u
at x + 1.

`kernel` and `inlined` are decorators that compile a function with Numba (compilation.py).
"""

import numpy as np

from flowkit.flow.cpu.compilation import inlined, kernel
from flowkit.flow.pyramid import F32

U1, U2, P11, P12, P21, P22, IX, IY, RHO, INV = range(10)
PLANES = 10
LANES = 8
"""Number of float32 in an AVX vector register."""
LEFT = LANES
"""Column of the state where image rows start. It is a multiple of LANES, so rows are aligned."""


@inlined
def pad_width(width: int) -> int:
    """Round a width up to a multiple of LANES; a whole vector takes no longer than one pixel.

    Args:
        width: Width of the image in pixels.

    Returns:
        The number of columns that the kernels compute.
    """
    return (width + LANES - 1) // LANES * LANES


@kernel
def allocate_floats(count: int) -> F32:
    """Allocate zeros from compiled code, where arrays are aligned to 32 bytes (NumPy's: to 16).

    Args:
        count: Number of float32 values.

    Returns:
        float32 (count,).
    """
    return np.zeros(count, np.float32)


@inlined
def compute_state_columns(width: int) -> int:
    """Compute the number of columns of the state of an image of that width.

    The last LANES columns are there because the dual step reads the column to the right.
    """
    return LEFT + pad_width(width) + LANES


def compute_state_size(height: int, width: int) -> int:
    """Compute the number of float32 values in the state of an image of that size."""
    return (height + 1) * PLANES * int(compute_state_columns(width))


@kernel
def fill_state(buffer: F32, flow_2HW: F32) -> F32:
    """Build a state in existing memory: u is the given flow, and all other planes are 0.

    Args:
        buffer: float32 (n,), with at least `compute_state_size` elements; overwritten.
        flow_2HW: float32 (2, H, W), u in pixels.

    Returns:
        The state, float32 (H + 1, PLANES, columns), a view of ``buffer``.
    """
    _, height, width = flow_2HW.shape
    shape = (height + 1, PLANES, compute_state_columns(width))
    state_RPX = buffer[: shape[0] * shape[1] * shape[2]].reshape(shape)
    state_RPX[:] = 0
    for y in range(height):
        for x in range(width):
            state_RPX[y + 1, U1, LEFT + x] = flow_2HW[0, y, x]
            state_RPX[y + 1, U2, LEFT + x] = flow_2HW[1, y, x]
    return state_RPX


def make_state(flow_2HW: F32) -> F32:
    """Build a state in new memory: u is the given flow, and all other planes are 0.

    Args:
        flow_2HW: float32 (2, H, W), u in pixels.

    Returns:
        The state, float32 (H + 1, PLANES, columns).
    """
    return fill_state(allocate_floats(compute_state_size(*flow_2HW.shape[1:])), flow_2HW)

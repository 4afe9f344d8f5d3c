# ruff: noqa: N803, N806
"""Lay out the working memory of the Numba solver at one level.

The state is state_RPX[row, plane, column], float32. All planes of an image row lie together, so a
sweep down the image accesses memory in one direction only, and the planes of an image whose width
is a power of two do not fall into the same cache sets.

    row 0            zeros: p₁₂ and p₂₂ above the image; image row y is row y + 1
    columns < LEFT   zeros: p₁₁ and p₂₁ left of the image; image column x is column LEFT + x
    column LEFT + W  holds u of the last column again, so that ∂₁u is 0 there

The columns from there up to a whole number of vectors are computed along with the image but never
used. They have no data term, so they stay finite. The only values beside the image that an image
pixel uses are p at x−1 and u at W.
"""

import numpy as np

from flowkit.flow.cpu.compilation import inlined, kernel
from flowkit.flow.pyramid import F32

U1, U2, P11, P12, P21, P22, IX, IY, RHO, INV = range(10)
PLANES = 10
LANES = 8
"""Number of float32 in an AVX vector."""
LEFT = LANES
"""Column of the state where image rows begin, so that they are aligned."""


@inlined
def pad_width(width: int) -> int:
    """Round a width up to whole vectors, because a scalar pixel takes as long as a vector.

    Args:
        width: Width of the image in pixels.

    Returns:
        The number of columns that the kernels work on.
    """
    return (width + LANES - 1) // LANES * LANES


@kernel
def allocate_floats(count: int) -> F32:
    """Allocate float32 zeros, aligned to 32 bytes; outside of kernels NumPy aligns to 16.

    Args:
        count: How many.

    Returns:
        float32 (count,).
    """
    return np.zeros(count, np.float32)


@inlined
def count_columns(width: int) -> int:
    """Count the columns of the state of an image of that width."""
    return LEFT + pad_width(width) + LANES


def count_state(height: int, width: int) -> int:
    """Count the floats of the state of an image of that size."""
    return (height + 1) * PLANES * int(count_columns(width))


@kernel
def fill_state(buffer: F32, flow_2HW: F32) -> F32:
    """Make a state with the given u, and with p = 0, in a buffer.

    Args:
        buffer: float32 (n,), with at least `count_state` elements; the state is a view of it.
        flow_2HW: float32 (2, H, W), u in pixels.

    Returns:
        The state, float32 (H + 1, PLANES, columns).
    """
    _, height, width = flow_2HW.shape
    shape = (height + 1, PLANES, count_columns(width))
    state_RPX = buffer[: shape[0] * shape[1] * shape[2]].reshape(shape)
    state_RPX[:] = 0
    for y in range(height):
        for x in range(width):
            state_RPX[y + 1, U1, LEFT + x] = flow_2HW[0, y, x]
            state_RPX[y + 1, U2, LEFT + x] = flow_2HW[1, y, x]
    return state_RPX


def make_state(flow_2HW: F32) -> F32:
    """Make a state with the given u, and with p = 0, in new memory.

    Args:
        flow_2HW: float32 (2, H, W), u in pixels.

    Returns:
        The state, float32 (H + 1, PLANES, columns).
    """
    return fill_state(allocate_floats(count_state(*flow_2HW.shape[1:])), flow_2HW)

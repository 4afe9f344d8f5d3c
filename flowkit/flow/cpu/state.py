# ruff: noqa: N803, N806
"""The working memory of the Numba solver at one level.

state_RPX[row, plane, column], float32: all planes of an image row lie together, so a sweep
down the image touches memory in one direction only, and the planes of a power-of-two wide
image do not fall into the same cache sets.

    row 0            zeros: p₁₂ and p₂₂ above the image; image row y is row y + 1
    columns < LEFT   zeros: p₁₁ and p₂₁ left of the image; image column x is column LEFT + x
    column LEFT + W  holds u of the last column again, so that ∂₁u is 0 there

The columns from there to a whole number of vectors are computed along with the image and
never looked at: they have no data term, so they stay finite, and p at x−1 and u at W are
all that an image pixel takes from beside it.
"""

import numpy as np

from flowkit.flow.cpu.compilation import inlined, kernel
from flowkit.flow.pyramid import F32

U1, U2, P11, P12, P21, P22, IX, IY, RHO, INV = range(10)
PLANES = 10
LANES = 8  # float32 in an AVX vector
LEFT = LANES  # image rows start aligned


@inlined
def pad_width(width: int) -> int:
    """Columns that the kernels work on: whole vectors, for a scalar pixel costs like a vector."""
    return (width + LANES - 1) // LANES * LANES


@kernel
def allocate_floats(count: int) -> F32:
    """Return `count` float32, aligned to 32 bytes: outside of kernels NumPy aligns to 16."""
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
    """Make a state with the given u, and p = 0, in the first `count_state` floats of `buffer`."""
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
    """Make a state with the given u, and p = 0, in memory of its own."""
    return fill_state(allocate_floats(count_state(*flow_2HW.shape[1:])), flow_2HW)

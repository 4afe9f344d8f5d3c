# ruff: noqa: N803, N806
"""Warp the second frame bicubically, for the Numba solver.

The second frame is stored in a "warpable" form: with its gradient, as one image of four interleaved
channels, surrounded by zeros. The 4×4 samples that a pixel is interpolated from (the taps of the
filter) are then sixteen vector loads that serve all channels, and none needs a test for the border.
The filter is Keys' cubic convolution with a = −0.75, as in OpenCV. The symbols are in `tvl1.py`.

    H W    image height, width          C      channels: I₁, ∂₁I₁, ∂₂I₁, 0
    R P X  rows, planes and columns of the state (state.py)
"""

from typing import Any

import numpy as np
import numpy.typing as npt
from llvmlite import ir  # type: ignore[import-untyped]
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from flowkit.flow.cpu.compilation import inlined, kernel, row_kernel
from flowkit.flow.cpu.state import INV, IX, IY, LEFT, RHO, U1, U2, allocate_floats
from flowkit.flow.pyramid import F32

APRON = 3
"""Pixels of zeros around the image; there is one more at the right and at the bottom."""
CHANNELS = 4
FLT_EPSILON = np.float32(1.1920929e-07)
"""Squared gradients up to this value count as 0."""


def compute_warpable_size(height: int, width: int) -> int:
    """Compute the number of float32 values in the warpable form of an image of that size."""
    return (height + 2 * APRON + 1) * (width + 2 * APRON + 1) * CHANNELS


@kernel
def fill_warpable(buffer: F32, image_HW: F32) -> F32:
    """Build the warpable form of an image in existing memory: (I, ∂₁I, ∂₂I, 0) within zeros.

    The gradient is by central differences, with the border replicated.

    Args:
        buffer: float32 (n,), with at least `compute_warpable_size` elements; overwritten.
        image_HW: float32 (H, W).

    Returns:
        float32 (H + 7, W + 7, 4), a view of ``buffer``.
    """
    height, width = image_HW.shape
    shape = (height + 2 * APRON + 1, width + 2 * APRON + 1, CHANNELS)
    out_HWC = buffer[: shape[0] * shape[1] * shape[2]].reshape(shape)
    out_HWC[:] = 0
    half = np.float32(0.5)
    for y in range(height):
        up, down = max(y - 1, 0), min(y + 1, height - 1)
        for x in range(width):
            left, right = max(x - 1, 0), min(x + 1, width - 1)
            out = out_HWC[y + APRON, x + APRON]
            out[0] = image_HW[y, x]
            out[1] = half * (image_HW[y, right] - image_HW[y, left])
            out[2] = half * (image_HW[down, x] - image_HW[up, x])
    return out_HWC


def make_warpable(image_HW: F32) -> F32:
    """Build the warpable form of an image in new memory.

    Args:
        image_HW: float32 (H, W).

    Returns:
        float32 (H + 7, W + 7, 4).
    """
    return fill_warpable(allocate_floats(compute_warpable_size(*image_HW.shape)), image_HW)


@row_kernel
def _compute_taps(
    u: F32, origin: np.float32, step: np.float32, far: np.float32,
    first: npt.NDArray[np.int32], w0: F32, w1: F32, w2: F32, w3: F32,
) -> None:  # fmt: skip
    """Compute the first of four taps at the points origin + step·x + u[x], and the four weights.

    Coordinates count from the second sample of the surrounding zeros, so a point is between its
    second and third tap. Points further outside are moved to a position where all taps whose weight
    is not 0 are zeros.
    """
    a, zero, one = np.float32(-0.75), np.float32(0), np.float32(1)
    near1, near2 = a + np.float32(2), a + np.float32(3)
    for x in range(u.size):
        point = min(max(origin + step * np.float32(np.int32(x)) + u[x], zero), far)
        tap = np.int32(point)
        t = point - np.float32(tap)
        s = one - t
        first[x] = tap
        w0[x] = a * t * s * s
        w1[x] = (near1 * t - near2) * t * t + one
        w2[x] = (near1 * s - near2) * s * s + one
        w3[x] = a * s * t * t


@intrinsic  # type: ignore[untyped-decorator]
def _interpolate(typing: Any, samples: Any, tap: Any, row_size: Any, wx: Any, wy: Any) -> Any:
    """Compute Σᵣ wy[r] Σ꜀ wx[c] · samples[tap + r·row_size + 4c + (0, 1, 2, 3)], four float32.

    It is written as LLVM vectors of four, with one lane for each channel. LLVM's loop vectorizer
    would put pixels into the lanes and gather each tap of each channel separately, which is three
    times slower.
    """
    signature = types.UniTuple(types.float32, CHANNELS)(samples, tap, row_size, wx, wy)
    vector = ir.VectorType(ir.FloatType(), CHANNELS)
    first_lane = ir.Constant(ir.VectorType(ir.IntType(32), CHANNELS), [0] * CHANNELS)

    def lane(index: int) -> Any:
        return ir.Constant(ir.IntType(32), index)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        samples, tap, row_size, wx, wy = arguments
        data = context.make_array(signature.args[0])(context, builder, samples).data

        def broadcast(weight: Any) -> Any:
            single = builder.insert_element(ir.Constant(vector, ir.Undefined), weight, lane(0))
            return builder.shuffle_vector(single, single, first_lane)

        def add_weighted(total: Any, weight: Any, value: Any) -> Any:
            term = builder.fmul(weight, value, flags=("contract",))
            return builder.fadd(total, term, flags=("contract",)) if total else term

        total = None
        weights_x = [broadcast(weight) for weight in cgutils.unpack_tuple(builder, wx)]
        for weight_y in cgutils.unpack_tuple(builder, wy):
            line = None
            for c, weight_x in enumerate(weights_x):
                index = builder.add(tap, ir.Constant(tap.type, CHANNELS * c))
                address = builder.bitcast(builder.gep(data, [index]), vector.as_pointer())
                line = add_weighted(line, weight_x, builder.load(address, align=4))
            total = add_weighted(total, broadcast(weight_y), line)
            tap = builder.add(tap, row_size)
        channels = [builder.extract_element(total, lane(c)) for c in range(CHANNELS)]
        return context.make_tuple(builder, signature.return_type, channels)

    return signature, generate


@inlined
def _interpolate_row(
    samples: F32, row_size: int,
    column: npt.NDArray[np.int32], line: npt.NDArray[np.int32], wx: F32, wy: F32,
    i1: F32, ix: F32, iy: F32,
) -> None:  # fmt: skip
    """Interpolate I₁ and ∇I₁ for one row."""
    for x in range(column.size):
        tap = np.int64(line[x]) * row_size + np.int64(column[x]) * CHANNELS
        weights_x = (wx[0, x], wx[1, x], wx[2, x], wx[3, x])
        weights_y = (wy[0, x], wy[1, x], wy[2, x], wy[3, x])
        i1[x], ix[x], iy[x], _ = _interpolate(samples, tap, row_size, weights_x, weights_y)


@row_kernel
def _linearize(rho: F32, inv: F32, ix: F32, iy: F32, u1: F32, u2: F32, frame0: F32) -> None:
    """Compute ρ(0) = I₁ − I₀ − ∇I₁·u₀ from I₁ in rho, and 1/|∇I₁|² from ∇I₁."""
    zero, one = np.float32(0), np.float32(1)
    for x in range(rho.size):
        square = ix[x] * ix[x] + iy[x] * iy[x]
        rho[x] = rho[x] - frame0[x] - ix[x] * u1[x] - iy[x] * u2[x]
        inv[x] = one / square if square > FLT_EPSILON else zero


@kernel
def warp(state_RPX: F32, frame0_HW: F32, warpable_HWC: F32) -> None:
    """Warp I₁ and ∇I₁ by the u of the state, and linearize ρ there.

    Args:
        state_RPX: The state (state.py); IX, IY, RHO and INV are written.
        frame0_HW: float32 (H, W), the first frame.
        warpable_HWC: The second frame, as `fill_warpable` makes it.
    """
    height, width = frame0_HW.shape
    first, last = LEFT, LEFT + width
    column, line = np.empty(width, np.int32), np.empty(width, np.int32)
    wx, wy = np.empty((4, width), np.float32), np.empty((4, width), np.float32)
    samples, row_size = warpable_HWC.reshape(warpable_HWC.size), CHANNELS * warpable_HWC.shape[1]
    origin, zero, one = np.float32(APRON - 1), np.float32(0), np.float32(1)
    far_x, far_y = np.float32(width + APRON), np.float32(height + APRON)
    for y in range(height):
        row = state_RPX[y + 1]
        u1, u2 = row[U1, first:last], row[U2, first:last]
        ix, iy = row[IX, first:last], row[IY, first:last]
        rho, inv = row[RHO, first:last], row[INV, first:last]
        _compute_taps(u1, origin, one, far_x, column, wx[0], wx[1], wx[2], wx[3])
        _compute_taps(u2, origin + np.float32(y), zero, far_y, line, wy[0], wy[1], wy[2], wy[3])
        _interpolate_row(samples, row_size, column, line, wx, wy, rho, ix, iy)
        _linearize(rho, inv, ix, iy, u1, u2, frame0_HW[y])

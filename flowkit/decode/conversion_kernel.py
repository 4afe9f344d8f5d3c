# ruff: noqa: N803, N806
"""Convert YUV 4:2:0 frames to RGB, and optionally reduce them, in one pass over a frame.

The kernel produces the bytes of swscale (flags BILINEAR, ACCURATE_RND, FULL_CHR_H_INT, BITEXACT),
whose C code for these flags takes eight nanoseconds per pixel, and those of OpenCV's `INTER_AREA`.
It uses integers and float32 additions in a fixed order, so the bytes are the same on every machine.
The tests compare it with both libraries. Frames of other formats, or with an odd side, are
converted by swscale (conversion.py).

The chroma of a pixel is the bilinear mean of the samples around it. A sample covers two pixels of a
row, and lies between them or on one of them (`CHROMA_POSITIONS`), so the weights of a sample and
its neighbours are multiples of ¼, and 16 times the mean over both directions is an integer. R, G
and B are then sums of products with 22 binary places:

    y = 512·Y − offset      u = 32·(16·U) − 2¹⁶      v likewise
    R = y·luma + v·v_red + 2²¹           G = y·luma + v·v_green + u·u_green + 2²¹     B likewise

clipped to 0 … 2³⁰ − 1 and divided by 2²². As in swscale the sums wrap at 2³¹, which only values
outside the legal range can reach.

    H W    height, width of the frame        h w    of the reduced one        K    taps
"""

from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from llvmlite import ir  # type: ignore[import-untyped]
from numba import types
from numba.extending import intrinsic

from flowkit.flow.cpu.compilation import exact_inlined, exact_kernel, exact_row_kernel

U8 = npt.NDArray[np.uint8]
I16 = npt.NDArray[np.int16]
I32 = npt.NDArray[np.int32]
F32 = npt.NDArray[np.float32]

ROUND = np.float32(12582912)
"""1.5 · 2²³; adding and subtracting it rounds to the nearest integer, halves to even."""
# Kr and Kb as four factors times 2¹⁶, in this order: V in red, U in blue, U and V in green (both
# subtracted). Keys are those of ISO/IEC 23091-2 `MatrixCoefficients`; 2 is "unspecified".
BT601 = (104597, 132201, 25675, 53279)
MATRICES = {
    1: (117489, 138438, 13975, 34925),  # BT.709
    2: BT601,
    5: BT601,
    6: BT601,
    7: (117579, 136230, 16907, 35559),  # SMPTE 240M
    9: (110013, 140363, 12277, 42626),  # BT.2020
}


# Weights in fourths along one direction, for the two pixels that a chroma sample covers: for the
# first pixel those of its own sample and of the sample before, for the second pixel those of its
# own sample and of the sample after.
CHROMA_POSITIONS = {"between": (3, 1, 3, 1), "first": (4, 0, 2, 2), "second": (2, 2, 4, 0)}


# Numba takes tenths of a millisecond to recognize a tuple, so kernels take arrays instead.
@lru_cache(maxsize=64)
def compute_factors(matrix: int, full_range: bool) -> I32:
    """Compute the integer factors of the sums above.

    Args:
        matrix: A key of `MATRICES`.
        full_range: Whether Y lies in 0–255 instead of 16–235.

    Returns:
        int32 (6,): luma, offset, v_red, v_green, u_green, u_blue.
    """
    v_red, u_blue, u_green, v_green = MATRICES[matrix]
    luma, offset = 1 << 16, 0
    if full_range:
        v_red, u_blue, u_green, v_green = (
            factor * 224 // 255 for factor in (v_red, u_blue, u_green, v_green)
        )
    else:
        luma, offset = luma * 255 // 219, 16 << 9
    scaled = ((factor + 4) >> 3 for factor in (luma, v_red, -v_green, -u_green, u_blue))
    luma, v_red, v_green, u_green, u_blue = scaled  # to 13 binary places
    return np.array([luma, offset, v_red, v_green, u_green, u_blue], np.int32)


class Taps(NamedTuple):
    """The source pixels of each pixel of a reduced line, and their weights."""

    pixels: I32
    """int32 (K, w), indices of the source pixels."""
    shares: F32
    """float32 (K, w), their weights; 0 for taps beyond the last."""


@lru_cache(maxsize=64)
def compute_taps(size: int, smaller: int) -> Taps:
    """Compute the taps of OpenCV's `INTER_AREA` along one side.

    Args:
        size: Length of the side in pixels.
        smaller: Length after the reduction in pixels, at most `size`.

    Returns:
        The taps of each output pixel.
    """
    scale = size / smaller
    lines = []
    for position in range(smaller):
        begin = position * scale
        end = begin + scale
        cell = min(scale, size - begin)
        last = min(int(np.floor(end)), size - 1)
        first = min(int(np.ceil(begin)), last)
        taps = [(index, 1 / cell) for index in range(first, last)]
        if first - begin > 1e-3:
            taps.insert(0, (first - 1, (first - begin) / cell))
        if end - last > 1e-3:
            taps.append((last, min(end - last, 1, cell) / cell))
        lines.append(taps)
    max_taps = max(map(len, lines))
    padded = [taps + [(taps[-1][0], 0.0)] * (max_taps - len(taps)) for taps in lines]
    return Taps(
        np.array([[taps[k][0] for taps in padded] for k in range(max_taps)], np.int32),
        np.array([[taps[k][1] for taps in padded] for k in range(max_taps)], np.float32),
    )


def can_shrink(size: tuple[int, int], smaller: tuple[int, int]) -> bool:
    """Return whether `convert_and_shrink` produces the bytes of OpenCV for these sizes.

    OpenCV uses a different, fast average if both sides are divided by integers.

    Args:
        size: Height and width of the frame.
        smaller: Height and width after the reduction.

    Returns:
        Whether the sizes are supported.
    """
    pairs = list(zip(size, smaller, strict=True))
    is_integer_ratio = all(side % less == 0 for side, less in pairs)
    return not is_integer_ratio and all(side >= less for side, less in pairs)


@exact_inlined
def _widen_chroma(line: U8, shares: I32, out: I16) -> None:
    """Compute four times the chroma at each pixel of a row: (W / 2) → (W)."""
    last = line.size - 1
    even, before = np.int16(shares[0]), np.int16(shares[1])
    odd, after = np.int16(shares[2]), np.int16(shares[3])
    for x in range(line.size):
        sample = np.int16(line[x])
        out[2 * x] = even * sample + before * np.int16(line[max(x - 1, 0)])
        out[2 * x + 1] = odd * sample + after * np.int16(line[min(x + 1, last)])


@exact_row_kernel
def _convert_pixels(
    luma: U8, u_near: I16, u_far: I16, v_near: I16, v_far: I16, near: np.int32, far: np.int32,
    factors: I32, red: U8, green: U8, blue: U8,
) -> None:  # fmt: skip
    """Convert one row of pixels, with weights `near` and `far` (in fourths) of two chroma rows."""
    scale, offset, v_red, v_green, u_green, u_blue = (
        factors[0], factors[1], factors[2], factors[3], factors[4], factors[5]
    )  # fmt: skip
    half, highest, zero = np.int32(1 << 21), np.int32((1 << 30) - 1), np.int32(0)
    for x in range(luma.size):
        y = np.int32((np.int32(luma[x]) * np.int32(512) - offset) * scale + half)
        u = np.int32((near * np.int32(u_near[x]) + far * np.int32(u_far[x])) * 32 - 65536)
        v = np.int32((near * np.int32(v_near[x]) + far * np.int32(v_far[x])) * 32 - 65536)
        red[x] = min(max(np.int32(y + v * v_red), zero), highest) >> 22
        green[x] = min(max(np.int32(y + v * v_green + u * u_green), zero), highest) >> 22
        blue[x] = min(max(np.int32(y + u * u_blue), zero), highest) >> 22


@exact_inlined
def _convert_row(
    row: int, y_HW: U8, u_HW: U8, v_HW: U8, width: int, chroma: I32, factors: I32,
    chroma_rows: I16, cached_rows: I32, out: U8,
) -> None:  # fmt: skip
    """Convert one row of the frame.

    `chroma_rows` (2, 2, W) caches the widened chroma rows whose indices are in `cached_rows`.
    """
    line, is_odd = row // 2, row % 2
    other = min(max(line - 1 + 2 * is_odd, 0), u_HW.shape[0] - 1)
    for needed in (line, other):
        if cached_rows[needed % 2] != needed:
            _widen_chroma(u_HW[needed, : width // 2], chroma[0], chroma_rows[needed % 2, 0])
            _widen_chroma(v_HW[needed, : width // 2], chroma[0], chroma_rows[needed % 2, 1])
            cached_rows[needed % 2] = needed
    near, far = chroma_rows[line % 2], chroma_rows[other % 2]  # (2, W): U and V
    near_share, far_share = chroma[1, 2 * is_odd], chroma[1, 2 * is_odd + 1]
    _convert_pixels(
        y_HW[row, :width], near[0], far[0], near[1], far[1], near_share, far_share, factors,
        out[0], out[1], out[2],
    )  # fmt: skip


@exact_kernel
def convert_frame(y_HW: U8, u_HW: U8, v_HW: U8, width: int, chroma: I32, factors: I32) -> U8:
    """Convert a frame to RGB.

    Args:
        y_HW: Luma, uint8.
        u_HW: Blue-difference chroma, uint8, with half the height and width.
        v_HW: Red-difference chroma, likewise.
        width: Width of the frame in pixels; rows of the planes may be longer.
        chroma: int32 (2, 4), positions of the chroma samples: a value of `CHROMA_POSITIONS` across
            and one down.
        factors: int32 (6,), as `compute_factors` returns it.

    Returns:
        uint8 (H, W, 3).
    """
    height = y_HW.shape[0]
    out_HW3 = np.empty((height, width, 3), np.uint8)
    chroma_rows, cached_rows = np.empty((2, 2, width), np.int16), np.full(2, -1, np.int32)
    planes = np.empty((3, width), np.uint8)
    for row in range(height):
        _convert_row(
            row, y_HW, u_HW, v_HW, width, chroma, factors, chroma_rows, cached_rows, planes
        )
        for x in range(width):
            out_HW3[row, x, 0] = planes[0, x]
            out_HW3[row, x, 1] = planes[1, x]
            out_HW3[row, x, 2] = planes[2, x]
    return out_HW3


@exact_row_kernel
def _interleave(red: U8, green: U8, blue: U8, out: F32) -> None:
    """Write three planes as pixels of four numbers, the last of which is 0."""
    for x in range(red.size):
        out[4 * x] = red[x]
        out[4 * x + 1] = green[x]
        out[4 * x + 2] = blue[x]
        out[4 * x + 3] = 0


@intrinsic  # type: ignore[untyped-decorator]
def _add_pixel(typing: Any, out: Any, at: Any, line: Any, index: Any, share: Any) -> Any:
    """Compute out[4·at + (0, 1, 2, 3)] += line[4·index + (0, 1, 2, 3)] · share, as one vector."""
    signature = types.void(out, at, line, index, share)
    vector = ir.VectorType(ir.FloatType(), 4)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        out, at, line, index, share = arguments
        wide = ir.IntType(64)

        def find_address(array: Any, kind: Any, pixel: Any) -> Any:
            data = context.make_array(kind)(context, builder, array).data
            offset = builder.shl(builder.sext(pixel, wide), ir.Constant(wide, 2))
            return builder.bitcast(builder.gep(data, [offset]), vector.as_pointer())

        single = builder.insert_element(
            ir.Constant(vector, ir.Undefined), share, ir.Constant(ir.IntType(32), 0)
        )
        shares = builder.shuffle_vector(
            single, single, ir.Constant(ir.VectorType(ir.IntType(32), 4), [0] * 4)
        )
        target = find_address(out, signature.args[0], at)
        pixel = builder.load(find_address(line, signature.args[2], index), align=4)
        total = builder.fadd(builder.load(target, align=4), builder.fmul(pixel, shares))
        builder.store(total, target, align=4)
        return context.get_dummy_value()

    return signature, generate


@exact_inlined
def _shrink_row(line: F32, index: I32, share: F32, out: F32) -> None:
    """Add one horizontal tap to each pixel."""
    for x in range(index.size):
        _add_pixel(out, np.int32(x), line, index[x], share[x])


@exact_row_kernel
def _add_weighted_line(line: F32, share: np.float32, total: F32) -> None:
    """Add a line to the total with a weight."""
    for x in range(line.size):
        total[x] += share * line[x]


@exact_kernel
def convert_and_shrink(
    y_HW: U8, u_HW: U8, v_HW: U8, width: int, chroma: I32, factors: I32,
    columns: I32, column_shares: F32, rows: I32, row_shares: F32,
) -> U8:  # fmt: skip
    """Convert a frame as `convert_frame` does, and reduce it in the same pass.

    Args:
        y_HW: Luma, uint8.
        u_HW: Blue-difference chroma, uint8, with half the height and width.
        v_HW: Red-difference chroma, likewise.
        width: Width of the frame in pixels; rows of the planes may be longer.
        chroma: int32 (2, 4), positions of the chroma samples: a value of `CHROMA_POSITIONS` across
            and one down.
        factors: int32 (6,), as `compute_factors` returns it.
        columns: `Taps.pixels` of the width.
        column_shares: `Taps.shares` of the width.
        rows: `Taps.pixels` of the height.
        row_shares: `Taps.shares` of the height.

    Returns:
        uint8 (h, w, 3).
    """
    smaller = columns.shape[1]
    out_hw3 = np.empty((rows.shape[1], smaller, 3), np.uint8)
    chroma_rows, cached_rows = np.empty((2, 2, width), np.int16), np.full(2, -1, np.int32)
    planes, line = np.empty((3, width), np.uint8), np.empty(4 * width, np.float32)
    shrunk_line, total = np.empty(4 * smaller, np.float32), np.empty(4 * smaller, np.float32)
    last_row = -1
    for out_row in range(out_hw3.shape[0]):
        total[:] = 0
        for k in range(rows.shape[0]):
            row, share = rows[k, out_row], row_shares[k, out_row]
            if share == 0:
                continue
            if row != last_row:
                _convert_row(
                    row, y_HW, u_HW, v_HW, width, chroma, factors, chroma_rows, cached_rows, planes
                )
                _interleave(planes[0], planes[1], planes[2], line)
                shrunk_line[:] = 0
                for tap in range(columns.shape[0]):
                    _shrink_row(line, columns[tap], column_shares[tap], shrunk_line)
                last_row = row
            _add_weighted_line(shrunk_line, share, total)
        for x in range(smaller):
            for plane in range(3):
                out_hw3[out_row, x, plane] = np.int32((total[4 * x + plane] + ROUND) - ROUND)
    return out_hw3

# ruff: noqa: N803, N806
"""Convert YUV 4:2:0 frames to RGB, and optionally downscale them, in one pass over a frame.

The conversion gives the same bytes as swscale with the flags BILINEAR, ACCURATE_RND, FULL_CHR_H_INT
and BITEXACT, for which swscale has only C code that takes eight nanoseconds per pixel. Downscaling
gives the same bytes as OpenCV's `INTER_AREA`. The tests compare the kernel with both libraries. All
arithmetic is integer, or float32 in a fixed order, so the bytes are the same on every machine; the
``exact_…`` decorators compile without fast-math, which would allow another order. Frames of other
formats, or with an odd side, are converted by swscale (conversion.py).

The chroma of a pixel is the bilinear mean of the samples around it. A sample covers two pixels of a
row, and is between them or on one of them (`CHROMA_POSITIONS`), so the weights of a sample and its
neighbours are multiples of ¼, and 16 times the mean over both directions is an integer. R, G and B
are then sums of products with 22 fractional bits:

    y = 512·Y − offset      u = 32·(16·U) − 2¹⁶      v likewise
    R = y·luma_factor + v·v_red + 2²¹
    G = y·luma_factor + v·v_green + u·u_green + 2²¹
    B = y·luma_factor + u·u_blue + 2²¹

clipped to 0 … 2³⁰ − 1 and divided by 2²². As in swscale the sums are int32 and overflow by wrapping
around, which happens only to values outside the legal range.

    H W    height, width of the frame    h w    of the downscaled frame    K    taps
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
# The factors of V in red, U in blue, U in green and V in green, in this order, times 2¹⁶; those in
# green are subtracted. They follow from the constants Kr and Kb of the colour matrix. The keys are
# those of ISO/IEC 23091-2 `MatrixCoefficients`; 2 is "unspecified".
BT601 = (104597, 132201, 25675, 53279)
MATRICES = {
    1: (117489, 138438, 13975, 34925),  # BT.709
    2: BT601,
    5: BT601,
    6: BT601,
    7: (117579, 136230, 16907, 35559),  # SMPTE 240M
    9: (110013, 140363, 12277, 42626),  # BT.2020
}


# Where a chroma sample is, relative to the two pixels of a row or column that it covers. Here
# sample A covers pixels 0 and 1, and sample B covers pixels 2 and 3:
#
#     pixels       0   1   2   3
#     "between"      A       B        pixel 2 is ¾ B + ¼ A,  pixel 1 is ¾ A + ¼ B
#     "first"      A       B          pixel 2 is B,          pixel 1 is ½ A + ½ B
#     "second"         A       B      pixel 2 is ½ B + ½ A,  pixel 1 is A
#
# A value has the weights in quarters: for the first covered pixel, those of the covering sample and
# of the sample before it; for the second one, those of the covering sample and of the one after it.
CHROMA_POSITIONS = {"between": (3, 1, 3, 1), "first": (4, 0, 2, 2), "second": (2, 2, 4, 0)}


# For a tuple Numba needs tenths of a millisecond in each call, to find out its types. So the
# kernels have array parameters instead.
@lru_cache(maxsize=64)
def compute_factors(matrix: int, full_range: bool) -> I32:
    """Compute the integer factors of the equations for R, G and B in the module's docstring.

    Args:
        matrix: A key of `MATRICES`.
        full_range: Whether Y is in 0–255 instead of 16–235.

    Returns:
        int32 (6,): luma_factor, offset, v_red, v_green, u_green, u_blue.
    """
    v_red, u_blue, u_green, v_green = MATRICES[matrix]
    luma_factor, offset = 1 << 16, 0
    if full_range:
        v_red, u_blue, u_green, v_green = (
            factor * 224 // 255 for factor in (v_red, u_blue, u_green, v_green)
        )
    else:
        luma_factor, offset = luma_factor * 255 // 219, 16 << 9
    factors = (luma_factor, v_red, -v_green, -u_green, u_blue)  # to 13 fractional bits
    luma_factor, v_red, v_green, u_green, u_blue = ((factor + 4) >> 3 for factor in factors)
    return np.array([luma_factor, offset, v_red, v_green, u_green, u_blue], np.int32)


class Taps(NamedTuple):
    """The taps of each pixel along a downscaled side: its source pixels, and their weights."""

    pixels: I32
    """int32 (K, w) or (K, h), indices of the source pixels."""
    weights: F32
    """float32 of that shape, their weights; 0 for padding, where a pixel has fewer than K taps."""


@lru_cache(maxsize=64)
def compute_taps(side: int, target_side: int) -> Taps:
    """Compute the taps of OpenCV's `INTER_AREA` along one side.

    An output pixel covers an interval of the source: pixels that are entirely inside, and at either
    end up to one that is partly inside, whose weight is that part.

    Args:
        side: Length of the side in pixels.
        target_side: Length after downscaling in pixels, at most `side`.

    Returns:
        The taps of each output pixel.
    """
    scale = side / target_side
    taps_per_pixel = []
    for position in range(target_side):
        begin = position * scale
        end = begin + scale
        length = min(scale, side - begin)
        last = min(int(np.floor(end)), side - 1)
        first = min(int(np.ceil(begin)), last)
        taps = [(index, 1 / length) for index in range(first, last)]  # entirely inside
        if first - begin > 1e-3:
            taps.insert(0, (first - 1, (first - begin) / length))
        if end - last > 1e-3:
            taps.append((last, min(end - last, 1, length) / length))
        taps_per_pixel.append(taps)
    max_taps = max(map(len, taps_per_pixel))
    padded = [taps + [(taps[-1][0], 0.0)] * (max_taps - len(taps)) for taps in taps_per_pixel]
    return Taps(
        np.array([[taps[k][0] for taps in padded] for k in range(max_taps)], np.int32),
        np.array([[taps[k][1] for taps in padded] for k in range(max_taps)], np.float32),
    )


def can_downscale(size: tuple[int, int], target_size: tuple[int, int]) -> bool:
    """Return whether `convert_and_downscale` gives the same bytes as OpenCV for these sizes.

    If both sides are divided by integers, OpenCV uses another algorithm, which gives other bytes.

    Args:
        size: Height and width of the frame.
        target_size: Height and width after downscaling.

    Returns:
        Whether the sizes are supported.
    """
    pairs = list(zip(size, target_size, strict=True))
    is_integer_ratio = all(side % target_side == 0 for side, target_side in pairs)
    return not is_integer_ratio and all(side >= target_side for side, target_side in pairs)


@exact_inlined
def _upsample_chroma(samples: U8, weights: I32, out: I16) -> None:
    """Compute four times the chroma at each pixel of a row: (W / 2) → (W)."""
    last = samples.size - 1
    even, before = np.int16(weights[0]), np.int16(weights[1])
    odd, after = np.int16(weights[2]), np.int16(weights[3])
    for x in range(samples.size):
        sample = np.int16(samples[x])
        out[2 * x] = even * sample + before * np.int16(samples[max(x - 1, 0)])
        out[2 * x + 1] = odd * sample + after * np.int16(samples[min(x + 1, last)])


@exact_row_kernel
def _convert_pixels(
    luma_row: U8, u_row: I16, u_neighbour: I16, v_row: I16, v_neighbour: I16, weight: np.int32,
    neighbour_weight: np.int32, factors: I32, red: U8, green: U8, blue: U8,
) -> None:  # fmt: skip
    """Convert one row of pixels; the weights, in quarters, are those of the two chroma rows."""
    luma_factor, offset, v_red, v_green, u_green, u_blue = (
        factors[0], factors[1], factors[2], factors[3], factors[4], factors[5]
    )  # fmt: skip
    half, highest, zero = np.int32(1 << 21), np.int32((1 << 30) - 1), np.int32(0)
    for x in range(luma_row.size):
        y = np.int32((np.int32(luma_row[x]) * np.int32(512) - offset) * luma_factor + half)
        u_sum = weight * np.int32(u_row[x]) + neighbour_weight * np.int32(u_neighbour[x])
        v_sum = weight * np.int32(v_row[x]) + neighbour_weight * np.int32(v_neighbour[x])
        u, v = np.int32(u_sum * 32 - 65536), np.int32(v_sum * 32 - 65536)
        red[x] = min(max(np.int32(y + v * v_red), zero), highest) >> 22
        green[x] = min(max(np.int32(y + v * v_green + u * u_green), zero), highest) >> 22
        blue[x] = min(max(np.int32(y + u * u_blue), zero), highest) >> 22


@exact_inlined
def _convert_row(
    row: int, y_HW: U8, u_HW: U8, v_HW: U8, width: int, chroma: I32, factors: I32,
    chroma_rows: I16, cached_rows: I32, out: U8,
) -> None:  # fmt: skip
    """Convert one row of the frame to three planes, `out` (3, W).

    `chroma_rows` (2, 2, W) caches two upsampled rows of U and V: the row with index i is in
    `chroma_rows[i % 2]` if `cached_rows[i % 2]` is i.
    """
    covering, is_odd = row // 2, row % 2
    neighbour = min(max(covering - 1 + 2 * is_odd, 0), u_HW.shape[0] - 1)
    for needed in (covering, neighbour):
        if cached_rows[needed % 2] != needed:
            _upsample_chroma(u_HW[needed, : width // 2], chroma[0], chroma_rows[needed % 2, 0])
            _upsample_chroma(v_HW[needed, : width // 2], chroma[0], chroma_rows[needed % 2, 1])
            cached_rows[needed % 2] = needed
    uv_row, uv_neighbour = chroma_rows[covering % 2], chroma_rows[neighbour % 2]  # (2, W)
    weight, neighbour_weight = chroma[1, 2 * is_odd], chroma[1, 2 * is_odd + 1]
    _convert_pixels(
        y_HW[row, :width], uv_row[0], uv_neighbour[0], uv_row[1], uv_neighbour[1], weight,
        neighbour_weight, factors, out[0], out[1], out[2],
    )  # fmt: skip


@exact_kernel
def convert_frame(y_HW: U8, u_HW: U8, v_HW: U8, width: int, chroma: I32, factors: I32) -> U8:
    """Convert a frame to RGB.

    Args:
        y_HW: Luma, uint8.
        u_HW: Blue-difference chroma, uint8, with half the height and width.
        v_HW: Red-difference chroma, with the shape of `u_HW`.
        width: Width of the frame in pixels; rows of the planes may be longer.
        chroma: int32 (2, 4), positions of the chroma samples: a value of `CHROMA_POSITIONS` along
            rows (horizontally), then one along columns (vertically).
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
    """Interleave three planes (W) to pixels of four numbers (4·W), the last of which is 0."""
    for x in range(red.size):
        out[4 * x] = red[x]
        out[4 * x + 1] = green[x]
        out[4 * x + 2] = blue[x]
        out[4 * x + 3] = 0


@intrinsic  # type: ignore[untyped-decorator]
def _add_pixel(typing: Any, out: Any, x: Any, row: Any, source_x: Any, weight: Any) -> Any:
    """Add `weight` times pixel `source_x` of `row` to pixel `x` of `out`, as a vector of four."""
    signature = types.void(out, x, row, source_x, weight)
    vector = ir.VectorType(ir.FloatType(), 4)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        out, x, row, source_x, weight = arguments
        int64 = ir.IntType(64)

        def find_address(array: Any, array_type: Any, pixel: Any) -> Any:
            data = context.make_array(array_type)(context, builder, array).data
            offset = builder.shl(builder.sext(pixel, int64), ir.Constant(int64, 2))
            return builder.bitcast(builder.gep(data, [offset]), vector.as_pointer())

        first_lane = builder.insert_element(
            ir.Constant(vector, ir.Undefined), weight, ir.Constant(ir.IntType(32), 0)
        )
        all_lanes = builder.shuffle_vector(
            first_lane, first_lane, ir.Constant(ir.VectorType(ir.IntType(32), 4), [0] * 4)
        )
        address = find_address(out, signature.args[0], x)
        pixel = builder.load(find_address(row, signature.args[2], source_x), align=4)
        total = builder.fadd(builder.load(address, align=4), builder.fmul(pixel, all_lanes))
        builder.store(total, address, align=4)
        return context.get_dummy_value()

    return signature, generate


@exact_inlined
def _add_horizontal_tap(row: F32, pixels: I32, weights: F32, out: F32) -> None:
    """Add one tap of each pixel of a downscaled row `out`, whose source is `row`."""
    for x in range(pixels.size):
        _add_pixel(out, np.int32(x), row, pixels[x], weights[x])


@exact_row_kernel
def _add_vertical_tap(row: F32, weight: np.float32, out: F32) -> None:
    """Add `weight` times a row to the row `out`."""
    for x in range(row.size):
        out[x] += weight * row[x]


@exact_kernel
def convert_and_downscale(
    y_HW: U8, u_HW: U8, v_HW: U8, width: int, chroma: I32, factors: I32,
    columns: I32, column_weights: F32, rows: I32, row_weights: F32,
) -> U8:  # fmt: skip
    """Convert a frame as `convert_frame` does, and downscale it in the same pass.

    Args:
        y_HW: As for `convert_frame`.
        u_HW: As for `convert_frame`.
        v_HW: As for `convert_frame`.
        width: As for `convert_frame`.
        chroma: As for `convert_frame`.
        factors: As for `convert_frame`.
        columns: `Taps.pixels` of the width.
        column_weights: `Taps.weights` of the width.
        rows: `Taps.pixels` of the height.
        row_weights: `Taps.weights` of the height.

    Returns:
        uint8 (h, w, 3).
    """
    out_width = columns.shape[1]
    out_hw3 = np.empty((rows.shape[1], out_width, 3), np.uint8)
    chroma_rows, cached_rows = np.empty((2, 2, width), np.int16), np.full(2, -1, np.int32)
    planes, pixels = np.empty((3, width), np.uint8), np.empty(4 * width, np.float32)
    narrow_row, total = np.empty(4 * out_width, np.float32), np.empty(4 * out_width, np.float32)
    last_row = -1
    for out_row in range(out_hw3.shape[0]):
        total[:] = 0
        for k in range(rows.shape[0]):
            row, weight = rows[k, out_row], row_weights[k, out_row]
            if weight == 0:
                continue
            if row != last_row:
                _convert_row(
                    row, y_HW, u_HW, v_HW, width, chroma, factors, chroma_rows, cached_rows, planes
                )
                _interleave(planes[0], planes[1], planes[2], pixels)
                narrow_row[:] = 0
                for tap in range(columns.shape[0]):
                    _add_horizontal_tap(pixels, columns[tap], column_weights[tap], narrow_row)
                last_row = row
            _add_vertical_tap(narrow_row, weight, total)
        for x in range(out_width):
            for plane in range(3):
                out_hw3[out_row, x, plane] = np.int32((total[4 * x + plane] + ROUND) - ROUND)
    return out_hw3

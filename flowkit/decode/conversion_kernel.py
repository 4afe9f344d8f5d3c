# ruff: noqa: N803, N806
"""YUV 4:2:0 to RGB, and smaller, in one pass over a frame: what most videos need.

It makes the bytes of swscale (flags BILINEAR, ACCURATE_RND, FULL_CHR_H_INT, BITEXACT), whose C
code for these flags takes eight nanoseconds a pixel, and those of OpenCV's `INTER_AREA`: in
integers and in float32 additions of a fixed order, so they are the same on every machine. The
tests hold it against both libraries. Frames of other formats, or with an odd side, go through
swscale (reader.py).

A pixel's chroma is the bilinear mean of the samples around it. A sample stands for two pixels of
a line, and lies between them or on one of them (`CHROMA_PLACES`), so that their shares of it and
of its neighbours are fourths; 16 times the mean of both directions is an integer. R, G and B are
then sums of products in 22 binary places:

    y = 512·Y − offset      u = 32·(16·U) − 2¹⁶      v likewise
    R = y·luma + v·v_red + 2²¹           G = y·luma + v·v_green + u·u_green + 2²¹     B likewise

cut to 0 … 2³⁰ − 1 and divided by 2²². As in swscale the sums wrap at 2³¹, which only values
outside of the legal range come near.

    H W    height, width of the frame        h w    of the smaller one        K    taps
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

# Kr and Kb as four factors times 2¹⁶, in this order: V in red, U in blue, U and V in green (both
# subtracted). Keys are those of ISO/IEC 23091-2 `MatrixCoefficients`; 2 is "unspecified".
ROUND = np.float32(12582912)  # 1.5 · 2²³: added and taken away, rounds to the nearest even integer
BT601 = (104597, 132201, 25675, 53279)
MATRICES = {
    1: (117489, 138438, 13975, 34925),  # BT.709
    2: BT601,
    5: BT601,
    6: BT601,
    7: (117579, 136230, 16907, 35559),  # SMPTE 240M
    9: (110013, 140363, 12277, 42626),  # BT.2020
}


# Fourths that the two pixels of a chroma sample get, along one direction: the first pixel of the
# sample and of the one before it, the second pixel of the sample and of the one after it.
CHROMA_PLACES = {
    "between": (3, 1, 3, 1),
    "first": (4, 0, 2, 2),
    "second": (2, 2, 4, 0),
}


# Numba takes tenths of a millisecond to recognize a tuple, so what kernels are given are arrays.
@lru_cache(maxsize=64)
def compute_factors(matrix: int, full_range: bool) -> I32:
    """Compute the integers of the sums above: luma, offset, v_red, v_green, u_green, u_blue.

    Args:
        matrix: a key of `MATRICES`.
        full_range: whether Y lies in 0–255 instead of 16–235.
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
    """Which pixels each pixel of a smaller line is made of, and their shares."""

    pixels: I32
    """(K, w), their numbers."""
    shares: F32
    """(K, w); 0 for taps beyond the last."""


@lru_cache(maxsize=64)
def compute_taps(size: int, smaller: int) -> Taps:
    """Compute the taps of OpenCV's `INTER_AREA` along one side.

    Args:
        size: of the side, in pixels.
        smaller: size that it becomes, at most `size`.
    """
    scale = size / smaller
    lines = []
    for number in range(smaller):
        begin = number * scale
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
    most = max(map(len, lines))
    padded = [taps + [(taps[-1][0], 0.0)] * (most - len(taps)) for taps in lines]
    return Taps(
        np.array([[taps[k][0] for taps in padded] for k in range(most)], np.int32),
        np.array([[taps[k][1] for taps in padded] for k in range(most)], np.float32),
    )


def can_shrink(size: tuple[int, int], smaller: tuple[int, int]) -> bool:
    """Return whether `shrink` makes the bytes of OpenCV from a frame of this size.

    OpenCV averages otherwise, and fast, where both sides are divided by integers.

    Args:
        size: height and width of the frame.
        smaller: height and width wanted.
    """
    divided = all(side % less == 0 for side, less in zip(size, smaller, strict=True))
    return not divided and all(side >= less for side, less in zip(size, smaller, strict=True))


@exact_inlined
def _widen_chroma(line: U8, shares: I32, out: I16) -> None:
    """Four times the chroma of a row, at each of its pixels: (W / 2) to (W)."""
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
    """One row of pixels, with fourths `near` and `far` of two rows of chroma."""
    scale, offset, v_red, v_green, u_green, u_blue = (
        factors[0], factors[1], factors[2], factors[3], factors[4], factors[5]
    )  # fmt: skip
    half, most, zero = np.int32(1 << 21), np.int32((1 << 30) - 1), np.int32(0)
    for x in range(luma.size):
        y = np.int32((np.int32(luma[x]) * np.int32(512) - offset) * scale + half)
        u = np.int32((near * np.int32(u_near[x]) + far * np.int32(u_far[x])) * 32 - 65536)
        v = np.int32((near * np.int32(v_near[x]) + far * np.int32(v_far[x])) * 32 - 65536)
        red[x] = min(max(np.int32(y + v * v_red), zero), most) >> 22
        green[x] = min(max(np.int32(y + v * v_green + u * u_green), zero), most) >> 22
        blue[x] = min(max(np.int32(y + u * u_blue), zero), most) >> 22


@exact_inlined
def _convert_row(
    row: int, y_HW: U8, u_HW: U8, v_HW: U8, width: int, chroma: I32, factors: I32,
    wide: I16, made: I32, out: U8,
) -> None:  # fmt: skip
    """One row of the frame. `wide` (2, 2, W) keeps the chroma rows that are named in `made`."""
    line, second = row // 2, row % 2
    other = min(max(line - 1 + 2 * second, 0), u_HW.shape[0] - 1)
    for wanted in (line, other):
        if made[wanted % 2] != wanted:
            _widen_chroma(u_HW[wanted, : width // 2], chroma[0], wide[wanted % 2, 0])
            _widen_chroma(v_HW[wanted, : width // 2], chroma[0], wide[wanted % 2, 1])
            made[wanted % 2] = wanted
    near, far = wide[line % 2], wide[other % 2]  # (2, W): U and V
    near_share, far_share = chroma[1, 2 * second], chroma[1, 2 * second + 1]
    _convert_pixels(
        y_HW[row, :width], near[0], far[0], near[1], far[1], near_share, far_share, factors,
        out[0], out[1], out[2],
    )  # fmt: skip


@exact_kernel
def convert(y_HW: U8, u_HW: U8, v_HW: U8, width: int, chroma: I32, factors: I32) -> U8:
    """Convert a frame to (H, W, 3) RGB.

    Args:
        y_HW: luma.
        u_HW: blue-difference chroma, of half the height and width.
        v_HW: red-difference chroma, likewise.
        width: of the frame; rows of the planes may be longer.
        chroma: where its samples lie: a value of `CHROMA_PLACES` across and one down, (2, 4).
        factors: of the stream.
    """
    height = y_HW.shape[0]
    out_HW3 = np.empty((height, width, 3), np.uint8)
    wide, made = np.empty((2, 2, width), np.int16), np.full(2, -1, np.int32)
    planes = np.empty((3, width), np.uint8)
    for row in range(height):
        _convert_row(row, y_HW, u_HW, v_HW, width, chroma, factors, wide, made, planes)
        for x in range(width):
            out_HW3[row, x, 0] = planes[0, x]
            out_HW3[row, x, 1] = planes[1, x]
            out_HW3[row, x, 2] = planes[2, x]
    return out_HW3


@exact_row_kernel
def _interleave(red: U8, green: U8, blue: U8, out: F32) -> None:
    """Three planes as pixels of four numbers, the last of which is 0."""
    for x in range(red.size):
        out[4 * x] = red[x]
        out[4 * x + 1] = green[x]
        out[4 * x + 2] = blue[x]
        out[4 * x + 3] = 0


@intrinsic  # type: ignore[untyped-decorator]
def _add_pixel(typing: Any, out: Any, at: Any, line: Any, index: Any, share: Any) -> Any:
    """out[4·at + (0, 1, 2, 3)] += line[4·index + (0, 1, 2, 3)] · share, as one vector."""
    signature = types.void(out, at, line, index, share)
    vector = ir.VectorType(ir.FloatType(), 4)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        out, at, line, index, share = arguments
        wide = ir.IntType(64)

        def find(array: Any, kind: Any, pixel: Any) -> Any:
            data = context.make_array(kind)(context, builder, array).data
            number = builder.shl(builder.sext(pixel, wide), ir.Constant(wide, 2))
            return builder.bitcast(builder.gep(data, [number]), vector.as_pointer())

        single = builder.insert_element(
            ir.Constant(vector, ir.Undefined), share, ir.Constant(ir.IntType(32), 0)
        )
        shares = builder.shuffle_vector(
            single, single, ir.Constant(ir.VectorType(ir.IntType(32), 4), [0] * 4)
        )
        target = find(out, signature.args[0], at)
        pixel = builder.load(find(line, signature.args[2], index), align=4)
        total = builder.fadd(builder.load(target, align=4), builder.fmul(pixel, shares))
        builder.store(total, target, align=4)
        return context.get_dummy_value()

    return signature, generate


@exact_inlined
def _shrink_row(line: F32, index: I32, share: F32, out: F32) -> None:
    """Add one horizontal tap of each pixel."""
    for x in range(index.size):
        _add_pixel(out, np.int32(x), line, index[x], share[x])


@exact_row_kernel
def _add(line: F32, share: np.float32, total: F32) -> None:
    for x in range(line.size):
        total[x] += share * line[x]


@exact_kernel
def convert_and_shrink(
    y_HW: U8, u_HW: U8, v_HW: U8, width: int, chroma: I32, factors: I32,
    columns: I32, column_shares: F32, rows: I32, row_shares: F32,
) -> U8:  # fmt: skip
    """Convert a frame as `convert` does, and make it smaller: to (h, w, 3) RGB.

    Args:
        y_HW: luma.
        u_HW: blue-difference chroma, of half the height and width.
        v_HW: red-difference chroma, likewise.
        width: of the frame; rows of the planes may be longer.
        chroma: where its samples lie: a value of `CHROMA_PLACES` across and one down, (2, 4).
        factors: of the stream.
        columns: pixels of the taps of the width.
        column_shares: their shares.
        rows: pixels of the taps of the height.
        row_shares: their shares.
    """
    smaller = columns.shape[1]
    out_hw3 = np.empty((rows.shape[1], smaller, 3), np.uint8)
    wide, made = np.empty((2, 2, width), np.int16), np.full(2, -1, np.int32)
    planes, line = np.empty((3, width), np.uint8), np.empty(4 * width, np.float32)
    short, total = np.empty(4 * smaller, np.float32), np.empty(4 * smaller, np.float32)
    last = -1
    for number in range(out_hw3.shape[0]):
        total[:] = 0
        for k in range(rows.shape[0]):
            row, share = rows[k, number], row_shares[k, number]
            if share == 0:
                continue
            if row != last:
                _convert_row(row, y_HW, u_HW, v_HW, width, chroma, factors, wide, made, planes)
                _interleave(planes[0], planes[1], planes[2], line)
                short[:] = 0
                for tap in range(columns.shape[0]):
                    _shrink_row(line, columns[tap], column_shares[tap], short)
                last = row
            _add(short, share, total)
        for x in range(smaller):
            for plane in range(3):
                out_hw3[number, x, plane] = np.int32((total[4 * x + plane] + ROUND) - ROUND)
    return out_hw3

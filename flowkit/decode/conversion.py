"""Decoded frame → RGB array of the stored size.

YUV 4:2:0 of 8 bits with even sides, what most videos have, goes through our own kernel
(conversion_kernel.py), several times as fast and with the same bytes; everything else through
swscale, with its accurate and bit-exact arithmetic, so that two machines make the same bytes.
"""

from itertools import product
from typing import Any

import av
import cv2
import numpy as np
from av.video.reformatter import Interpolation, VideoReformatter
from numpy.typing import NDArray

from flowkit.decode.container import reason
from flowkit.decode.orientation import Orientation
from flowkit.errors import VideoError

U8 = NDArray[np.uint8]
I32 = NDArray[np.int32]
RGBFrame = U8

RGB_FLAGS = (
    Interpolation.BILINEAR
    | Interpolation.ACCURATE_RND
    | Interpolation.FULL_CHR_H_INT
    | Interpolation.BITEXACT
)
KERNEL_FORMATS = ("yuv420p", "yuvj420p")
FULL_RANGE = 2  # FFmpeg's AVCOL_RANGE_JPEG
SMALLEST_SIDE = 16  # along three samples of chroma, or fewer, swscale takes other shares
PROBE_WIDTH, PROBE_HEIGHT = 32, 16


class FrameConverter:
    """Converts the frames of one video.

    Parameters
    ----------
    size: width and height in pixels of what comes out.
    area: whether frames become smaller by OpenCV's pixel-area average; else bilinearly.
    orientation: how pictures are turned, before they are resized.
    label: of the file, for errors.
    """

    def __init__(
        self, size: tuple[int, int], area: bool, orientation: Orientation, label: str
    ) -> None:
        self._size, self._area = size, area
        self._orientation, self._label = orientation, label
        self._reformatter: Any = VideoReformatter()
        self._chroma: Any = None
        self._asked = False

    def convert(self, frame: Any) -> RGBFrame:
        """Convert one frame of PyAV: uint8 RGB (height, width, 3), C-contiguous.

        Raises:
            VideoError: `broken`; the frame has a format that cannot become RGB.
        """
        picture = self.convert_by_kernel(frame)
        return self.resize(self.convert_by_swscale(frame) if picture is None else picture)

    def resize(self, picture: RGBFrame) -> RGBFrame:
        """Turn a picture (H, W, 3) and make it of the wanted size, if it is not yet."""
        picture = np.ascontiguousarray(self._orientation.apply(picture))
        height, width = picture.shape[:2]
        if (width, height) == self._size:
            return picture
        # OpenCV's area filter has no meaning where a side grows (it falls back to nearest).
        grows = self._size[0] > width or self._size[1] > height
        filter = cv2.INTER_AREA if self._area and not grows else cv2.INTER_LINEAR
        resized: RGBFrame = cv2.resize(picture, self._size, interpolation=filter)
        return resized

    def convert_by_kernel(self, frame: Any) -> RGBFrame | None:
        """Convert, and make smaller if it can be done at once; None where the kernel cannot."""
        from flowkit.decode import conversion_kernel as kernel

        if not self._asked:
            self._chroma, self._asked = find_chroma(frame), True
        planes = read_planes(frame)
        if self._chroma is None or planes is None:
            return None
        factors = find_factors(frame)
        size, smaller = (frame.height, frame.width), self._size[::-1]
        if not (
            self._area and self._orientation == Orientation() and kernel.can_shrink(size, smaller)
        ):
            return kernel.convert(*planes, frame.width, self._chroma, factors)
        rows, columns = map(kernel.compute_taps, size, smaller)
        return kernel.convert_and_shrink(
            *planes, frame.width, self._chroma, factors, *columns, *rows
        )

    def convert_by_swscale(self, frame: Any) -> RGBFrame:
        """Convert one frame of PyAV as `convert` does, but leave its size and turn."""
        try:
            return convert_to_rgb(self._reformatter, frame)
        except (av.error.FFmpegError, ValueError) as error:
            what = f"{self._label}: cannot convert {frame.format.name} to RGB ({reason(error)})"
            raise VideoError("broken", what) from error


def read_planes(frame: Any) -> tuple[U8, U8, U8] | None:
    """Return Y, U and V, or None where the kernel cannot convert the frame.

    They are views, with rows that are longer than those of the picture.
    """
    from flowkit.decode.conversion_kernel import MATRICES

    odd_or_small = any(side % 2 or side < SMALLEST_SIDE for side in (frame.width, frame.height))
    if frame.format.name not in KERNEL_FORMATS or odd_or_small:
        return None
    planes = frame.planes
    upside_down = any(plane.line_size < plane.width for plane in planes)
    if frame.colorspace not in MATRICES or upside_down:
        return None
    y, u, v = (
        np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)[: plane.height]
        for plane in planes
    )
    return y, u, v


def find_factors(frame: Any) -> I32:
    """Compute the factors of the frame's matrix and range."""
    from flowkit.decode.conversion_kernel import compute_factors

    full_range = frame.format.name == "yuvj420p" or frame.color_range == FULL_RANGE
    return compute_factors(int(frame.colorspace), full_range)


def find_chroma(frame: Any) -> I32 | None:
    """Find where the chroma samples of a stream lie, or None where our bytes are not swscale's.

    PyAV does not tell, but swscale knows: it is given a small frame of noise with the properties
    of this one, and its bytes are compared with ours for each place.

    Args:
        frame: any frame of the stream.
    """
    from flowkit.decode.conversion_kernel import CHROMA_PLACES, convert

    if read_planes(frame) is None:
        return None
    small = VideoReformatter().reformat(
        frame, width=PROBE_WIDTH, height=PROBE_HEIGHT, format=frame.format.name, threads=1
    )
    planes = read_planes(small)
    if planes is None or small is frame:
        return None
    random = np.random.default_rng(0)
    for plane in planes:
        plane[:] = random.integers(0, 256, plane.shape, np.uint8)
    expected = convert_to_rgb(VideoReformatter(), small)
    for across, down in product(CHROMA_PLACES.values(), repeat=2):
        chroma = np.array([across, down], np.int32)
        if np.array_equal(convert(*planes, small.width, chroma, find_factors(small)), expected):
            return chroma
    return None


def convert_to_rgb(reformatter: Any, frame: Any) -> RGBFrame:
    """Convert a frame of any format with swscale, whatever its size."""
    made: RGBFrame = reformatter.reformat(
        frame, format="rgb24", interpolation=RGB_FLAGS, threads=1
    ).to_ndarray()
    return made

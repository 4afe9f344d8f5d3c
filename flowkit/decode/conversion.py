"""Convert decoded frames into RGB images of the stored size.

A frame is what PyAV decodes; an image is a uint8 array of RGB values. Most videos are 8-bit YUV
4:2:0 with even sides. Our own kernel (conversion_kernel.py) converts them; it is several times as
fast as swscale and gives the same bytes. swscale converts all others, with its accurate and
bit-exact arithmetic, so the bytes are the same on all machines.
"""

from collections.abc import Mapping
from itertools import product
from typing import Any

import av
import cv2
import numpy as np
from av.video.reformatter import Interpolation, VideoReformatter
from numpy.typing import NDArray

from flowkit.decode.container import format_error
from flowkit.decode.frame import RGBFrame
from flowkit.decode.orientation import Orientation
from flowkit.errors import VideoError

U8 = NDArray[np.uint8]
I32 = NDArray[np.int32]

RGB_FLAGS = (
    Interpolation.BILINEAR
    | Interpolation.ACCURATE_RND
    | Interpolation.FULL_CHR_H_INT
    | Interpolation.BITEXACT
)
KERNEL_FORMATS = ("yuv420p", "yuvj420p")
FULL_RANGE = 2
"""FFmpeg's AVCOL_RANGE_JPEG: luma is in 0–255."""
MIN_SIDE = 16
"""Shortest side in pixels of frames that the kernel converts; below it, swscale may weight chroma
samples differently.
"""
MAX_SIDE = 65500
"""Longest side in pixels of a JPEG that libjpeg writes."""
PROBE_SIZES = ((32, 16), (48, 16))
"""Width and height in pixels of the noise of `find_chroma_positions`; the second size is used for
frames of the first one.
"""


class FrameConverter:
    """Converts the frames of one video.

    Args:
        size: Width and height of the output in pixels.
        area: Whether frames are downscaled by OpenCV's pixel-area average; otherwise bilinearly.
        orientation: How frames are rotated and mirrored, before they are resized.
        label: Name of the file, for error messages.
    """

    def __init__(
        self, size: tuple[int, int], area: bool, orientation: Orientation, label: str
    ) -> None:
        """Prepare the conversion; nothing is decoded yet."""
        self._size, self._area = size, area
        self._orientation, self._label = orientation, label
        self._reformatter: Any = VideoReformatter()
        self._chroma: Any = None
        self._has_probed_chroma = False

    def convert(self, frame: Any) -> RGBFrame:
        """Convert one frame.

        Args:
            frame: A decoded PyAV frame.

        Returns:
            uint8 RGB (height, width, 3), C-contiguous.

        Raises:
            VideoError: ``broken``; the frame has a format that cannot become RGB.
        """
        image = self.convert_with_kernel(frame)
        return self.resize(self.convert_with_swscale(frame) if image is None else image)

    def resize(self, image: RGBFrame) -> RGBFrame:
        """Orient an image and resize it to the output size.

        Args:
            image: uint8 RGB (H, W, 3).

        Returns:
            uint8 RGB (height, width, 3), C-contiguous.
        """
        image = np.ascontiguousarray(self._orientation.apply(image))
        height, width = image.shape[:2]
        if (width, height) == self._size:
            return image
        # OpenCV's area filter cannot enlarge: it would copy the nearest pixel instead.
        is_enlarged = self._size[0] > width or self._size[1] > height
        interpolation = cv2.INTER_AREA if self._area and not is_enlarged else cv2.INTER_LINEAR
        resized: RGBFrame = cv2.resize(image, self._size, interpolation=interpolation)
        return resized

    def convert_with_kernel(self, frame: Any) -> RGBFrame | None:
        """Convert one frame with our kernel, and downscale it in the same pass if possible.

        Args:
            frame: A decoded PyAV frame.

        Returns:
            uint8 RGB, not necessarily of the output size; None if the kernel cannot convert the
            frame.
        """
        from flowkit.decode import conversion_kernel as kernel

        if not self._has_probed_chroma:
            self._chroma, self._has_probed_chroma = find_chroma_positions(frame), True
        planes = read_planes(frame)
        if self._chroma is None or planes is None:
            return None
        factors = compute_frame_factors(frame)
        size, target_size = (frame.height, frame.width), self._size[::-1]
        is_upright = self._orientation == Orientation()
        if not (self._area and is_upright and kernel.can_downscale(size, target_size)):
            return kernel.convert_frame(*planes, frame.width, self._chroma, factors)
        rows, columns = map(kernel.compute_taps, size, target_size)
        return kernel.convert_and_downscale(
            *planes, frame.width, self._chroma, factors, *columns, *rows
        )

    def convert_with_swscale(self, frame: Any) -> RGBFrame:
        """Convert one frame with swscale, without resizing or orienting it.

        Args:
            frame: A decoded PyAV frame.

        Returns:
            uint8 RGB (H, W, 3).

        Raises:
            VideoError: ``broken``; the frame has a format that cannot become RGB.
        """
        try:
            return convert_to_rgb(self._reformatter, frame)
        except (av.error.FFmpegError, ValueError) as error:
            message = (
                f"{self._label}: cannot convert {frame.format.name} to RGB ({format_error(error)})"
            )
            raise VideoError("broken", message) from error


def check_sizes(label: str, sizes: Mapping[str, tuple[int, int]]) -> None:
    """Raise a VideoError if images of a size cannot be stored as JPEG.

    Args:
        label: Name of the video, for error messages.
        sizes: Width and height in pixels by what has this size.
    """
    for name, (width, height) in sizes.items():
        if not (1 <= width <= MAX_SIDE and 1 <= height <= MAX_SIDE):
            problem = f"{name} is {width}×{height}, expected sides of 1..{MAX_SIDE}"
            raise VideoError("bad-size", f"{label}: {problem}")


def read_planes(frame: Any) -> tuple[U8, U8, U8] | None:
    """Read the planes Y, U and V of a frame.

    Args:
        frame: A decoded PyAV frame.

    Returns:
        Views of the planes, whose rows may be longer than those of the frame; None if the kernel
        cannot convert the frame.
    """
    from flowkit.decode.conversion_kernel import MATRICES

    odd_or_small = any(side % 2 or side < MIN_SIDE for side in (frame.width, frame.height))
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


def compute_frame_factors(frame: Any) -> I32:
    """Compute the kernel's factors for the matrix and range of a frame.

    Args:
        frame: A decoded PyAV frame.

    Returns:
        int32 (6,), as `compute_factors` returns it.
    """
    from flowkit.decode.conversion_kernel import compute_factors

    full_range = frame.format.name == "yuvj420p" or frame.color_range == FULL_RANGE
    return compute_factors(int(frame.colorspace), full_range)


def find_chroma_positions(frame: Any) -> I32 | None:
    """Find out where the chroma samples of a stream are, relative to the pixels.

    PyAV does not expose this, but swscale knows it. So a small frame of noise with the properties
    of the given frame is converted by swscale, and by the kernel with each of the possible
    positions, until the bytes are the same.

    Args:
        frame: Any frame of the stream.

    Returns:
        int32 (2, 4), the positions along rows and columns as values of `CHROMA_POSITIONS`; None if
        swscale gives other bytes for all positions.
    """
    from flowkit.decode.conversion_kernel import CHROMA_POSITIONS, convert_frame

    if read_planes(frame) is None:
        return None
    # For a frame of that size, PyAV returns the frame itself, and the noise would overwrite it.
    width, height = next(s for s in PROBE_SIZES if s != (frame.width, frame.height))
    try:
        small = VideoReformatter().reformat(
            frame, width=width, height=height, format=frame.format.name, threads=1
        )
        planes = read_planes(small)
        if planes is None:
            return None
        random = np.random.default_rng(0)
        for plane in planes:
            plane[:] = random.integers(0, 256, plane.shape, np.uint8)
        expected = convert_to_rgb(VideoReformatter(), small)
    except (av.error.FFmpegError, ValueError):
        return None  # `convert_with_swscale` meets the error too, and names the file
    for row_position, column_position in product(CHROMA_POSITIONS.values(), repeat=2):
        chroma = np.array([row_position, column_position], np.int32)
        if np.array_equal(
            convert_frame(*planes, small.width, chroma, compute_frame_factors(small)), expected
        ):
            return chroma
    return None


def convert_to_rgb(reformatter: Any, frame: Any) -> RGBFrame:
    """Convert a frame of any format with swscale, without resizing it.

    Args:
        reformatter: A PyAV ``VideoReformatter``.
        frame: A PyAV frame.

    Returns:
        uint8 RGB (H, W, 3).
    """
    rgb: RGBFrame = reformatter.reformat(
        frame, format="rgb24", interpolation=RGB_FLAGS, threads=1
    ).to_ndarray()
    return rgb

"""Decode one image file into an RGB frame.

JPEGs are decoded with libjpeg-turbo and its exact DCT, as the JPEGs of a store are (those of CMYK
with OpenCV), and turned as their Exif orientation requires. OpenCV decodes all other formats,
without turning them. Grey images become RGB, an alpha channel is dropped, and of 16 bits per value
the upper 8 are used.
"""

import stat
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import simplejpeg

from flowkit.decode.container import get_display_name, to_one_line
from flowkit.decode.frame import RGBFrame
from flowkit.decode.jpeg_file import estimate_quality, read_orientation
from flowkit.decode.orientation import Orientation
from flowkit.errors import VideoError
from flowkit.recipe import RGBRecipe

READ_FLAGS = cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH | cv2.IMREAD_IGNORE_ORIENTATION
JPEG_START = b"\xff\xd8\xff"
LARGE_IMAGE = 1 << 26
"""Pixels from which on the size that a JPEG claims is compared with its bytes."""
PIXELS_PER_BYTE = 2048
"""Pixels that a byte of a JPEG can hold at most: a block of 8×8 pixels takes a bit or more, and
this leaves room for arithmetic coding. A damaged header can claim any size, and decoding billions
of absent pixels takes minutes and gigabytes.
"""


class Image(NamedTuple):
    """A decoded image file."""

    pixels: RGBFrame
    """RGB as it is stored, before it is turned, uint8 (height, width, 3)."""
    orientation: Orientation = Orientation()
    """How it must be turned."""
    bits: int = 8
    """Bits per value in the file, 8 or 16."""


def read_image_file(path: Path) -> bytes:
    """Read the bytes of an image file.

    Args:
        path: The file.

    Raises:
        VideoError: ``missing``, ``not-a-file``, ``unreadable`` or ``empty``.
    """
    try:
        mode = path.stat().st_mode
        if not stat.S_ISREG(mode):  # reading a pipe would wait for ever
            kind = "directory" if stat.S_ISDIR(mode) else "special file"
            raise make_image_error("not-a-file", path, f"expected an image, got a {kind}")
        data = path.read_bytes()
    except FileNotFoundError as error:
        raise make_image_error("missing", path, "no such file") from error
    except OSError as error:
        raise make_image_error("unreadable", path, f"cannot be read ({error.strerror})") from error
    if not data:
        raise make_image_error("empty", path, "the file is empty (0 bytes)")
    return data


def decode_image(data: bytes, path: Path) -> Image:
    """Decode an image file, whatever its extension says.

    Args:
        data: The bytes of the file.
        path: The file, for error messages.

    Raises:
        VideoError: ``broken``: the file is damaged, cut off, or not an image.
    """
    is_jpeg = data.startswith(JPEG_START)
    orientation = read_orientation(data) if is_jpeg else Orientation()
    try:
        if is_jpeg:
            # OpenCV converts CMYK, and older versions overlook that a file is cut.
            height, width, colours, _ = simplejpeg.decode_jpeg_header(data)
            if height * width > max(LARGE_IMAGE, PIXELS_PER_BYTE * len(data)):
                raise ValueError(f"{len(data):,} bytes cannot hold {width}×{height} pixels")
            is_cmyk = colours in ("CMYK", "YCCK")
            pixels = simplejpeg.decode_jpeg(
                data, "CMYK" if is_cmyk else "RGB", fastdct=False, fastupsample=False
            )
            if not is_cmyk:
                return Image(pixels, orientation)
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), READ_FLAGS)
    except (ValueError, cv2.error) as error:
        problem = f"damaged, or not an image ({to_one_line(str(error))})"
        raise make_image_error("broken", path, problem) from error
    if pixels is None or pixels.dtype not in (np.uint8, np.uint16):
        problem = "damaged, or not an image; expected 8 or 16 bits per value"
        raise make_image_error("broken", path, problem)
    bits = 8 * pixels.itemsize
    if bits == 16:
        pixels = (pixels >> 8).astype(np.uint8)
    return Image(cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB), orientation, bits)


def make_image_error(kind: str, path: Path, problem: str) -> VideoError:
    """Make the error for an image file, with its name and that of its folder before the problem."""
    return VideoError(kind, f"{get_display_name(path.parent)}/{get_display_name(path)}: {problem}")


def may_keep(data: bytes, image: Image, recipe: RGBRecipe) -> bool:
    """Return whether a store by ``recipe`` may hold the bytes of an image file as they are.

    Args:
        data: The bytes of the file.
        image: The decoded file, which needs no resize.
        recipe: How RGB frames are stored.

    Returns:
        True for a JPEG of three components that need not be turned, and whose quality is at most
        that of the recipe, if the recipe keeps such files.
    """
    if not recipe.keep or image.orientation != Orientation() or not data.startswith(JPEG_START):
        return False
    try:
        is_color = simplejpeg.decode_jpeg_header(data)[2] == "YCbCr"
        return is_color and estimate_quality(data) <= recipe.quality
    except ValueError:
        return False

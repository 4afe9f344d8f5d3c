"""Encode and decode JPEG images with libjpeg-turbo.

Only the exact DCT is used: the fast ones change pixels.
"""

from typing import Any

import numpy as np
import simplejpeg

from flowkit.errors import CorruptError
from flowkit.recipe import DEFAULT_QUALITY, Subsampling


def encode_rgb(
    frame: np.ndarray[Any, Any],
    quality: int = DEFAULT_QUALITY,
    subsampling: Subsampling = "4:2:0",
) -> bytes:
    """Encode an RGB frame.

    Args:
        frame: (H, W, 3) uint8.
        quality: JPEG quality, 1–100.
        subsampling: Chroma subsampling.

    Returns:
        The JPEG file.
    """
    data: bytes = simplejpeg.encode_jpeg(
        np.ascontiguousarray(frame),
        quality=quality,
        colorspace="RGB",
        colorsubsampling=subsampling.replace(":", ""),
        fastdct=False,
    )
    return data


def encode_grey(plane: np.ndarray[Any, Any], quality: int = DEFAULT_QUALITY) -> bytes:
    """Encode one grey plane, (H, W) uint8, with JPEG quality 1–100."""
    data: bytes = simplejpeg.encode_jpeg(
        np.ascontiguousarray(plane)[..., None], quality=quality, colorspace="GRAY", fastdct=False
    )
    return data


def decode_rgb(data: bytes) -> np.ndarray[Any, Any]:
    """Decode to (H, W, 3) uint8; CorruptError if ``data`` is not a complete JPEG file."""
    return decode(data, "RGB")


def decode_grey(data: bytes) -> np.ndarray[Any, Any]:
    """Decode to (H, W) uint8; CorruptError if ``data`` is not a complete JPEG file."""
    return decode(data, "GRAY")[:, :, 0]


def decode(data: bytes, colorspace: str) -> np.ndarray[Any, Any]:
    """Decode a JPEG image to (H, W, channels) uint8.

    Args:
        data: The JPEG file.
        colorspace: ``"RGB"`` or ``"GRAY"``.

    Raises:
        CorruptError: ``data`` is not a complete JPEG file.
    """
    try:
        image: np.ndarray[Any, Any] = simplejpeg.decode_jpeg(
            data, colorspace=colorspace, fastdct=False, fastupsample=False
        )
    except ValueError as error:
        raise CorruptError(
            f"expected a JPEG image, got {len(data)} bytes that are none ({error}); "
            "run `flowkit verify --deep`"
        ) from None
    return image

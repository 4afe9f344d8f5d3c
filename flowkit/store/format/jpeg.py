"""JPEG to arrays and back, by libjpeg-turbo, exact DCT only: fast ones change pixels."""

from typing import Any

import numpy as np
import simplejpeg

from flowkit.errors import CorruptError
from flowkit.recipe import Subsampling

SUBSAMPLING = {"4:2:0": "420", "4:2:2": "422", "4:4:4": "444"}


def encode_rgb(
    frame: np.ndarray[Any, Any], quality: int = 95, subsampling: Subsampling = "4:2:0"
) -> bytes:
    """Encode an RGB frame, (H, W, 3) uint8; ``quality`` 1–100."""
    data: bytes = simplejpeg.encode_jpeg(
        np.ascontiguousarray(frame),
        quality=quality,
        colorspace="RGB",
        colorsubsampling=SUBSAMPLING[subsampling],
        fastdct=False,
    )
    return data


def encode_grey(plane: np.ndarray[Any, Any], quality: int = 95) -> bytes:
    """Encode one grey plane, (H, W) uint8; ``quality`` 1–100."""
    data: bytes = simplejpeg.encode_jpeg(
        np.ascontiguousarray(plane)[..., None], quality=quality, colorspace="GRAY", fastdct=False
    )
    return data


def decode_rgb(data: bytes) -> np.ndarray[Any, Any]:
    """Decode to (H, W, 3) uint8; CorruptError where ``data`` is no whole JPEG."""
    return decode(data, "RGB")


def decode_grey(data: bytes) -> np.ndarray[Any, Any]:
    """Decode to (H, W) uint8; CorruptError where ``data`` is no whole JPEG."""
    return decode(data, "GRAY")[:, :, 0]


def decode(data: bytes, colorspace: str) -> np.ndarray[Any, Any]:
    """Decode a JPEG to (H, W, channels) uint8.

    Args:
        data: The whole JPEG file.
        colorspace: ``"RGB"`` or ``"GRAY"``.

    Raises:
        CorruptError: ``data`` is not a whole JPEG image.
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

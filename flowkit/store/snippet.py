"""Decode snippets and flow fields, which a store holds as JPEG images."""

from typing import Any, NamedTuple

import numpy as np

from flowkit.store.format.jpeg import decode_grey, decode_rgb


class Snippet(NamedTuple):
    """One RGB frame and the flow fields that start at it, as JPEG bytes."""

    rgb: bytes
    """JPEG of RGB frame t."""
    flow_x: tuple[bytes, ...]
    """Grey JPEGs of the horizontal flow of fields t … t + length − 1."""
    flow_y: tuple[bytes, ...]
    """Grey JPEGs of the vertical flow of the same fields."""
    bound: float
    """Displacement in pixels at which the flow was clipped before it was quantized."""

    def decode(self) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
        """Decode the snippet.

        Returns:
            RGB, (H, W, 3) uint8, and flow, (length, H, W, 2) float32 in pixels.
        """
        fields = [
            decode_flow(x, y, self.bound) for x, y in zip(self.flow_x, self.flow_y, strict=True)
        ]
        return decode_rgb(self.rgb), np.stack(fields)


def decode_flow(x: bytes, y: bytes, bound: float) -> np.ndarray[Any, Any]:
    """Decode one flow field.

    Args:
        x: Grey JPEG of the horizontal displacement.
        y: Grey JPEG of the vertical displacement.
        bound: Displacement in pixels at which the flow was clipped.

    Returns:
        Displacement in pixels, (H, W, 2) float32.
    """
    from flowkit.flow.quantization import dequantize

    return dequantize(np.stack([decode_grey(x), decode_grey(y)], axis=-1), bound)

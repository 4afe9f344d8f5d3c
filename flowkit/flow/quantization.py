"""Convert flow to bytes and back: the store's quantization, and that of denseflow.

    store       q = 128 + round(127·clip(v, −B, B)/B)       v = (q − 128)·B/127
    denseflow   q = cvRound(255·(v + B)/2B), clipped         v = q·2B/255 − B

v is a displacement in pixels and B the bound. The store rounds halves away from zero, so q is
odd-symmetric: −v gives 256 − q, and zero motion is exact: it is stored as 128 and read back as 0
px. q = 0 is never written; JPEG may produce it, and it is read as 1. In denseflow's convention,
which other tools read, zero is between two bytes: it is written as 128 and read back as B/255
(0.078 px for B = 20).
"""

import numpy as np
import numpy.typing as npt

from flowkit.errors import FlowError
from flowkit.flow.params import DEFAULT_BOUND, MAX_BOUND

U8 = npt.NDArray[np.uint8]
F32 = npt.NDArray[np.float32]


def quantize(flow: F32, bound: float = DEFAULT_BOUND) -> U8:
    """Quantize displacements as a store holds them.

    The error is at most bound/254 inside the bound.

    Args:
        flow: float32 of any shape, displacements in pixels. Values beyond ±bound become ±bound.
        bound: Displacement in pixels that becomes 255.

    Returns:
        uint8 of the same shape, 1–255; 128 means no motion.

    Raises:
        FlowError: ``flow`` holds NaN, its dtype is not float32, or the bound is not positive.
    """
    scaled = _clip_flow(flow, bound)
    scaled *= 127
    scaled /= np.float32(bound)
    # The cast to int8 truncates towards zero; after adding ±½ that rounds halves away from zero.
    scaled += np.copysign(np.float32(0.5), scaled)
    signed = scaled.astype(np.int8)
    return signed.view(np.uint8) ^ np.uint8(128)  # two's complement: flipping the top bit adds 128


def dequantize(q: U8, bound: float = DEFAULT_BOUND) -> F32:
    """Convert the bytes of a store to displacements.

    Args:
        q: uint8 of any shape; 0 is read as 1.
        bound: Displacement in pixels that 255 stands for.

    Returns:
        float32 of the same shape, displacements in pixels.

    Raises:
        FlowError: The dtype is not uint8, or the bound is not positive.
    """
    _check_bytes(q)
    check_bound(bound)
    levels = np.maximum(np.arange(256), 1) - 128
    return (levels * bound / 127).astype(np.float32)[q]


def to_denseflow(flow: F32, bound: float = DEFAULT_BOUND) -> U8:
    """Quantize displacements in the convention of denseflow and mmaction2.

    Args:
        flow: float32 of any shape, displacements in pixels. Values beyond ±bound become ±bound.
        bound: Displacement in pixels that becomes 255.

    Returns:
        uint8 of the same shape; 128 means no motion.

    Raises:
        FlowError: ``flow`` holds NaN, its dtype is not float32, or the bound is not positive.
    """
    scaled = _clip_flow(flow, bound)
    scaled += np.float32(bound)
    scaled /= np.float32(2 * bound)  # before × 255, so that zero is exactly ½ and then 127.5
    scaled *= 255
    return np.rint(scaled, out=scaled).astype(np.uint8)


def from_denseflow(q: U8, bound: float = DEFAULT_BOUND) -> F32:
    """Convert bytes in the convention of denseflow and mmaction2 to displacements.

    Args:
        q: uint8 of any shape.
        bound: Displacement in pixels that 255 stands for.

    Returns:
        float32 of the same shape, displacements in pixels.

    Raises:
        FlowError: The dtype is not uint8, or the bound is not positive.
    """
    _check_bytes(q)
    check_bound(bound)
    return (np.arange(256) * (2 * bound / 255) - bound).astype(np.float32)[q]


def _clip_flow(flow: F32, bound: float) -> F32:
    """Check an array of displacements, and return a copy clipped to ±bound."""
    check_bound(bound)
    if not isinstance(flow, np.ndarray) or flow.dtype != np.float32:
        raise FlowError(
            f"flow must be a float32 array, got {getattr(flow, 'dtype', type(flow).__name__)}"
        )
    clipped = np.clip(flow, np.float32(-bound), np.float32(bound))
    if np.isnan(clipped.sum()):  # clipped values cannot overflow, so only NaN makes the sum NaN
        raise FlowError(f"flow must hold no NaN, got {np.isnan(flow).sum()} of {flow.size} values")
    return clipped


def check_bound(bound: float) -> None:
    """Check that flow can be clipped at a bound.

    Args:
        bound: Displacement in pixels.

    Raises:
        FlowError: The bound is not positive, or too large.
    """
    if not 0 < bound < MAX_BOUND:
        raise FlowError(f"bound must be positive pixels below {MAX_BOUND:g}, got {bound}")


def _check_bytes(q: U8) -> None:
    """Check that ``q`` is a uint8 array."""
    if not isinstance(q, np.ndarray) or q.dtype != np.uint8:
        raise FlowError(
            f"quantized flow must be a uint8 array, got {getattr(q, 'dtype', type(q).__name__)}"
        )

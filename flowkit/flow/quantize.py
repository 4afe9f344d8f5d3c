"""Flow as bytes: the store's own quantization, and denseflow's, which other tools read.

    store       q = 128 + round(127·clip(v, −B, B)/B)       v = (q − 128)·B/127
    denseflow   q = cvRound(255·(v + B)/2B), clipped         v = q·2B/255 − B

v is a displacement in pixels and B the bound. The store rounds halves away from zero, so q
is odd-symmetric: −v gives 256 − q, and zero motion is 128 and comes back as 0. q = 0 is never
written; JPEG may produce it, and it is read as 1. In denseflow's convention zero lies between
two bytes: it is written as 128 and comes back as B/255 (0.078 px for B = 20).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from flowkit.errors import FlowError

# NumPy is imported in the functions: the package imports this module at once (see there).
if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    U8 = npt.NDArray[np.uint8]
    F32 = npt.NDArray[np.float32]


def quantize(flow: F32, bound: float = 20.0) -> U8:
    """Displacements in pixels, any shape → bytes 1…255; values beyond ±bound become ±bound.

    The error is at most bound/254 inside the bound. Raises FlowError for NaN and for
    a dtype other than float32.
    """
    import numpy as np

    scaled = _clip(flow, bound)
    scaled *= 127
    scaled /= np.float32(bound)
    # The cast to int8 cuts towards zero, which after adding ±½ rounds halves away from it.
    scaled += np.copysign(np.float32(0.5), scaled)
    signed = scaled.astype(np.int8)
    return signed.view(np.uint8) ^ np.uint8(128)  # two's complement: flipping the top bit adds 128


def dequantize(q: U8, bound: float = 20.0) -> F32:
    """Bytes as the store holds them, any shape → displacements in pixels; 0 is read as 1."""
    import numpy as np

    _check_bytes(q)
    check_bound(bound)
    levels = np.maximum(np.arange(256), 1) - 128
    return (levels * bound / 127).astype(np.float32)[q]


def to_denseflow(flow: F32, bound: float = 20.0) -> U8:
    """Displacements in pixels → bytes in the convention of denseflow and mmaction2.

    Raises FlowError for NaN and for a dtype other than float32.
    """
    import numpy as np

    scaled = _clip(flow, bound)
    scaled += np.float32(bound)
    scaled /= np.float32(2 * bound)  # first, so that zero is ½ and then 127.5, exactly
    scaled *= 255
    return np.rint(scaled, out=scaled).astype(np.uint8)


def from_denseflow(q: U8, bound: float = 20.0) -> F32:
    """Bytes in the convention of denseflow and mmaction2 → displacements in pixels."""
    import numpy as np

    _check_bytes(q)
    check_bound(bound)
    return (np.arange(256) * (2 * bound / 255) - bound).astype(np.float32)[q]


def _clip(flow: F32, bound: float) -> F32:
    import numpy as np

    check_bound(bound)
    if not isinstance(flow, np.ndarray) or flow.dtype != np.float32:
        raise FlowError(
            f"flow must be a float32 array, got {getattr(flow, 'dtype', type(flow).__name__)}"
        )
    clipped = np.clip(flow, np.float32(-bound), np.float32(bound))
    if np.isnan(clipped.sum()):  # within ±bound a sum overflows no more; only NaN gives NaN
        raise FlowError(f"flow must hold no NaN, got {np.isnan(flow).sum()} of {flow.size} values")
    return clipped


def check_bound(bound: float) -> None:
    """Raise FlowError unless ``bound`` is a displacement in pixels that flow can be cut at."""
    if not 0 < bound < 1e30:
        raise FlowError(f"bound must be positive pixels, got {bound}")


def _check_bytes(q: U8) -> None:
    import numpy as np

    if not isinstance(q, np.ndarray) or q.dtype != np.uint8:
        raise FlowError(
            f"quantized flow must be a uint8 array, got {getattr(q, 'dtype', type(q).__name__)}"
        )

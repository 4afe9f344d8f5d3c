"""Middlebury's .flo files: one flow field, exactly.

    float32 202021.25 (the tag, "PIEH" in ASCII) · int32 width · int32 height ·
    u, v as float32 for each pixel, row by row; all little-endian

A component of 1e9 or more marks a pixel whose flow is unknown.
"""

from pathlib import Path

import numpy as np
import numpy.typing as npt

from flowkit.errors import FlowError

TAG = b"PIEH"
HEADER = 12  # bytes
LONGEST_SIDE = 99_999  # pixels, the limit of Middlebury's own reader


def read_flo(path: str | Path) -> npt.NDArray[np.float32]:
    """Read a .flo file → (H, W, 2) float32, displacement (x, y) in pixels.

    Raises FlowError, naming the file, for a wrong tag, a senseless size, and for bytes
    that are missing or too many.
    """
    data = Path(path).read_bytes()
    if data[:4] != TAG:
        raise FlowError(f"{path}: not a .flo file: expected the tag {TAG!r}, got {data[:4]!r}")
    if len(data) < HEADER:
        raise FlowError(
            f"{path}: truncated .flo file: the header has {HEADER} bytes, the file {len(data)}"
        )
    width, height = (int(side) for side in np.frombuffer(data, "<i4", 2, offset=4))
    if not (1 <= width <= LONGEST_SIDE and 1 <= height <= LONGEST_SIDE):
        raise FlowError(
            f"{path}: sides must lie in 1..{LONGEST_SIDE}, the header says {width}×{height}"
        )
    expected = HEADER + width * height * 8
    if len(data) != expected:
        what = "truncated" if len(data) < expected else "trailing bytes in"
        raise FlowError(
            f"{path}: {what} .flo file: {width}×{height} takes {expected} bytes, got {len(data)}"
        )
    values = np.frombuffer(data, "<f4", offset=HEADER)
    return values.reshape(height, width, 2).astype(np.float32)


def write_flo(path: str | Path, flow: npt.NDArray[np.float32]) -> None:
    """Write a flow field, (H, W, 2) float32, bit for bit. Raises FlowError for any other array."""
    if (
        not isinstance(flow, np.ndarray)
        or flow.dtype != np.float32
        or flow.ndim != 3
        or flow.shape[2] != 2
    ):
        got = f"{flow.dtype} {flow.shape}" if isinstance(flow, np.ndarray) else type(flow).__name__
        raise FlowError(f"a flow field must be float32 of shape (H, W, 2), got {got}")
    height, width, _ = flow.shape
    if not (1 <= width <= LONGEST_SIDE and 1 <= height <= LONGEST_SIDE):
        raise FlowError(
            f"sides of a flow field must lie in 1..{LONGEST_SIDE}, got {width}×{height}"
        )
    header = TAG + np.array([width, height], "<i4").tobytes()
    Path(path).write_bytes(header + flow.astype("<f4").tobytes())

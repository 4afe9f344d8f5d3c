"""Read and write Middlebury's .flo files, which hold one flow field without loss.

    float32 202021.25 (the tag, "PIEH" in ASCII) · int32 width · int32 height ·
    u, v as float32 for each pixel, row by row; all little-endian

A component of 1e9 or more means that the flow of the pixel is unknown. Such values are read and
written unchanged. `flow_to_color` draws these pixels black. Code that computes with the flow, such
as the measurement of an error, must leave them out itself; `flowkit.flow.color.UNKNOWN` is the
limit.
"""

from pathlib import Path

import numpy as np
import numpy.typing as npt

from flowkit.errors import FlowError

TAG = b"PIEH"
HEADER_BYTES = 12
PIXEL_BYTES = 8
"""Two float32 components."""
MAX_SIDE = 99_999
"""Longest side in pixels that Middlebury's own reader accepts."""


def read_flo(path: str | Path) -> npt.NDArray[np.float32]:
    """Read a .flo file.

    Args:
        path: The file.

    Returns:
        float32 (H, W, 2), displacement (x, y) in pixels; 1e9 or more where it is unknown.

    Raises:
        FlowError: The tag is wrong, a side is out of range, or the file is shorter or longer than
            its header says; the message names the file.
    """
    data = Path(path).read_bytes()
    if data[:4] != TAG:
        raise FlowError(f"{path}: not a .flo file: expected the tag {TAG!r}, got {data[:4]!r}")
    if len(data) < HEADER_BYTES:
        raise FlowError(
            f"{path}: truncated .flo file: the header has {HEADER_BYTES} bytes, "
            f"the file {len(data)}"
        )
    width, height = (int(side) for side in np.frombuffer(data, "<i4", 2, offset=4))
    if not (1 <= width <= MAX_SIDE and 1 <= height <= MAX_SIDE):
        raise FlowError(
            f"{path}: sides must be from 1 to {MAX_SIDE}, the header says {width}×{height}"
        )
    expected = HEADER_BYTES + width * height * PIXEL_BYTES
    if len(data) != expected:
        problem = "truncated .flo file" if len(data) < expected else ".flo file with extra bytes"
        raise FlowError(
            f"{path}: {problem}: a field of {width}×{height} has {expected} bytes, got {len(data)}"
        )
    values = np.frombuffer(data, "<f4", offset=HEADER_BYTES)
    return values.reshape(height, width, 2).astype(np.float32)


def write_flo(path: str | Path, flow: npt.NDArray[np.float32]) -> None:
    """Write a flow field without loss.

    Args:
        path: The file.
        flow: float32 (H, W, 2), displacement (x, y) in pixels.

    Raises:
        FlowError: The array has another dtype or shape.
    """
    if (
        not isinstance(flow, np.ndarray)
        or flow.dtype != np.float32
        or flow.ndim != 3
        or flow.shape[2] != 2
    ):
        got = f"{flow.dtype} {flow.shape}" if isinstance(flow, np.ndarray) else type(flow).__name__
        raise FlowError(f"a flow field must be float32 of shape (H, W, 2), got {got}")
    height, width, _ = flow.shape
    if not (1 <= width <= MAX_SIDE and 1 <= height <= MAX_SIDE):
        raise FlowError(
            f"sides of a flow field must be from 1 to {MAX_SIDE} pixels, got {width}×{height}"
        )
    header = TAG + np.array([width, height], "<i4").tobytes()
    Path(path).write_bytes(header + flow.astype("<f4").tobytes())

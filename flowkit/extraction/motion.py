"""Measure how much the picture of a video moves, from its quantized flow.

The pairs (x, y) of bytes are counted: they are 16-bit numbers, so the lengths of the 65,536
displacements are computed only once in a process. Every `ROW_STRIDE`-th row of pixels is counted,
which leaves enough of them and costs a quarter of the time.
"""

from functools import cache

import numpy as np
import numpy.typing as npt

from flowkit.store import Motion

ROW_STRIDE = 4
"""Rows of pixels from one that is counted to the next."""
CODES = 1 << 16
"""Number of pairs of bytes."""
P95_SHARE = 0.95
"""Share of the displacements that are at most as long as `Motion.p95`."""


class MotionHistogram:
    """Counts the displacements of the flow of one video."""

    def __init__(self) -> None:
        self._counts = np.zeros(CODES, np.int64)

    def add(self, flow: npt.NDArray[np.uint8]) -> None:
        """Count the displacements of flow fields.

        Args:
            flow: uint8 (N, H, W, 2), quantized as a store holds it.
        """
        rows = np.ascontiguousarray(flow[:, ::ROW_STRIDE])
        self._counts += np.bincount(rows.view(np.uint16).ravel(), minlength=CODES)

    def summarize(self, bound: float) -> Motion | None:
        """Compute the mean and the percentile of the lengths, rounded to 0.0001 pixels.

        Args:
            bound: Displacement in pixels that the byte 255 stands for.

        Returns:
            The lengths in pixels; None if nothing was counted.
        """
        total = int(self._counts.sum())
        if not total:
            return None
        order, lengths = sort_lengths()
        counts = self._counts[order]
        mean = float(counts @ lengths) / total
        rank = int(np.searchsorted(np.cumsum(counts), P95_SHARE * total))
        return Motion(round(mean * bound, 4), round(float(lengths[rank]) * bound, 4))


@cache
def sort_lengths() -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """Sort the pairs of bytes by the length of their displacement.

    Returns:
        (65536,) pairs in ascending order, and (65536,) their lengths as fractions of the bound.
    """
    codes = np.arange(CODES, dtype=np.uint16)
    # Levels are bytes minus 128; the byte 0 is read as 1 (flowkit/flow/quantization.py).
    levels = np.maximum(codes.view(np.uint8).reshape(-1, 2).astype(np.float64), 1) - 128
    lengths = np.hypot(levels[:, 0], levels[:, 1]) / 127
    order = np.argsort(lengths, kind="stable")
    return order, lengths[order]

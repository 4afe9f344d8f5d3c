"""Convert the flow bytes of a store to the quantization of denseflow and mmaction2.

Both tools quantize flow as q = cvRound(255·(v + B)/2B), where v is the displacement in pixels, B
the bound, and zero is 128.
"""

import numpy as np

from flowkit.errors import UsageError
from flowkit.flow.quantization import dequantize, to_denseflow


class FlowConversion:
    """The tables that convert flow values.

    Args:
        store_bound: Bound of the flow in the store, in pixels.
        bound: Bound of the written flow, in pixels.

    Attributes:
        stored_pixels: (256,) float32: displacement in pixels of each byte in the store.
        table: (256,) uint8: byte to write for each byte in the store.
        written_pixels: (256,) float32: displacement in pixels of each written byte.

    Raises:
        UsageError: If the bound is not positive.
    """

    def __init__(self, store_bound: float, bound: float) -> None:
        """Compute the tables."""
        if not bound > 0:
            raise UsageError(f"flow bound must be positive pixels, got {bound}")
        values = np.arange(256, dtype=np.uint8)
        self.stored_pixels = dequantize(values, store_bound)
        self.table = to_denseflow(self.stored_pixels, bound)
        self.written_pixels = values.astype(np.float32) * (2 * bound / 255) - bound

"""Plan how the Triton solver divides its work and its memory, for frames of a given size."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from flowkit.errors import FlowError
from flowkit.flow.backends import is_interpreted
from flowkit.flow.gpu.iterate import GROUP
from flowkit.flow.gpu.state import FROZEN, MOVING, SPAN, count_blocks
from flowkit.flow.params import TVL1Params
from flowkit.flow.pyramid import compute_level_sizes

WARPS = 8
"""Warps of a Triton program; each warp computes one strip of columns (iterate.py)."""
TUNING = {"num_warps": WARPS, "num_stages": 1, "maxnreg": 128, "enable_fp_fusion": True}
"""Triton's options for `solve`; with 128 registers per thread, two programs fit on a
multiprocessor.
"""
DEPTH = 4
"""Iterations that one sweep, a pass over the rows of the image, computes (iterate.py)."""

# Strips done at a time, and pixels of a program of build_level. The interpreter has no warps, and
# its time depends on the number of operations, not on their size.
ITEMS, BLOCK = (32, 8192) if is_interpreted() else (WARPS, 256)


@dataclass(frozen=True)
class PyramidLayout:
    """Sizes and offsets of a pyramid and of a pair's state; level 0 is the full image."""

    table: npt.NDArray[np.int32]
    """int32 (levels, 5): height, width, blocks of SPAN pixels in a row, chunks of rows that a sweep
    is divided into, and offset of the level in a frame's pyramid.
    """
    pyramid_size: int
    """Number of floats in the pyramid of a frame."""
    moving_size: int
    """Number of floats in one of the two copies of a pair's moving planes (gpu/state.py)."""
    frozen_size: int
    """Number of floats in a pair's frozen planes (gpu/state.py)."""

    @property
    def bytes_per_pair(self) -> int:
        """Memory of a pair of uint8 frames in bytes, at most; pairs may share frames."""
        floats = 2 * self.pyramid_size + 2 * self.moving_size + self.frozen_size
        return 4 * floats + 12 * self.area  # two frames, 2 bytes a pixel, and their flow, 8 or less

    @property
    def area(self) -> int:
        """Number of pixels of the full image."""
        return int(self.table[0, 0]) * int(self.table[0, 1])


def plan_levels(height: int, width: int, params: TVL1Params) -> PyramidLayout:
    """Compute the layout for frames of a given size.

    Args:
        height: Height of the frames in pixels.
        width: Width of the frames in pixels.
        params: Parameters of TV-L1.

    Returns:
        The layout.

    Raises:
        FlowError: The frames are too large for 32-bit offsets.
    """
    rows, offset = [], 0
    for h, w in compute_level_sizes(height, width, params):
        rows.append((h, w, count_blocks(w), choose_chunks(h, w), offset))
        offset += 3 * h * w
    span = height * count_blocks(width) * SPAN.value
    if max(offset, MOVING.value * span) >= 1 << 31:  # offsets within a pair are 32-bit
        raise FlowError(
            f"frames of {width}×{height} are too large for the triton backend, which supports "
            "at most 250 million pixels with the pyramids of the presets, and fewer if scale_step "
            "is nearer to 1. Use --backend numba"
        )
    return PyramidLayout(np.array(rows, np.int32), offset, MOVING.value * span, FROZEN.value * span)


def choose_chunks(height: int, width: int) -> int:
    """Choose the number of chunks of rows with which a sweep has the fewest steps.

    Args:
        height: Height of the image in pixels.
        width: Width of the image in pixels.

    Returns:
        The number of chunks.
    """
    counts = range(1, min(height, 4 * ITEMS) + 1)
    return min(counts, key=lambda chunks: count_steps(height, width, chunks))


def count_steps(height: int, width: int, chunks: int) -> int:
    """Count the steps of a sweep.

    A strip of one chunk of rows has one step for each row, and 2·DEPTH more. ITEMS strips are
    computed at a time.

    Args:
        height: Height of the image in pixels.
        width: Width of the image in pixels.
        chunks: Number of chunks of rows.

    Returns:
        The number of steps.
    """
    span: int = SPAN.value
    group: int = GROUP.value  # strips begin at multiples of this many pixels
    strips = 1 + -(-max(width - span, 0) // ((span - 2 * DEPTH) // group * group))
    return -(-strips * chunks // ITEMS) * (-(-height // chunks) + 2 * DEPTH)

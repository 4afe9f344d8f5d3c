"""Define what a learned method of optical flow consists of."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

U8 = npt.NDArray[np.uint8]
F32 = npt.NDArray[np.float32]
Weights = Mapping[str, Any]
"""Tensors by name, on the CPU."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LearnedMethod:
    """How a network is loaded and computes flow, and what frames it accepts.

    The functions are called only on a machine on which ``find_obstacle`` returned None, and
    ``compute`` never from two threads at once.
    """

    load: Callable[[Weights, str], Any]
    """Builds the network, as ``load(weights, device)`` with the device ``cpu`` or ``cuda``. Raises
    `WeightsMismatchError` if the weights are not those of this network.
    """
    compute: Callable[[Any, U8, U8], F32]
    """Computes flow, as ``compute(network, frames0, frames1)``: two batches of RGB frames, uint8
    (N, H, W, 3), become displacements (x, y) in pixels from the first to the second, float32
    (N, H, W, 2).
    """
    weights_file: str
    """Name of the weight file in PyTorch's cache that is used if the user names no file."""
    find_obstacle: Callable[[], str | None]
    """Returns why the method cannot run on this machine, with what to do; None if it can."""
    download_command: str = ""
    """Command that downloads the weight file into PyTorch's cache, on a machine with a network."""
    estimate_bytes: Callable[[int, int], int] = lambda height, width: 1 << 10
    """Estimates the bytes of memory that one pair of frames needs, as
    ``estimate_bytes(height, width)`` of the padded frames in pixels. Default: no estimate, so that
    memory does not limit a batch.
    """
    multiple: int = 1
    """Height and width of the frames that ``compute`` gets are multiples of this number."""
    min_side: int = 1
    """Smallest height and width of the frames that ``compute`` gets, in pixels."""


class WeightsMismatchError(Exception):
    """Weights are not those of the network; the message says which tensor differs, and how.

    Args:
        reason: The difference in one line.
    """

"""Define a decoded frame, and what extraction needs of a reader of frames."""

from collections.abc import Iterator
from typing import NamedTuple, Protocol, Self

import numpy as np
import numpy.typing as npt

RGBFrame = npt.NDArray[np.uint8]
"""RGB pixels, uint8 (height, width, 3), C-contiguous."""


class VideoFrame(NamedTuple):
    """A frame as extraction reads it."""

    pixels: RGBFrame
    """RGB, uint8 (height, width, 3)."""
    time: int | None
    """Presentation time in microseconds from that of the first frame; None if it is unknown."""
    jpeg: bytes | None = None
    """The frame as the JPEG file that it was read from, if the store is to keep its bytes."""


class FrameReader(Protocol):
    """A reader of the frames of one video, in one pass and constant memory."""

    width: int
    """Width of the frames in pixels."""
    height: int
    """Height of the frames in pixels."""
    frame_rate: float
    """Frames per second; the average if it varies."""
    warnings: list[str]
    """One line for each problem that was noticed so far."""

    def read_frames(self) -> Iterator[VideoFrame]:
        """Yield all frames in presentation order; may be called once."""

    def __enter__(self) -> Self:
        """Return the reader itself."""

    def __exit__(self, *exception: object) -> None:
        """Close the source."""

"""Rotate and mirror images as the display matrix of the video file requires.

ISO/IEC 14496-12 §8.5.2 (``matrix`` of the track header). The matrix maps a pixel (x, y), y
downward, to (a·x + c·y, b·x + d·y); a, b, c, d are 16.16 fixed-point numbers. The file has them in
the order a, b, u, c, d, …, and u is not used here. Only the signs of the others count, and which of
them are 0: a scale is ignored, and the image keeps its number of pixels.
"""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from flowkit.decode.container import read_side_data


@dataclass(frozen=True)
class Orientation:
    """One of the eight orientations of an image: transpose first, then flip."""

    transpose: bool = False
    """Whether to exchange rows and columns, before the flips."""
    flip_x: bool = False
    """Whether to exchange left and right."""
    flip_y: bool = False
    """Whether to exchange top and bottom."""
    rotation: int = 0
    """Rotation in degrees clockwise: 0, 90, 180 or 270. If the image is also mirrored, this is the
    direction in which its left-to-right axis points afterwards.
    """

    @classmethod
    def from_frame(cls, frame: Any) -> Self | None:
        """Read the orientation from the display matrix of a decoded frame.

        Args:
            frame: A PyAV frame.

        Returns:
            The orientation; None if the matrix is none of the eight orientations, such as a
            rotation by another angle or a shear.
        """
        matrix = read_side_data(frame, "DISPLAYMATRIX")
        if matrix is None:
            return cls()
        a, b, _u, c, d = (round(int(v) / 65536, 3) for v in np.frombuffer(matrix, np.int32)[:5])
        rotation = round(float(np.degrees(np.arctan2(b, a)))) % 360
        if a == d == 0 and b and c:
            return cls(transpose=True, flip_x=c < 0, flip_y=b < 0, rotation=rotation)
        if b == c == 0 and a and d:
            return cls(flip_x=a < 0, flip_y=d < 0, rotation=rotation)
        return None

    def apply(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Orient an image without copying it.

        Args:
            image: uint8 (H, W, 3).

        Returns:
            A view of it, uint8 (H, W, 3) or (W, H, 3).
        """
        if self.transpose:
            image = image.transpose(1, 0, 2)
        return image[:: -1 if self.flip_y else 1, :: -1 if self.flip_x else 1]

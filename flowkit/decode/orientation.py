"""Rotate and mirror decoded frames as the display matrix of the file says.

ISO/IEC 14496-12 §8.5.2 (``matrix`` of the track header). The matrix maps a pixel (x, y), y
downward, to (a·x + c·y, b·x + d·y); a, b, c, d are 16.16 fixed-point numbers.
"""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from flowkit.decode.container import read_side_data


@dataclass(frozen=True)
class Orientation:
    """One of the eight orientations of an image: transpose first, then flip."""

    swap: bool = False
    """Whether to exchange rows and columns."""
    flip_x: bool = False
    """Whether to mirror left and right."""
    flip_y: bool = False
    """Whether to mirror top and bottom."""
    rotation: int = 0
    """Rotation that the matrix makes, in degrees clockwise: 0, 90, 180 or 270."""

    @classmethod
    def from_frame(cls, frame: Any) -> Self | None:
        """Read the orientation from the display matrix of a decoded frame.

        Args:
            frame: A PyAV frame.

        Returns:
            The orientation; None if the rotation is not a multiple of 90°.
        """
        matrix = read_side_data(frame, "DISPLAYMATRIX")
        if matrix is None:
            return cls()
        a, b, _, c, d = (round(int(v) / 65536, 3) for v in np.frombuffer(matrix, np.int32)[:5])
        rotation = round(float(np.degrees(np.arctan2(b, a)))) % 360
        if a == d == 0 and b and c:
            return cls(swap=True, flip_x=c < 0, flip_y=b < 0, rotation=rotation)
        if b == c == 0 and a and d:
            return cls(flip_x=a < 0, flip_y=d < 0, rotation=rotation)
        return None

    def apply(self, picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Orient an image without copying it.

        Args:
            picture: uint8 (H, W, 3).

        Returns:
            A view of it, uint8 (H, W, 3) or (W, H, 3).
        """
        if self.swap:
            picture = picture.transpose(1, 0, 2)
        return picture[:: -1 if self.flip_y else 1, :: -1 if self.flip_x else 1]

"""The display matrix: how a decoded picture is turned and mirrored to be looked at.

ISO/IEC 14496-12 §8.5.2 (``matrix`` of the track header). It maps a pixel (x, y), y downward,
to (a·x + c·y, b·x + d·y); a, b, c, d are 16.16 fixed point.
"""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from flowkit.decode.container import read_side_data


@dataclass(frozen=True)
class Orientation:
    """One of the eight ways to lay a picture: transpose first, then flip.

    rotation: degrees clockwise, 0, 90, 180 or 270, of the turn that the matrix makes.
    """

    swap: bool = False
    flip_x: bool = False
    flip_y: bool = False
    rotation: int = 0

    @classmethod
    def of(cls, frame: Any) -> Self | None:
        """From the display matrix of a PyAV frame; None where it is no multiple of 90°."""
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
        """A view of ``picture`` (H, W, 3), turned."""
        if self.swap:
            picture = picture.transpose(1, 0, 2)
        return picture[:: -1 if self.flip_y else 1, :: -1 if self.flip_x else 1]

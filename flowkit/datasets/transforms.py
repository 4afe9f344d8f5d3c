"""Crops and flips: one draw for each sample, applied to RGB and flow alike.

Wang et al., "Temporal Segment Networks", ECCV 2016, §3.2: corner cropping and scale jittering.
A crop is a box of the stored image that is resized to the network's input and perhaps mirrored.

Images are uint8 throughout: RGB as it is, flow as the bytes q of the store, 128 for no motion
(flow/quantize.py). **Mirroring negates the x of flow**: q becomes 256 − q, after the resize, so
that a mirrored sample is exactly the mirror image of the plain one. y is left alone. Byte 0,
which only JPEG can produce, is read as 1, as everywhere.

Resizing a crop leaves the lengths of flow vectors as they are, in pixels of the stored frame,
as TSN and its successors do: a network sees motion at the scale that it was measured at.

"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

import cv2
import numpy as np
import numpy.typing as npt

U8 = npt.NDArray[np.uint8]

RGB_SCALES = (1.0, 0.875, 0.75, 0.66)
FLOW_SCALES = (1.0, 0.875, 0.75)
SNAP = 3  # pixels: a crop this near to the input size is taken at that size, unresized


@dataclass(frozen=True, slots=True)
class Crop:
    """A box of an image in pixels, and whether it is mirrored left to right."""

    top: int
    left: int
    height: int
    width: int
    mirrored: bool = False


class Crops(Protocol):
    """How crops are chosen for an image of (height, width); all come out as ``size`` squares."""

    @property
    def size(self) -> int: ...

    def __call__(self, height: int, width: int, random: np.random.Generator) -> list[Crop]: ...


def apply_crop(images: list[U8], crop: Crop, out: U8, flow: bool = False) -> None:
    """Crop, resize and mirror images of one size into ``out``.

    Parameters
    ----------
    images: (H, W) or (H, W, 3); of flow, x and y in turn.
    out: (channels, height, width) uint8, the images' channels one after another.
    flow: whether mirroring negates every other image.
    """
    height, width = out.shape[1:]
    ones = make_ones(height, width) if flow else None
    place = 0
    for number, image in enumerate(images):
        box = image[crop.top : crop.top + crop.height, crop.left : crop.left + crop.width]
        if box.shape[:2] != (height, width):
            box = cv2.resize(box, (width, height), interpolation=cv2.INTER_LINEAR)
        if crop.mirrored:
            box = cv2.flip(box, 1)
        if box.ndim == 3:
            cv2.split(np.ascontiguousarray(box), list(out[place : place + 3]))
            place += 3
            continue
        plane = out[place]
        place += 1
        if ones is None:
            plane[...] = box
            continue
        np.maximum(box, ones, out=plane)
        if crop.mirrored and number % 2 == 0:
            np.negative(plane, out=plane)  # 256 − q, since bytes wrap around


@lru_cache(maxsize=8)
def make_ones(height: int, width: int) -> U8:
    """A plane of ones: NumPy's maximum with an array is six times as fast as with a number."""
    return np.ones((height, width), np.uint8)


# --- one crop, for training ---------------------------------------------------------------------


@dataclass(frozen=True)
class MultiScaleCrop:
    """TSN's: a box with sides among ``scales`` of the shorter side, at one of 13 places.

    The two sides are at most one step of ``scales`` apart. Half of the crops are mirrored.
    """

    scales: tuple[float, ...] = RGB_SCALES
    size: int = 224
    mirror: bool = True

    def __call__(self, height: int, width: int, random: np.random.Generator) -> list[Crop]:
        sides = [max(1, int(min(height, width) * scale)) for scale in self.scales]
        sides = [self.size if abs(side - self.size) < SNAP else side for side in sides]
        pairs = [
            (h, w) for i, h in enumerate(sides) for j, w in enumerate(sides) if abs(i - j) <= 1
        ]
        h, w = pairs[random.integers(len(pairs))]
        h, w = min(h, height), min(w, width)
        places = list_places(height - h, width - w)
        top, left = places[random.integers(len(places))]
        return [Crop(top, left, h, w, self.mirror and bool(random.integers(2)))]


def list_places(spare_height: int, spare_width: int) -> list[tuple[int, int]]:
    """TSN's 13 places for a box: corners, centre, middles of the sides, and between them."""
    y, x = spare_height // 4, spare_width // 4
    corners = [(0, 0), (0, 4 * x), (4 * y, 0), (4 * y, 4 * x), (2 * y, 2 * x)]
    sides = [(0, 2 * x), (4 * y, 2 * x), (2 * y, 0), (2 * y, 4 * x)]
    quarters = [(y, x), (y, 3 * x), (3 * y, x), (3 * y, 3 * x)]
    return corners + sides + quarters


@dataclass(frozen=True)
class JitteredCrop:
    """A square of ``size`` from the image with its shorter side scaled into ``sides``."""

    sides: tuple[int, int] = (256, 320)
    size: int = 224
    mirror: bool = True

    def __call__(self, height: int, width: int, random: np.random.Generator) -> list[Crop]:
        shorter = int(random.integers(self.sides[0], self.sides[1] + 1))
        side = min(round(self.size * min(height, width) / shorter), height, width)
        top = int(random.integers(height - side + 1))
        left = int(random.integers(width - side + 1))
        return [Crop(top, left, side, side, self.mirror and bool(random.integers(2)))]


@dataclass(frozen=True)
class RandomCrop:
    """A square of ``size`` (the shorter side where that is less) anywhere."""

    size: int = 224
    mirror: bool = True

    def __call__(self, height: int, width: int, random: np.random.Generator) -> list[Crop]:
        side = min(self.size, height, width)
        top = int(random.integers(height - side + 1))
        left = int(random.integers(width - side + 1))
        return [Crop(top, left, side, side, self.mirror and bool(random.integers(2)))]


# --- fixed crops, for testing --------------------------------------------------------------------


@dataclass(frozen=True)
class CentreCrop:
    """The square of ``size`` in the middle (of the shorter side where that is less)."""

    size: int = 224

    def __call__(self, height: int, width: int, random: np.random.Generator) -> list[Crop]:
        side = min(self.size, height, width)
        return [Crop((height - side) // 2, (width - side) // 2, side, side)]


@dataclass(frozen=True)
class TenCrop:
    """Corners and centre of ``size``, then the same mirrored."""

    size: int = 224

    def __call__(self, height: int, width: int, random: np.random.Generator) -> list[Crop]:
        side = min(self.size, height, width)
        y, x = height - side, width - side
        places = [(0, 0), (0, x), (y, 0), (y, x), (y // 2, x // 2)]
        return [Crop(top, left, side, side, m) for m in (False, True) for top, left in places]


@dataclass(frozen=True)
class ThreeCrop:
    """Three squares along the longer side: both ends and the middle; ``size`` as they come out."""

    size: int = 256

    def __call__(self, height: int, width: int, random: np.random.Generator) -> list[Crop]:
        side = min(height, width)
        y, x = height - side, width - side
        return [Crop(y * i // 2, x * i // 2, side, side) for i in range(3)]

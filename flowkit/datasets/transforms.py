"""Crop and mirror images, with the same crops for all RGB and flow images of a sample.

Wang et al., "Temporal Segment Networks", ECCV 2016, §3.2: corner cropping and scale jittering.
A `Crop` is a box of the stored image, which is resized to the input size of the network and
optionally mirrored. A `CropStrategy` chooses one or more crops of an image, at random or fixed.

All images are uint8: RGB frames, or the x or y component of a flow field as values q of the store,
where 128 is no motion (see flow/quantization.py). **Mirroring negates the x component of flow**: q
becomes 256 − q after the resize, so that a mirrored sample is exactly the mirror image of the plain
one. The y component does not change. The value 0, which only JPEG compression can cause, is changed
to 1, because its negative 256 is not a byte.

Resizing a crop does not rescale flow vectors: they stay in pixels of the stored frame, as in TSN
and its successors, so a network sees motion at the scale at which it was measured.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

import cv2
import numpy as np
import numpy.typing as npt

U8 = npt.NDArray[np.uint8]

RGB_SCALES = (1.0, 0.875, 0.75, 0.66)
"""Sides of multi-scale RGB crops, relative to the shorter side of the image."""
FLOW_SCALES = (1.0, 0.875, 0.75)
"""Sides of multi-scale flow crops, relative to the shorter side of the image."""
SNAP_DISTANCE = 3
"""If the side of a multi-scale crop differs from the input size by fewer pixels than this, the
input size is used instead: a crop of which both sides do need not be resized.
"""


@dataclass(frozen=True, slots=True)
class Crop:
    """A box of an image, in pixels."""

    top: int
    """First row of the box."""
    left: int
    """First column of the box."""
    height: int
    """Height of the box."""
    width: int
    """Width of the box."""
    mirrored: bool = False
    """Whether the crop is mirrored left to right."""


class CropStrategy(Protocol):
    """A way to choose the crops of an image, at random for training or fixed for testing."""

    @property
    def size(self) -> int:
        """Height and width of every crop after resizing, in pixels."""

    def __call__(self, height: int, width: int, random: np.random.Generator) -> list[Crop]:
        """Choose the crops of one image.

        Args:
            height: Height of the image in pixels.
            width: Width of the image in pixels.
            random: Generator of the sample; strategies with fixed crops do not use it.

        Returns:
            One or more crops: the same number for all images.
        """


def apply_crop(images: list[U8], crop: Crop, out: U8, flow: bool = False) -> None:
    """Crop, resize and mirror images of one size into an array.

    Args:
        images: (H, W) or (H, W, 3) uint8 images; for flow, x and y components alternately.
        crop: The box, and whether to mirror it.
        out: (channels, height, width) uint8 array that receives the channels of all images.
        flow: Whether the images are flow, so that mirroring negates every x component.
    """
    height, width = out.shape[1:]
    ones = make_plane_of_ones(height, width) if flow else None
    channel = 0
    for image_index, image in enumerate(images):
        box = image[crop.top : crop.top + crop.height, crop.left : crop.left + crop.width]
        if box.shape[:2] != (height, width):
            box = cv2.resize(box, (width, height), interpolation=cv2.INTER_LINEAR)
        if crop.mirrored:
            box = cv2.flip(box, 1)
        if box.ndim == 3:
            cv2.split(np.ascontiguousarray(box), list(out[channel : channel + 3]))
            channel += 3
            continue
        plane = out[channel]
        channel += 1
        if ones is None:
            plane[...] = box
            continue
        np.maximum(box, ones, out=plane)
        if crop.mirrored and image_index % 2 == 0:
            np.negative(plane, out=plane)  # 256 − q, since bytes wrap around


@lru_cache(maxsize=8)
def make_plane_of_ones(height: int, width: int) -> U8:
    """Create a plane of ones, which is cached.

    NumPy's maximum of two arrays is six times as fast as that of an array and a number.

    Args:
        height: Height in pixels.
        width: Width in pixels.

    Returns:
        (height, width) uint8 ones.
    """
    return np.ones((height, width), np.uint8)


# --- strategies for training: one random crop ---------------------------------------------------


@dataclass(frozen=True)
class MultiScaleCrop:
    """TSN's training crop: a box of random height and width at one of 13 positions.

    Height and width are drawn from ``scales`` and are at most one step of ``scales`` apart.

    Example:
        >>> MultiScaleCrop()(256, 340, np.random.default_rng(0))
        [Crop(top=44, left=148, height=168, width=192, mirrored=True)]
    """

    scales: tuple[float, ...] = RGB_SCALES
    """Possible sides of the box, relative to the shorter side of the image, in (0, 1]."""
    size: int = 224
    """Height and width after resizing, in pixels."""
    mirror: bool = True
    """Whether to mirror half of the crops, at random."""

    def __call__(self, height: int, width: int, random: np.random.Generator) -> list[Crop]:
        """Draw one box."""
        sides = [max(1, int(min(height, width) * scale)) for scale in self.scales]
        sides = [self.size if abs(side - self.size) < SNAP_DISTANCE else side for side in sides]
        box_sizes = [
            (h, w) for i, h in enumerate(sides) for j, w in enumerate(sides) if abs(i - j) <= 1
        ]
        h, w = box_sizes[random.integers(len(box_sizes))]
        h, w = min(h, height), min(w, width)
        positions = list_crop_positions(height - h, width - w)
        top, left = positions[random.integers(len(positions))]
        return [Crop(top, left, h, w, self.mirror and bool(random.integers(2)))]


def list_crop_positions(spare_height: int, spare_width: int) -> list[tuple[int, int]]:
    """List TSN's 13 positions of a box: at the corners, the centre, the edges, and the quarters.

    Args:
        spare_height: Height of the image minus that of the box, in pixels.
        spare_width: Width of the image minus that of the box, in pixels.

    Returns:
        The 13 pairs of first row and first column.
    """
    y, x = spare_height // 4, spare_width // 4
    corners_and_centre = [(0, 0), (0, 4 * x), (4 * y, 0), (4 * y, 4 * x), (2 * y, 2 * x)]
    edge_middles = [(0, 2 * x), (4 * y, 2 * x), (2 * y, 0), (2 * y, 4 * x)]
    quarters = [(y, x), (y, 3 * x), (3 * y, x), (3 * y, 3 * x)]
    return corners_and_centre + edge_middles + quarters


@dataclass(frozen=True)
class JitteredCrop:
    """A square at a random position of the image, after the image is scaled to a random size.

    The same pixels, up to the rounding of side and position, are obtained from the unscaled image:
    the square is cut out of it with a side that is divided by the scale, and is then resized to
    ``size``.
    """

    shorter_sides: tuple[int, int] = (256, 320)
    """Smallest and largest length of the image's shorter side after scaling, in pixels."""
    size: int = 224
    """Height and width of the crop after scaling, in pixels."""
    mirror: bool = True
    """Whether to mirror half of the crops, at random."""

    def __call__(self, height: int, width: int, random: np.random.Generator) -> list[Crop]:
        """Draw one square."""
        scaled_side = int(random.integers(self.shorter_sides[0], self.shorter_sides[1] + 1))
        side = min(round(self.size * min(height, width) / scaled_side), height, width)
        return [draw_square(height, width, side, self.mirror, random)]


@dataclass(frozen=True)
class RandomCrop:
    """A square of ``size`` pixels at a random position, without scaling.

    If a side of the image is smaller, the square has that side, and is enlarged to ``size``.
    """

    size: int = 224
    """Height and width of the crop, in pixels."""
    mirror: bool = True
    """Whether to mirror half of the crops, at random."""

    def __call__(self, height: int, width: int, random: np.random.Generator) -> list[Crop]:
        """Draw one square."""
        side = min(self.size, height, width)
        return [draw_square(height, width, side, self.mirror, random)]


def draw_square(
    height: int, width: int, side: int, mirror: bool, random: np.random.Generator
) -> Crop:
    """Draw the position of a square in an image, and whether it is mirrored if ``mirror``."""
    top = int(random.integers(height - side + 1))
    left = int(random.integers(width - side + 1))
    return Crop(top, left, side, side, mirror and bool(random.integers(2)))


# --- strategies for testing: fixed crops ---------------------------------------------------------


@dataclass(frozen=True)
class CentreCrop:
    """The square in the middle of the image; for small images, see `RandomCrop`."""

    size: int = 224
    """Height and width of the crop, in pixels."""

    def __call__(self, height: int, width: int, random: np.random.Generator) -> list[Crop]:
        """Return the middle square."""
        side = min(self.size, height, width)
        return [Crop((height - side) // 2, (width - side) // 2, side, side)]


@dataclass(frozen=True)
class TenCrop:
    """Squares at the four corners and in the middle, then the same five mirrored.

    For images that are smaller than ``size``, see `RandomCrop`.
    """

    size: int = 224
    """Height and width of the crops, in pixels."""

    def __call__(self, height: int, width: int, random: np.random.Generator) -> list[Crop]:
        """Return the ten squares."""
        side = min(self.size, height, width)
        y, x = height - side, width - side
        positions = [(0, 0), (0, x), (y, 0), (y, x), (y // 2, x // 2)]
        return [Crop(top, left, side, side, m) for m in (False, True) for top, left in positions]


@dataclass(frozen=True)
class ThreeCrop:
    """Three squares along the longer side: at its start, middle and end.

    Their side is the shorter side of the image.
    """

    size: int = 256
    """Height and width of the crops after resizing, in pixels."""

    def __call__(self, height: int, width: int, random: np.random.Generator) -> list[Crop]:
        """Return the three squares."""
        side = min(height, width)
        y, x = height - side, width - side
        return [Crop(y * i // 2, x * i // 2, side, side) for i in range(3)]

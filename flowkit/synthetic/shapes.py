"""Define the outlines of shapes by their distance functions.

A point of a shape is given in the shape's own coordinates q, in which its centre is 0 and its
circumscribed radius 1. Its outline is where a function d(q) is 0; d is negative inside, and its
slope at the outline is 1. So d · (radius in pixels) is the distance to the outline in pixels. It
decides which pixels belong to the shape, and by how much it covers a pixel on the outline.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Points = NDArray[Any]  # float (..., 2): x right, y down
Distance = NDArray[Any]  # float (...)


def compute_disk_distance(q: Points) -> Distance:
    """Compute the distance to the outline of a disk of radius 1.

    Args:
        q: float (..., 2), x right and y down.

    Returns:
        float (...), negative inside.
    """
    distance: Distance = np.hypot(q[..., 0], q[..., 1]) - 1
    return distance


def make_polygon(sides: int) -> Callable[[Points], Distance]:
    """Make the distance function of a regular polygon inscribed in the unit circle.

    Args:
        sides: Number of sides.

    Returns:
        The function d(q).
    """
    angles = 2 * np.pi * np.arange(sides) / sides
    normals = np.stack([np.cos(angles), np.sin(angles)])

    def distance(q: Points) -> Distance:
        distances: Distance = q @ normals.astype(q.dtype) - q.dtype.type(np.cos(np.pi / sides))
        farthest: Distance = distances.max(-1)
        return farthest

    return distance


def make_flower(petals: int, depth: float) -> Callable[[Points], Distance]:
    """Make the distance function of the curve ρ(θ) = 1 − depth · (1 − cos(petals · θ)).

    Args:
        petals: Number of petals.
        depth: Half the depth of the notches between the petals, relative to the radius.

    Returns:
        The function d(q).
    """

    def distance(q: Points) -> Distance:
        radius = np.hypot(q[..., 0], q[..., 1])
        angle = petals * np.arctan2(q[..., 1], q[..., 0])
        edge = 1 - depth * (1 - np.cos(angle))
        # (r − ρ) / |∇(r − ρ)|: first order, exact at the outline.
        slope = depth * petals * np.sin(angle) / np.maximum(radius, 0.3)
        scaled: Distance = (radius - edge) / np.sqrt(1 + slope * slope)
        return scaled

    return distance


SHAPES: dict[str, Callable[[Points], Distance]] = {
    "disk": compute_disk_distance,
    "triangle": make_polygon(3),
    "square": make_polygon(4),
    "hexagon": make_polygon(6),
    "clover": make_flower(3, 0.22),
    "star": make_flower(5, 0.20),
    "cog": make_flower(9, 0.08),
}
"""Distance functions by the name of the shape."""

"""Outlines of the shapes, as distances.

A shape lives in its own coordinates q: centre 0, circumscribed radius 1. Its outline is
given by a function d(q), negative inside, whose slope at the outline is 1, so that
d · (radius in pixels) is the distance to the outline in pixels: what antialiasing and the
ownership of a pixel need.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Points = NDArray[Any]  # float (..., 2): x right, y down
Distance = NDArray[Any]  # float (...)


def disk(q: Points) -> Distance:
    """A disk of radius 1."""
    far: Distance = np.hypot(q[..., 0], q[..., 1]) - 1
    return far


def polygon(sides: int) -> Callable[[Points], Distance]:
    """A regular polygon inscribed in the unit circle."""
    angles = 2 * np.pi * np.arange(sides) / sides
    normals = np.stack([np.cos(angles), np.sin(angles)])

    def distance(q: Points) -> Distance:
        distances: Distance = q @ normals.astype(q.dtype) - q.dtype.type(np.cos(np.pi / sides))
        farthest: Distance = distances.max(-1)
        return farthest

    return distance


def flower(petals: int, depth: float) -> Callable[[Points], Distance]:
    """The curve ρ(θ) = 1 − depth · (1 − cos(petals · θ))."""

    def distance(q: Points) -> Distance:
        radius = np.hypot(q[..., 0], q[..., 1])
        angle = petals * np.arctan2(q[..., 1], q[..., 0])
        edge = 1 - depth * (1 - np.cos(angle))
        # (r − ρ) / |∇(r − ρ)|: first order, exact at the outline.
        slope = depth * petals * np.sin(angle) / np.maximum(radius, 0.3)
        near: Distance = (radius - edge) / np.sqrt(1 + slope * slope)
        return near

    return distance


SHAPES: dict[str, Callable[[Points], Distance]] = {
    "disk": disk,
    "triangle": polygon(3),
    "square": polygon(4),
    "hexagon": polygon(6),
    "clover": flower(3, 0.22),
    "star": flower(5, 0.20),
    "cog": flower(9, 0.08),
}

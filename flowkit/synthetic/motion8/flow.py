"""Compute the true flow of a clip from its equations (motion.py), not from its frames.

A pixel p at time t belongs to the nearest shape that covers it, or to the ground. A point q of a
shape (in the shape's coordinates) is seen at c + A q, where A rotates by the angle and scales by
the radius. So

    flow(p) = c(t+1) − c(t) + (A(t+1) − A(t)) q      q = A(t)⁻¹ (p − c(t))
    flow(p) = drift                                  on the ground

A pixel is valid if its flow can be seen in the two frames: no outline is within a pixel of it (a
pixel that mixes two surfaces has no single motion), and at t + 1 the same point is still inside the
frame and not covered.
"""

import numpy as np
from numpy.typing import NDArray

from flowkit.errors import UsageError
from flowkit.synthetic.motion8.motion import ANGLE, SIZE, Clip, X, Y
from flowkit.synthetic.shapes import SHAPES

GROUND = -1
"""Index of the ground among the shapes."""


def true_flow(clip: Clip, t: int) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Compute the flow field from frame t to frame t + 1.

    Args:
        clip: The clip.
        t: Index of the frame, 0 … frames − 2.

    Returns:
        The flow, float32 (height, width, 2), in pixels, x right and y down, at the pixels of frame
        t; and whether each pixel is valid (see above), bool (height, width).

    Raises:
        UsageError: ``t`` is out of range.
    """
    config, scene = clip.config, clip.scene
    if not 0 <= t < config.frames - 1:
        raise UsageError(f"flow exists for t in 0..{config.frames - 2}, got {t}")
    xs, ys = np.meshgrid(np.arange(config.width), np.arange(config.height))
    points = np.stack([xs, ys], -1).astype(np.float64)
    state, next_state = clip.state(t), clip.state(t + 1)
    index, is_unmixed = find_visible_shapes(clip, points, t)
    flow = np.broadcast_to(scene.drift, points.shape).copy()
    for i in range(config.shapes):
        is_shape = index == i
        q = convert_to_shape_coordinates(clip, points[is_shape], state[:, i])
        change = q @ (compute_shape_matrix(next_state[:, i]) - compute_shape_matrix(state[:, i])).T
        flow[is_shape] = next_state[[X, Y], i] - state[[X, Y], i] + change
    targets = points + flow
    inside = ((targets >= 0) & (targets <= (config.width - 1, config.height - 1))).all(-1)
    next_index, is_next_unmixed = find_visible_shapes(clip, targets, t + 1)
    valid = is_unmixed & is_next_unmixed & inside & (index == next_index)
    return flow.astype(np.float32), valid


def find_visible_shapes(
    clip: Clip, points: NDArray[np.float64], t: float
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Find the shape that is visible at each point.

    Args:
        clip: The clip.
        points: float64 (…, 2), x and y in pixels.
        t: Time in frames.

    Returns:
        int64 (…), the index of the shape or `GROUND`; and bool (…), whether no visible outline is
        within a pixel.
    """
    state = clip.state(t)
    index = np.full(points.shape[:-1], GROUND)
    is_unmixed = np.ones(points.shape[:-1], np.bool_)
    for i, name in enumerate(clip.scene.outlines):  # from the farthest to the nearest
        q = convert_to_shape_coordinates(clip, points, state[:, i])
        distance = SHAPES[name](q) * np.exp(state[SIZE, i])
        index = np.where(distance <= 0, i, index)
        is_unmixed = np.where(distance <= 0, True, is_unmixed) & (np.abs(distance) >= 1)
    return index, is_unmixed


def compute_shape_matrix(state: NDArray[np.float64]) -> NDArray[np.float64]:
    """Compute A of one shape, which maps its own coordinates to pixels from its centre.

    Args:
        state: float64 (4,), state of the shape: X, Y, ANGLE, and SIZE, the ln of the radius.

    Returns:
        float64 (2, 2).
    """
    cos, sin = np.cos(state[ANGLE]), np.sin(state[ANGLE])
    turn: NDArray[np.float64] = np.exp(state[SIZE]) * np.array([[cos, -sin], [sin, cos]])
    return turn


def convert_to_shape_coordinates(
    clip: Clip, points: NDArray[np.float64], state: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Convert pixels to the coordinates of the nearest copy of a shape on the torus.

    Args:
        clip: The clip.
        points: float64 (…, 2), x and y in pixels.
        state: float64 (4,), state of the shape: X, Y, ANGLE, and SIZE, the ln of the radius.

    Returns:
        float64 (…, 2).
    """
    period = np.array([clip.config.width, clip.config.height])
    offset = (points - state[[X, Y]] + period / 2) % period - period / 2
    q: NDArray[np.float64] = offset @ np.linalg.inv(compute_shape_matrix(state)).T
    return q

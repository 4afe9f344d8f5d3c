"""The true flow of a clip, from its equations (motion.py), not from its pictures.

A pixel p at time t belongs to the nearest shape that covers it, or to the ground. A point q
of a shape (its own coordinates) is seen at c + A q, where A turns by the angle and scales by
the radius. So

    flow(p) = c(t+1) − c(t) + (A(t+1) − A(t)) q      q = A(t)⁻¹ (p − c(t))
    flow(p) = drift                                  on the ground

Valid are the pixels whose flow two pictures can show: no outline within a pixel (a mixed
pixel has no one motion), still inside the picture at t + 1 and not covered there.
"""

import numpy as np
from numpy.typing import NDArray

from flowkit.errors import UsageError
from flowkit.synthetic.motion8.motion import ANGLE, SIZE, Clip, X, Y
from flowkit.synthetic.shapes import SHAPES

GROUND = -1


def true_flow(clip: Clip, t: int) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """The flow field from frame t to frame t + 1.

    Parameters
    ----------
    t: 0 … frames − 2; otherwise a UsageError.

    Returns
    -------
    flow: float32 (height, width, 2), pixels, x right and y down, at the pixels of frame t.
    valid: bool (height, width), false where a pixel is mixed, leaves, or is covered at t + 1.
    """
    config, scene = clip.config, clip.scene
    if not 0 <= t < config.frames - 1:
        raise UsageError(f"flow exists for t in 0..{config.frames - 2}, got {t}")
    xs, ys = np.meshgrid(np.arange(config.width), np.arange(config.height))
    points = np.stack([xs, ys], -1).astype(np.float64)
    now, then = clip.state(t), clip.state(t + 1)
    owner, clear = find_owner(clip, points, t)
    flow = np.broadcast_to(scene.drift, points.shape).copy()
    for i in range(config.shapes):
        mine = owner == i
        q = into_shape(clip, points[mine], now[:, i])
        grown = q @ (matrix(then[:, i]) - matrix(now[:, i])).T
        flow[mine] = then[[X, Y], i] - now[[X, Y], i] + grown
    arrived = points + flow
    inside = ((arrived >= 0) & (arrived <= (config.width - 1, config.height - 1))).all(-1)
    owner_then, clear_then = find_owner(clip, arrived, t + 1)
    valid = clear & clear_then & inside & (owner == owner_then)
    return flow.astype(np.float32), valid


def find_owner(
    clip: Clip, points: NDArray[np.float64], t: float
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """(the shape seen at each point or GROUND, whether no visible outline is within a pixel)."""
    state = clip.state(t)
    owner = np.full(points.shape[:-1], GROUND)
    clear = np.ones(points.shape[:-1], np.bool_)
    for i, name in enumerate(clip.scene.outlines):  # from the farthest to the nearest
        pixels = SHAPES[name](into_shape(clip, points, state[:, i])) * np.exp(state[SIZE, i])
        owner = np.where(pixels <= 0, i, owner)
        clear = np.where(np.abs(pixels) < 1, False, np.where(pixels <= 0, True, clear))
    return owner, clear


def matrix(state: NDArray[np.float64]) -> NDArray[np.float64]:
    """A of one shape (2, 2): its own coordinates → pixels from its centre."""
    cos, sin = np.cos(state[ANGLE]), np.sin(state[ANGLE])
    turn: NDArray[np.float64] = np.exp(state[SIZE]) * np.array([[cos, -sin], [sin, cos]])
    return turn


def into_shape(
    clip: Clip, points: NDArray[np.float64], state: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Pixels (…, 2) in the coordinates of the nearest copy of a shape on the torus."""
    period = np.array([clip.config.width, clip.config.height])
    offset = (points - state[[X, Y]] + period / 2) % period - period / 2
    q: NDArray[np.float64] = offset @ np.linalg.inv(matrix(state)).T
    return q

"""The true flow explains the pictures, and agrees with a reference worked out point by point."""

import cv2
import numpy as np
import pytest

from flowkit.errors import UsageError
from flowkit.synthetic.motion8 import CLASSES, Clip, Motion8, Renderer, make_clips, true_flow
from flowkit.synthetic.motion8.motion import ANGLE, SIZE, X, Y
from flowkit.synthetic.shapes import SHAPES

CONFIG = Motion8(videos=8, test_videos=0, width=128, height=96)


def flow_reference(clip: Clip, t: int, x: int, y: int) -> np.ndarray:
    """The flow of one pixel with complex numbers, trying every copy of every shape."""
    now, then = clip.state(t), clip.state(t + 1)
    for i in reversed(range(clip.config.shapes)):
        for dx in range(-8, 9):
            for dy in range(-8, 9):
                jump = complex(dx * clip.config.width, dy * clip.config.height)
                before = complex(now[X, i], now[Y, i]) + jump
                after = complex(then[X, i], then[Y, i]) + jump
                q = (complex(x, y) - before) / np.exp(complex(now[SIZE, i], now[ANGLE, i]))
                if abs(q) > 1.2:
                    continue
                if SHAPES[clip.scene.outlines[i]](np.array([q.real, q.imag])) <= 0:
                    moved = after + q * np.exp(complex(then[SIZE, i], then[ANGLE, i]))
                    return np.array([moved.real - x, moved.imag - y])
    return clip.scene.drift


@pytest.mark.parametrize("clip", list(make_clips(CONFIG)), ids=lambda c: c.label)
def test_flow_agrees_with_the_reference(clip: Clip) -> None:
    flow, valid = true_flow(clip, 7)
    assert flow.shape == (96, 128, 2)
    assert flow.dtype == np.float32
    rng = np.random.default_rng(0)
    for x, y in zip(rng.integers(0, 128, 40), rng.integers(0, 96, 40), strict=True):
        if valid[y, x]:
            np.testing.assert_allclose(flow[y, x], flow_reference(clip, 7, x, y), atol=1e-4)


@pytest.mark.parametrize("clip", list(make_clips(CONFIG)), ids=lambda c: c.label)
def test_flow_carries_one_picture_into_the_next(clip: Clip) -> None:
    """frame(t+1) at p + flow(p) is frame(t) at p; with no flow, or another, it is not."""
    flow, valid = true_flow(clip, 7)
    renderer = Renderer(clip)
    now, then = (renderer.frame(t).astype(np.float32) for t in (7, 8))
    assert 0.75 < valid.mean() < 1

    def error(field: np.ndarray) -> float:
        xs, ys = np.meshgrid(np.arange(128, dtype=np.float32), np.arange(96, dtype=np.float32))
        warped = cv2.remap(then, xs + field[..., 0], ys + field[..., 1], cv2.INTER_CUBIC)
        moving = valid & (np.abs(flow - clip.scene.drift).max(-1) > 0.3)
        return float(np.abs(warped - now)[moving].mean())

    right = error(flow)
    assert right < 5
    assert error(np.zeros_like(flow)) > 1.5 * right
    assert error(-flow) > 2 * right


def test_invalid_are_edges_and_what_is_covered_or_leaves() -> None:
    config = Motion8(videos=8, test_videos=0, shapes=1, drift=0, speed=(3, 3))
    clip = next(c for c in make_clips(config) if c.label == "right")
    flow, valid = true_flow(clip, 3)
    still = np.abs(flow).max(-1) == 0
    assert set(np.unique(flow[..., 0]).round(5)) <= {0, 3}
    # Ground just in front of the shape gets covered; ground behind it stays valid.
    shape = ~still
    covered = still & np.roll(shape, 3, 1)
    assert covered.any()
    assert not valid[covered & ~shape].all()
    assert valid[0, :].any() or valid[-1, :].any()
    leaving = shape.copy()
    leaving[:, :-3] = False
    assert not valid[leaving].any()


def test_flow_of_each_class_points_its_way() -> None:
    for clip in make_clips(Motion8(videos=8, test_videos=0, drift=0, shapes=1)):
        flow, valid = true_flow(clip, 10)
        state = clip.state(10)[:, 0]
        ys, xs = np.nonzero(valid & (np.abs(flow).max(-1) > 0.05))
        arm = np.stack([xs, ys], 1) - state[[X, Y]]
        size = np.array([256, 256])
        arm = (arm + size / 2) % size - size / 2
        v = flow[ys, xs]
        radial = (arm * v).sum(1)
        turning = arm[:, 0] * v[:, 1] - arm[:, 1] * v[:, 0]  # > 0 clockwise, y down
        way = {
            "left": -v[:, 0],
            "right": v[:, 0],
            "up": -v[:, 1],
            "down": v[:, 1],
            "clockwise": turning,
            "counter-clockwise": -turning,
            "expanding": radial,
            "contracting": -radial,
        }
        assert set(way) == set(CLASSES)
        assert (way[clip.label] > 0).all(), clip.label


@pytest.mark.parametrize("t", [-1, 31])
def test_flow_exists_between_frames(t: int) -> None:
    with pytest.raises(UsageError, match=r"0\.\.30"):
        true_flow(next(make_clips(Motion8())), t)

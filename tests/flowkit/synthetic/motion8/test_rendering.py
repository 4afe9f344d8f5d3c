"""Pictures: repeatable, placed to the subpixel, antialiased, on a torus."""

import numpy as np
import pytest

from flowkit.synthetic.motion8 import Clip, Motion8, Renderer, make_clips, render_clip
from flowkit.synthetic.motion8.motion import SIZE, X, Y
from flowkit.synthetic.motion8.rendering import list_copies, make_sprite, shift_periodic
from flowkit.synthetic.shapes import SHAPES

CONFIG = Motion8(videos=8, test_videos=0, frames=6, width=64, height=48)


def test_rendering_is_repeatable_and_seeded() -> None:
    clip, other = Clip(CONFIG, "train", 2), Clip(Motion8(width=64, height=48, seed=1), "train", 2)
    video = np.stack(list(render_clip(clip)))
    assert video.shape == (6, 48, 64, 3)
    assert video.dtype == np.uint8
    np.testing.assert_array_equal(video, np.stack(list(render_clip(Clip(CONFIG, "train", 2)))))
    assert not np.array_equal(video[0], Renderer(other).frame(0))


def test_texture_fills_the_range_of_brightness() -> None:
    for clip in make_clips(CONFIG):
        grey = Renderer(clip).frame(0).mean(-1)
        assert grey.std() > 15
        assert 60 < grey.mean() < 200


@pytest.mark.parametrize("name", SHAPES)
def test_a_shape_covers_its_area_with_a_soft_edge(name: str) -> None:
    """The rendered coverage sums to the outline's area, at any subpixel place and angle."""
    config = Motion8(videos=8, test_videos=0, shapes=1, width=96, height=96)
    clip = Clip(config, "train", 4)
    renderer = Renderer(clip)
    q = np.random.default_rng(0).uniform(-1, 1, (200_000, 2))
    share = (SHAPES[name](q) <= 0).mean() * 4
    sprite = make_sprite(name, 0.5, config, np.random.default_rng(0))
    sprite[..., :3] = 255
    for angle, x, y in [(0.0, 48.0, 48.0), (0.7, 47.3, 50.6), (2.1, 40.5, 41.25)]:
        canvas = np.zeros((96, 96, 3), np.float32)
        renderer._draw_shape(canvas, sprite, np.array([x, y, angle, np.log(20.0)]))
        coverage = canvas[..., 0] / 255
        assert coverage.sum() == pytest.approx(share * 400, rel=0.02)
        assert ((coverage > 0.05) & (coverage < 0.95)).sum() > 40
        ys, xs = np.mgrid[:96, :96]
        if name not in ("triangle",):
            assert (coverage * xs).sum() / coverage.sum() == pytest.approx(x, abs=0.1)
            assert (coverage * ys).sum() / coverage.sum() == pytest.approx(y, abs=0.1)


def test_the_torus_wraps() -> None:
    """A picture and the same scene moved by whole periods and a half are rolls of each other."""
    config = Motion8(videos=8, test_videos=0, width=64, height=64, drift=0)
    clip = Clip(config, "train", 6)
    renderer = Renderer(clip)
    a = renderer.frame(3)
    scene = clip.scene
    scene.ref[X] += 32 + 64 * 3
    scene.ref[Y] -= 16
    scene.ground[:] += (32, -16)
    b = renderer.frame(3)
    difference = np.abs(np.roll(a, (-16, 32), (0, 1)).astype(int) - b)
    assert difference.max() <= 1
    assert np.exp(clip.state(3)[SIZE]).max() > 3


def test_roll_is_bilinear() -> None:
    picture = np.random.default_rng(0).uniform(0, 255, (6, 8, 3)).astype(np.float32)
    tiled = np.pad(picture, ((0, 7), (0, 9), (0, 0)), "wrap")
    np.testing.assert_array_equal(
        shift_periodic(tiled, np.array([3.0, -2.0])), np.roll(picture, (-2, 3), (0, 1))
    )
    half = shift_periodic(tiled, np.array([0.5, 0.0]))
    np.testing.assert_allclose(half, (picture + np.roll(picture, 1, 1)) / 2, atol=0.02)


def test_copies() -> None:
    assert list_copies(50, 20, 100) == [50]
    assert list_copies(5, 20, 100) == [5, 105]
    assert list_copies(95, 20, 100) == [-5, 95]

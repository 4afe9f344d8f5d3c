"""One frame says nothing about the class: the laws of all classes are compared.

Every statistic here is also shown to find a generator that does leak (motion that begins at
t = 0, as anyone would write it first), so that agreement means something.
"""

import itertools
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from flowkit.errors import UsageError
from flowkit.synthetic.motion8 import CLASSES, Clip, Motion8, Renderer, Scene, make_clip, make_clips
from flowkit.synthetic.motion8.motion import ANGLE, SIZE, X, Y, draw_scene, sample_trajectory

CONFIG = Motion8(frames=32, shapes=2)
DRAWS = 1500


def kolmogorov_smirnov(a: np.ndarray, b: np.ndarray) -> float:
    """The largest distance between two empirical distribution functions."""
    both = np.concatenate([a, b])
    below_a = np.searchsorted(np.sort(a), both, side="right") / len(a)
    below_b = np.searchsorted(np.sort(b), both, side="right") / len(b)
    return float(np.abs(below_a - below_b).max())


def critical(n: int, comparisons: int, level: float = 1e-3) -> float:
    """The distance that all of ``comparisons`` samples of n stay below but with chance ``level``.

    Smirnov's asymptotic tail 2 exp(−n D²), and Bonferroni.
    """
    return float(np.sqrt(np.log(2 * comparisons / level) / n))


@pytest.fixture(scope="module")
def scenes() -> dict[str, list[tuple[Scene, int]]]:
    """For each class, scenes of their own, each with a random time."""
    found = {}
    for number, label in enumerate(CLASSES):
        rng = np.random.default_rng([1, number])
        found[label] = [
            (draw_scene(CONFIG, rng), int(rng.integers(CONFIG.frames))) for _ in range(DRAWS)
        ]
    return found


def summarize(states: np.ndarray) -> dict[str, np.ndarray]:
    """One number a draw: every coordinate of a shape, and how two shapes hang together."""
    size = states[:, SIZE]
    return {
        "x": states[:, X, 0] % CONFIG.width,
        "y": states[:, Y, 0] % CONFIG.height,
        "angle": states[:, ANGLE, 0] % (2 * np.pi),
        "size": size[:, 0],
        "sizes together": size.sum(1),
        "sizes apart": size[:, 0] - size[:, 1],
        "x apart": (states[:, X, 0] - states[:, X, 1]) % CONFIG.width,
        "angles apart": (states[:, ANGLE, 0] - states[:, ANGLE, 1]) % (2 * np.pi),
        "size by place": size[:, 0] * np.cos(2 * np.pi * states[:, X, 0] / CONFIG.width),
    }


def worst_distance(
    scenes: dict[str, list[tuple[Scene, int]]], spoil: Callable[[Scene], Scene]
) -> dict[str, float]:
    """For every statistic, the largest distance between any two of the eight classes."""
    samples = {
        label: summarize(
            np.array([sample_trajectory(spoil(s), CLASSES[label], t) for s, t in drawn])
        )
        for label, drawn in scenes.items()
    }
    return {
        name: max(
            kolmogorov_smirnov(samples[a][name], samples[b][name])
            for a, b in itertools.combinations(CLASSES, 2)
        )
        for name in samples["left"]
    }


def test_the_law_of_one_frame_is_the_same_in_all_classes(scenes: dict) -> None:
    distances = worst_distance(scenes, lambda scene: scene)
    limit = critical(DRAWS, comparisons=28 * len(distances))
    assert {n: d for n, d in distances.items() if d > limit} == {}


def test_the_comparison_finds_motion_that_begins_at_zero(scenes: dict) -> None:
    """No reference time: expanding shapes are large, and resting ones stay where they were."""
    distances = worst_distance(scenes, lambda s: replace(s, tau=0 * s.tau, frozen=0 * s.frozen))
    limit = critical(DRAWS, comparisons=28 * len(distances))
    assert distances["size"] > 3 * limit


def test_the_comparison_finds_resting_sizes_of_another_law(scenes: dict) -> None:
    """Resting coordinates that stand at their reference: moving ones are spread wider."""
    distances = worst_distance(scenes, lambda scene: replace(scene, sign=0 * scene.sign))
    limit = critical(DRAWS, comparisons=28 * len(distances))
    assert distances["size"] > 1.1 * limit
    assert distances["sizes together"] > 1.1 * limit


def picture_statistics(config: Motion8, spoil: bool) -> dict[str, np.ndarray]:
    """Brightness, contrast and texture of one rendered frame of each clip: (clips,) by class."""
    rng = np.random.default_rng(5)
    found: dict[str, list[list[float]]] = {label: [] for label in CLASSES}
    for clip in make_clips(config):
        if spoil:
            scene = clip.scene
            clip.__dict__["scene"] = replace(scene, tau=0 * scene.tau, frozen=0 * scene.frozen)
        picture = Renderer(clip).frame(int(rng.integers(config.frames))).astype(float)
        saturation = np.ptp(picture, axis=-1) > 90  # shapes are colourful, the ground is not
        grey = picture.mean(-1)
        found[clip.label].append(
            [grey.mean(), grey.std(), np.abs(np.diff(grey)).mean(), saturation.mean()]
        )
    return {label: np.array(rows) for label, rows in found.items()}


@pytest.mark.slow
def test_pixels_of_one_frame_have_the_same_law() -> None:
    config = Motion8(videos=8 * 150, test_videos=0, width=64, height=64)
    fair = picture_statistics(config, spoil=False)
    spoiled = picture_statistics(config, spoil=True)
    limit = critical(150, comparisons=28 * 4)
    for column in range(4):
        for a, b in itertools.combinations(CLASSES, 2):
            assert kolmogorov_smirnov(fair[a][:, column], fair[b][:, column]) < limit
    area = 3
    assert (
        kolmogorov_smirnov(spoiled["expanding"][:, area], spoiled["contracting"][:, area]) > limit
    )


def test_mean_picture_area_does_not_know_zooming() -> None:
    """A short form of the above: the coloured area of expanding and contracting clips."""
    config = Motion8(videos=8 * 40, test_videos=0, width=32, height=32)
    areas = {}
    for spoil in (False, True):
        found = picture_statistics(config, spoil)
        a, b = found["expanding"][:, 3], found["contracting"][:, 3]
        error = np.sqrt(a.var() / len(a) + b.var() / len(b))
        areas[spoil] = abs(a.mean() - b.mean()) / error
    assert areas[False] < 3.5
    assert areas[True] > 4.5


def test_the_class_is_in_the_motion() -> None:
    """Each class moves its coordinate alone, all shapes alike, in its direction."""
    for clip in make_clips(Motion8(videos=16, test_videos=0)):
        change = clip.state(9) - clip.state(8)
        moved, sign = clip.motion
        assert (np.sign(change[moved]) == sign).all()
        assert np.abs(np.delete(change, moved, 0)).max() == 0


def test_draws_do_not_know_the_class() -> None:
    """The same seeds give the same scene whichever class the number falls on."""
    a = draw_scene(CONFIG, np.random.default_rng([0, 0, 3]))
    b = Clip(CONFIG, "train", 3).scene
    np.testing.assert_array_equal(a.ref, b.ref)
    assert a.texture_seed == b.texture_seed


def test_motion_is_moderate() -> None:
    for clip in make_clips(Motion8(videos=64, test_videos=0)):
        radius = np.exp(np.maximum(clip.state(0)[SIZE], clip.state(31)[SIZE]))
        assert (radius < clip.config.side / 2.3).all()  # no shape meets its own copy
        change = np.abs(clip.state(5) - clip.state(4))
        assert max(change[X].max(), change[Y].max()) <= 3.5
        assert (change[ANGLE] * radius).max() <= 5.2


def test_subsets_classes_and_ids() -> None:
    config = Motion8(videos=17, test_videos=9)
    clips = list(make_clips(config))
    assert len({c.id for c in clips}) == 26
    assert clips[0].id == "left/train_00000.mp4"
    assert clips[17].id == "left/test_00000.mp4"
    assert {c.label for c in clips[17:]} == set(CLASSES)
    assert all(make_clip(config, c.id) == c for c in clips)
    assert not np.array_equal(clips[0].scene.ref, clips[17].scene.ref)


def test_more_videos_keep_the_first_ones() -> None:
    few, many = Motion8(videos=8), Motion8(videos=80)
    a, b = make_clip(few, "up/train_00002.mp4"), make_clip(many, "up/train_00002.mp4")
    np.testing.assert_array_equal(a.scene.ref, b.scene.ref)


@pytest.mark.parametrize(
    "bad",
    ["left/train_00001.mp4", "left/train_99992.mp4", "left/x_00000.mp4", "train_00000.mp4", ""],
)
def test_unknown_ids(bad: str) -> None:
    with pytest.raises(UsageError, match="no clip"):
        make_clip(Motion8(), bad)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"frames": 1}, "frames must be at least 2"),
        ({"width": 33}, "width must be even"),
        ({"height": 16}, "height must be even and at least 32"),
        ({"speed": (3, 1)}, "slowest ≤ fastest"),
        ({"shapes": 0}, "at least 1 shape"),
        ({"videos": -1}, "videos must be at least 0"),
    ],
)
def test_bad_configurations(changes: dict, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Motion8(**changes)

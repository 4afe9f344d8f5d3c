"""Flash-MNIST: what flashes up in a video, how often, over what noise; all of it repeatable."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowkit.errors import UsageError
from flowkit.synthetic.flash_mnist import (
    CLASS_NAMES,
    CLASSES,
    FRAMES,
    NO_DIGIT,
    FlashMNIST,
    draw_noise,
    list_digits,
    make_noise_table,
)
from flowkit.synthetic.mnist import Digits


def make_digits(seed: int, count: int = 200) -> Digits:
    """Random strokes: a fifth of the pixels, and brighter in the second split."""
    rng = np.random.default_rng(seed)
    images = rng.integers(1, 128, (count, 28, 28)) + 128 * seed
    images[rng.random(images.shape) < 0.8] = 0
    return Digits(images.astype(np.uint8), (np.arange(count) % 10).astype(np.uint8))


DIGITS = {"train": make_digits(0), "test": make_digits(1)}
VIDEOS = FlashMNIST(DIGITS, seed=3)

splits = st.sampled_from(["train", "test"])
labels = st.integers(0, CLASSES - 1)
copies = st.integers(0, 9)


def test_classes_are_the_sets_of_digits() -> None:
    assert len(set(CLASS_NAMES)) == CLASSES == 1024
    assert CLASS_NAMES[0] == "none"
    assert CLASS_NAMES[0b1010001001] == "0379"
    assert list_digits(0b1010001001) == [0, 3, 7, 9]
    assert CLASS_NAMES[-1] == "0123456789"


def test_the_paper_s_counts() -> None:
    assert VIDEOS.count("train") == 102_400
    assert VIDEOS.count("test") == 10_240
    found = np.bincount([VIDEOS.label("test", number) for number in range(10_240)])
    assert (found == 10).all()


@given(splits, labels, copies)
def test_each_digit_of_the_class_flashes_once_or_twice(split: str, label: int, copy: int) -> None:
    flashes = VIDEOS.flashes(split, label * VIDEOS.videos[split] + copy)
    assert flashes.shape == (FRAMES,)
    shown = DIGITS[split].labels[flashes[flashes != NO_DIGIT]]
    counts = np.bincount(shown, minlength=10)
    assert np.flatnonzero(counts).tolist() == list_digits(label)
    assert counts.max() <= 2


@given(splits, labels, copies)
def test_frames_show_the_flashes_over_noise(split: str, label: int, copy: int) -> None:
    number = label * VIDEOS.videos[split] + copy
    frames, flashes = VIDEOS.frames(split, number), VIDEOS.flashes(split, number)
    assert frames.shape == (FRAMES, 28, 28) and frames.dtype == np.uint8
    for frame, image in zip(frames, flashes, strict=True):
        if image != NO_DIGIT:
            ink = DIGITS[split].images[image]
            assert (frame >= ink).all()
            # Noise is dark in four of five pixels, so that most of the ink is seen as it is.
            assert (frame == ink)[ink > 0].mean() > 0.5
    twins = {frame.tobytes() for frame in frames}
    assert len(twins) == FRAMES


def test_once_and_twice_are_as_frequent_and_frames_as_well() -> None:
    label = CLASSES - 1
    rows = [VIDEOS.flashes("train", label * 100 + copy) for copy in range(100)]
    shown = np.array([(row != NO_DIGIT) for row in rows])
    assert shown.sum() == pytest.approx(1500, abs=80)  # 1000 digits, five standard deviations
    assert shown.mean(0) == pytest.approx(np.full(FRAMES, 0.6), abs=0.25)


def test_every_image_is_used_somewhere() -> None:
    used = np.concatenate([VIDEOS.flashes("test", number) for number in range(0, 10_240, 7)])
    assert set(used.tolist()) == {NO_DIGIT, *range(200)}


def test_noise_has_the_histogram_of_all_digits() -> None:
    table = make_noise_table([part.images for part in DIGITS.values()])
    pixels = np.concatenate([part.images.reshape(-1) for part in DIGITS.values()])
    expected = np.bincount(pixels, minlength=256) / pixels.size
    shares = np.bincount(table, minlength=256) / table.size
    assert np.abs(shares - expected).max() < 2**-16
    noise = draw_noise(np.random.default_rng(0), table, 1000)
    found = np.bincount(noise.reshape(-1), minlength=256) / noise.size
    assert np.abs(found - expected).max() < 5 * np.sqrt(0.25 / noise.size)


def test_pixels_of_noise_are_independent() -> None:
    noise = VIDEOS.batch("train", range(100)).astype(float)  # class 0: noise alone
    noise -= noise.mean()
    variance = (noise**2).mean()
    for axis in (1, 2, 3):
        first = noise.take(range(noise.shape[axis] - 1), axis)
        second = noise.take(range(1, noise.shape[axis]), axis)
        assert abs((first * second).mean()) < 0.01 * variance


def test_a_video_depends_on_seed_class_and_copy_alone() -> None:
    whole, part = (FlashMNIST(DIGITS, seed=3, classes=c) for c in (range(CLASSES), [5, 700]))
    first = part.batch("test", range(20))
    np.testing.assert_array_equal(first[:10], whole.batch("test", range(50, 60)))
    np.testing.assert_array_equal(first[10:], whole.batch("test", range(7000, 7010)))
    other = FlashMNIST(DIGITS, seed=4, classes=[5, 700])
    assert not np.array_equal(first, other.batch("test", range(20)))
    assert not np.array_equal(part.frames("train", 0), part.frames("test", 0))
    assert len({video.tobytes() for video in first}) == 20


@given(splits, labels, copies)
def test_an_id_leads_back_to_its_video(split: str, label: int, copy: int) -> None:
    number = label * VIDEOS.videos[split] + copy
    assert VIDEOS.find_video(VIDEOS.video_id(split, number)) == (split, number)


@pytest.mark.parametrize("name", ["train/0379/100", "val/0379/000", "train/97/000", "train", ""])
def test_an_id_that_is_none(name: str) -> None:
    with pytest.raises(UsageError, match=r"no video .* such as train/0379/042"):
        VIDEOS.find_video(name)


@pytest.mark.parametrize("classes", [[1024], [-1], [3, 3]])
def test_a_class_that_is_none(classes: list[int]) -> None:
    with pytest.raises(UsageError, match="classes from 0 to 1023"):
        FlashMNIST(DIGITS, classes=classes)

"""The digit CNN: what it is taught with, that it learns, and what it is read for."""

import numpy as np
import pytest
import torch

from flowkit.errors import UsageError
from flowkit.synthetic.flash_mnist import FlashMNIST
from flowkit.synthetic.mnist import Digits
from train.flash_mnist.digits import (
    NOISE,
    DigitTraining,
    count_samples,
    draw_batch,
    extract_features,
    measure_accuracy,
    shift_images,
    train_digits,
)


def make_digits(count: int) -> Digits:
    """Digit d is a bright bar at row 2d + 4, so that noise hides none and shifts by 0 leave it."""
    labels = np.arange(count) % 10
    images = np.zeros((count, 28, 28), np.uint8)
    for image, label in zip(images, labels, strict=True):
        image[2 * label + 4, 4:24] = 255
    return Digits(images, labels.astype(np.uint8))


@pytest.fixture(scope="module")
def videos() -> FlashMNIST:
    return FlashMNIST({"train": make_digits(200), "test": make_digits(50)}, classes=[0, 9, 1023])


def test_an_epoch_has_every_digit_five_times_and_noise(videos: FlashMNIST) -> None:
    digits = videos.digits["train"]
    samples = count_samples(digits)
    rng = np.random.default_rng(0)
    frames, labels = draw_batch(rng, videos, np.arange(samples), shift=0)
    assert frames.shape == (1100, 28, 28) and frames.dtype == torch.uint8
    assert torch.bincount(labels).tolist() == [100] * 10 + [100]
    shown = frames.numpy()[:1000].reshape(5, 200, 28, 28)
    assert (shown >= digits.images).all()
    assert (labels[1000:] == NOISE).all()
    assert (shown[0] != shown[1]).any(axis=(1, 2)).all()  # the noise is another each time


def test_digits_move_within_their_bounds() -> None:
    images = np.zeros((4, 28, 28), np.uint8)
    images[:, 10, 20] = 7
    shifts = np.array([[0, 0], [2, 0], [0, -2], [-1, 1]])
    moved = shift_images(images, shifts)
    assert [tuple(np.argwhere(image)[0]) for image in moved] == [
        (10, 20), (12, 20), (10, 18), (9, 21),
    ]  # fmt: skip
    assert (moved.sum(axis=(1, 2)) == 7).all()
    edge = np.full((1, 28, 28), 9, np.uint8)
    assert (shift_images(edge, np.array([[2, -1]]))[0, :2] == 0).all()


def test_it_learns_and_is_the_same_again(videos: FlashMNIST) -> None:
    training = DigitTraining(epochs=6, shift=0, dropout=0.0)
    steps: list[tuple[int, int]] = []
    before = torch.random.get_rng_state()
    network = train_digits(videos, training, lambda done, total: steps.append((done, total)))
    assert torch.equal(before, torch.random.get_rng_state())
    assert steps[-1] == (54, 54) and len(steps) == 54
    accuracy = measure_accuracy(network, videos)
    assert accuracy["digits"] > 0.9 and accuracy["noise"] > 0.8
    short = DigitTraining(epochs=1, shift=0, dropout=0.0)
    first, again = train_digits(videos, short), train_digits(videos, short)
    for mine, theirs in zip(first.parameters(), again.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-5)


def test_features_are_those_of_each_frame(videos: FlashMNIST) -> None:
    network = train_digits(videos, DigitTraining(epochs=1, batch=512))
    frames = videos.batch("test", range(3))
    features = extract_features(network, frames)
    assert features.shape == (3, 25, 50) and features.dtype == np.float16
    np.testing.assert_allclose(np.exp(features.astype(float)).sum(2), 1, atol=0.01)
    with torch.no_grad():
        alone = network.features(torch.from_numpy(frames[1, 7][None]), log_softmax=True)[0]
    np.testing.assert_allclose(features[1, 7], alone, rtol=2**-10, atol=1e-4)


@pytest.mark.parametrize(("name", "value"), [("epochs", 0), ("batch", 0), ("shift", -1)])
def test_training_that_cannot_be(name: str, value: int) -> None:
    with pytest.raises(UsageError, match=f"{name}: expected at least"):
        DigitTraining(**{name: value})

"""The digit CNN of Flash-MNIST: train it on noisy frames and extract its features.

Long et al., Attention Clusters, CVPR 2018, §4.1: "We pretrain CNNs on MNIST with noisy backgrounds
to extract local features". As in the authors' code there are eleven classes (ten digits, and noise
alone), five noisy copies of each MNIST digit, and one noise frame for every two digits.

Deviations, because the paper had six times as many digits as this reproduction: noise is generated
anew each time, each digit is shifted by up to ``shift`` pixels, and training takes ``epochs``
instead of one. Without shifts the network memorizes 10,000 digits, and the features of training
videos are then better than those of test videos. The optimizer is Adam with a rate that decreases
linearly to 0.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional

from flowkit.errors import UsageError
from flowkit.synthetic.flash_mnist import DIGITS, FlashMNIST, draw_noise
from flowkit.synthetic.mnist import SIDE, Digits
from models.networks.digits import DigitNetwork

NOISE = DIGITS  # classes 0 to 9 are the digits
"""The class of a frame without a digit."""

COPIES = 5
DIGITS_PER_NOISE = 2
FRAMES_AT_ONCE = 400
"""Frames per forward pass; the activations of this many stay in a core's cache."""


@dataclass(frozen=True, kw_only=True)
class DigitTraining:
    """Training settings of the digit CNN."""

    epochs: int = 20
    """Number of epochs; each contains every digit five times."""
    batch: int = 128
    """Number of frames per batch."""
    rate: float = 2e-3
    """Learning rate of the first step."""
    shift: int = 2
    """Greatest shift of a digit along each axis, in pixels."""
    dropout: float = 0.5
    """Dropout probability."""

    def __post_init__(self) -> None:
        for name, minimum in (("epochs", 1), ("batch", 1), ("shift", 0)):
            if getattr(self, name) < minimum:
                raise UsageError(f"{name}: expected at least {minimum}, got {getattr(self, name)}")


def train_digits(
    videos: FlashMNIST,
    training: DigitTraining,
    progress: Callable[[int, int], object] = lambda done, total: None,
) -> DigitNetwork:
    """Train a digit CNN on the training digits of a Flash-MNIST data set.

    The same digits and seed give the same network, except for rounding, which depends on
    threads and machine.

    Args:
        videos: The data set.
        training: Training settings.
        progress: Called after each step with the steps done and their total.

    Returns:
        The network in eval mode.
    """
    rng = np.random.default_rng((videos.seed, len(videos.digits)))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(videos.seed)
        network = DigitNetwork(dropout=training.dropout)
        network.to(memory_format=torch.channels_last)  # twice as fast on a CPU
        optimizer = torch.optim.Adam(network.parameters(), training.rate)
        samples = count_samples(videos.digits["train"])
        steps = training.epochs * -(-samples // training.batch)
        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 - step / steps)
        network.train()
        done = 0
        for _ in range(training.epochs):
            order = rng.permutation(samples)
            for start in range(0, samples, training.batch):
                sample_indices = order[start : start + training.batch]
                images, labels = draw_batch(rng, videos, sample_indices, training.shift)
                loss = functional.cross_entropy(network(images), labels)
                optimizer.zero_grad(set_to_none=True)
                loss.backward()
                optimizer.step()
                scheduler.step()
                done += 1
                progress(done, steps)
    network.eval()
    return network


def count_samples(digits: Digits) -> int:
    """Count the samples of an epoch: five per digit, and one noise frame for every two digits."""
    return COPIES * len(digits) + len(digits) // DIGITS_PER_NOISE


def draw_batch(
    rng: np.random.Generator, videos: FlashMNIST, samples: npt.NDArray[np.int64], shift: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Draw the frames of some samples of an epoch.

    Args:
        rng: Generator of noise and shifts.
        videos: The data set.
        samples: Indices of the samples in the epoch, int64 (n,).
        shift: Greatest shift of a digit in pixels.

    Returns:
        Frames uint8 (n, 28, 28) and classes int64 (n,).
    """
    digits = videos.digits["train"]
    frames = draw_noise(rng, videos.noise, len(samples))
    labels = np.full(len(samples), NOISE)
    shown = np.flatnonzero(samples < COPIES * len(digits))
    digit_indices = samples[shown] % len(digits)
    ink = shift_images(
        digits.images[digit_indices], rng.integers(-shift, shift + 1, (len(shown), 2))
    )
    frames[shown] = np.maximum(frames[shown], ink)
    labels[shown] = digits.labels[digit_indices]
    return torch.from_numpy(frames), torch.from_numpy(labels)


def shift_images(
    images: npt.NDArray[np.uint8], shifts: npt.NDArray[np.int64]
) -> npt.NDArray[np.uint8]:
    """Shift images (n, 28, 28) down and right by (n, 2) pixels, filling with background."""
    border = int(np.abs(shifts).max(initial=0))
    padded = np.pad(images, ((0, 0), (border, border), (border, border)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (SIDE, SIDE), axis=(1, 2))
    down, right = border - shifts.T
    shifted: npt.NDArray[np.uint8] = windows[np.arange(len(images)), down, right]
    return shifted


def measure_accuracy(network: DigitNetwork, videos: FlashMNIST) -> dict[str, float]:
    """Measure the accuracy on all test digits in noise, and on a tenth as many noise frames.

    Returns:
        Accuracies in [0, 1]: ``digits`` on frames with a digit, ``noise`` on frames of noise alone.
    """
    digits = videos.digits["test"]
    rng = np.random.default_rng((videos.seed, len(videos.digits), len(digits)))
    frames = draw_noise(rng, videos.noise, len(digits))
    noise = draw_noise(rng, videos.noise, -(-len(digits) // 10))
    predicted = predict_classes(network, np.maximum(frames, digits.images))
    return {
        "digits": float((predicted == digits.labels).mean()),
        "noise": float((predict_classes(network, noise) == NOISE).mean()),
    }


def predict_classes(network: DigitNetwork, frames: npt.NDArray[np.uint8]) -> npt.NDArray[np.int64]:
    """Predict the class of each frame (n, 28, 28)."""
    with torch.inference_mode():
        chunks = [
            network(chunk).argmax(1) for chunk in torch.from_numpy(frames).split(FRAMES_AT_ONCE)
        ]
    classes: npt.NDArray[np.int64] = torch.cat(chunks).numpy()
    return classes


def extract_features(
    network: DigitNetwork, frames: npt.NDArray[np.uint8]
) -> npt.NDArray[np.float16]:
    """Extract the local features of videos.

    The features are the log-softmax of the 50 hidden units, as in the authors' code. With dropout,
    attention clusters without the shifting operation learn nothing from these features; they would
    learn best from the hidden units themselves.

    Args:
        network: The digit CNN in eval mode.
        frames: Frames uint8 (n, 25, 28, 28).

    Returns:
        Features float16 (n, 25, 50).
    """
    images = torch.from_numpy(frames).flatten(0, 1)
    with torch.inference_mode():
        chunks = [
            network.features(chunk, log_softmax=True) for chunk in images.split(FRAMES_AT_ONCE)
        ]
        features: npt.NDArray[np.float16] = torch.cat(chunks).half().numpy()
    return features.reshape(*frames.shape[:2], -1)

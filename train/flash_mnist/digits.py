"""The digit CNN of Flash-MNIST: taught to read noisy frames, and read for its features.

Long et al., Attention Clusters, CVPR 2018, §4.1: "We pretrain CNNs on MNIST with noisy backgrounds
to extract local features". From the authors' code: eleven classes, the digits and noise alone;
five digits in noise for each of MNIST's, and a noise frame for two of MNIST's; one epoch.

Deviations, as the paper had six times as many digits as its reproduction in this repository: noise
is drawn anew each time, each digit is moved by up to ``shift`` pixels, and there are ``epochs``.
Without the shifts, 10,000 digits are learned by heart, and the features of training videos are then
better than those of test videos. Adam, whose rate falls to 0 in a straight line.
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

NOISE = DIGITS
"""The class of a frame without a digit."""

COPIES = 5
DIGITS_PER_NOISE = 2
AT_ONCE = 400
"""Frames: what the layers make of so many stays in a core's cache."""


@dataclass(frozen=True, kw_only=True)
class DigitTraining:
    """How the digit CNN is trained.

    ``epochs`` over all digits, each five times in one; ``rate``: the first one; ``shift``: by how
    many pixels digits move, at most, along each axis.
    """

    epochs: int = 20
    batch: int = 128
    rate: float = 2e-3
    shift: int = 2
    dropout: float = 0.5

    def __post_init__(self) -> None:
        for name, least in (("epochs", 1), ("batch", 1), ("shift", 0)):
            if getattr(self, name) < least:
                raise UsageError(f"{name}: expected at least {least}, got {getattr(self, name)}")


@dataclass(frozen=True, kw_only=True)
class Accuracy:
    """Which share of frames the CNN reads rightly: those with digits, and those of noise alone."""

    digits: float
    noise: float


def train_digits(
    videos: FlashMNIST,
    training: DigitTraining,
    progress: Callable[[int, int], object] = lambda done, total: None,
) -> DigitNetwork:
    """A digit CNN taught with the training digits of ``videos``, in eval mode.

    The same from the same digits and seed, but for rounding (threads, machines). ``progress`` is
    told how many of all steps are done.
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
                images, labels = draw_batch(
                    rng, videos, order[start : start + training.batch], training.shift
                )
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
    """Samples of an epoch: every digit five times, and a noise frame for every second one."""
    return COPIES * len(digits) + len(digits) // DIGITS_PER_NOISE


def draw_batch(
    rng: np.random.Generator, videos: FlashMNIST, samples: npt.NDArray[np.int64], shift: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Frames uint8 (n, 28, 28) and classes int64 (n,) of samples of an epoch, by number."""
    digits = videos.digits["train"]
    frames = draw_noise(rng, videos.noise, len(samples))
    labels = np.full(len(samples), NOISE)
    shown = np.flatnonzero(samples < COPIES * len(digits))
    numbers = samples[shown] % len(digits)
    ink = move(digits.images[numbers], rng.integers(-shift, shift + 1, (len(shown), 2)))
    frames[shown] = np.maximum(frames[shown], ink)
    labels[shown] = digits.labels[numbers]
    return torch.from_numpy(frames), torch.from_numpy(labels)


def move(images: npt.NDArray[np.uint8], shifts: npt.NDArray[np.int64]) -> npt.NDArray[np.uint8]:
    """Images (n, 28, 28) moved by (n, 2) pixels, down and right; background comes in."""
    border = int(np.abs(shifts).max(initial=0))
    padded = np.pad(images, ((0, 0), (border, border), (border, border)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (SIDE, SIDE), axis=(1, 2))
    down, right = border - shifts.T
    moved: npt.NDArray[np.uint8] = windows[np.arange(len(images)), down, right]
    return moved


def measure(network: DigitNetwork, videos: FlashMNIST) -> Accuracy:
    """How well the CNN reads every test digit in noise, and a tenth as many frames of noise."""
    digits = videos.digits["test"]
    rng = np.random.default_rng((videos.seed, len(videos.digits), len(digits)))
    frames = draw_noise(rng, videos.noise, len(digits))
    noise = draw_noise(rng, videos.noise, -(-len(digits) // 10))
    read = read_classes(network, np.maximum(frames, digits.images))
    return Accuracy(
        digits=float((read == digits.labels).mean()),
        noise=float((read_classes(network, noise) == NOISE).mean()),
    )


def read_classes(network: DigitNetwork, frames: npt.NDArray[np.uint8]) -> npt.NDArray[np.int64]:
    """The likeliest class of each frame (n, 28, 28)."""
    with torch.inference_mode():
        parts = [network(part).argmax(1) for part in torch.from_numpy(frames).split(AT_ONCE)]
    found: npt.NDArray[np.int64] = torch.cat(parts).numpy()
    return found


def extract_features(
    network: DigitNetwork, frames: npt.NDArray[np.uint8]
) -> npt.NDArray[np.float16]:
    """Local features of videos: frames (n, 25, 28, 28) → float16 (n, 25, 50).

    The log-softmax of the 50 hidden units, as in the authors' code: without shifting, clusters
    learn nothing of these under dropout, and most of what they know of the units themselves.
    """
    images = torch.from_numpy(frames).flatten(0, 1)
    with torch.inference_mode():
        parts = [network.features(part, log_softmax=True) for part in images.split(AT_ONCE)]
        found = torch.cat(parts).half().numpy()
    features: npt.NDArray[np.float16] = found.reshape(*frames.shape[:2], -1)
    return features

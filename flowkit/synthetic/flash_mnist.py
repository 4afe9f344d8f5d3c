"""Render Flash-MNIST: videos of noise in which handwritten digits flash up.

Long, Gan, de Melo, Wu, Liu, Wen: Attention Clusters: Purely Attention Based Local Feature
Integration for Video Classification, CVPR 2018, §4.1.

A video has 25 frames of 28×28 pixels. Its class is the set of digits that flash up, one of 2^10 =
1024: digit d flashes up in videos of class k if bit d of k is set, and no digit in those of class
0. Each digit is in one frame or in two, each time as a newly drawn image, and no frame shows two
digits; a frame is the maximum of the digit and the noise. There are 100 videos of each class for
training and 10 for testing, from MNIST's digits of the same split.

Noise: each pixel is drawn independently from the histogram of the pixels of all digits. The noise
is drawn from a table of 2^16 entries, so the probability of a grey value is off by less than 2^-16.

A video depends only on the seed, its class and the copy: the videos of a class in a split are its
copies, numbered from 0. So frames need not be stored: any video can be rendered again, in any
order, in a fraction of a millisecond. Deviation from the authors' code, which draws all videos one
after the other and shuffles them: here the training code shuffles.
"""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from flowkit.errors import UsageError
from flowkit.synthetic.mnist import SIDE, Digits

FRAMES = 25
DIGITS = 10
CLASSES = 1 << DIGITS
SPLITS = ("train", "test")
VIDEOS = {"train": 100, "test": 10}
"""Number of videos of each class, by split."""

NO_DIGIT = -1
"""Stands for the index of an image in frames without a digit."""
TABLE_SIZE = 1 << 16
"""Number of entries of the table that noise is drawn from."""


def list_digits(label: int) -> list[int]:
    """List the digits that flash up in videos of a class.

    Args:
        label: The class, 0–1023.

    Returns:
        The digits, ascending.
    """
    return [digit for digit in range(DIGITS) if label >> digit & 1]


CLASS_NAMES = ["".join(map(str, list_digits(label))) or "none" for label in range(CLASSES)]
"""Name of each class: its digits, such as ``0379``; ``none`` without any."""


class FlashMNIST:
    """The videos of both splits, by index: all copies of a class, then those of the next class.

    Args:
        digits: Digits of each split.
        seed: Seed of the random numbers.
        videos: Number of videos of each class, by split.
        classes: Classes to render; a few of them make small data for tests.

    Raises:
        UsageError: A class is out of range or repeated.
    """

    def __init__(
        self,
        digits: Mapping[str, Digits],
        *,
        seed: int = 0,
        videos: Mapping[str, int] = VIDEOS,
        classes: Sequence[int] = range(CLASSES),
    ) -> None:
        """Compute the noise, and sort the digits by class."""
        invalid = [label for label in classes if not 0 <= label < CLASSES]
        if invalid or len(set(classes)) != len(classes):
            raise UsageError(
                f"expected classes from 0 to {CLASSES - 1}, each once, got {invalid or classes}"
            )
        self.digits, self.seed = {split: digits[split] for split in SPLITS}, seed
        self.videos, self.classes = dict(videos), list(classes)
        self.noise = make_noise_table(
            [split_digits.images for split_digits in self.digits.values()]
        )
        self._images_by_digit = {
            split: [np.flatnonzero(split_digits.labels == digit) for digit in range(DIGITS)]
            for split, split_digits in self.digits.items()
        }

    def count(self, split: str) -> int:
        """Return the number of videos of a split."""
        return len(self.classes) * self.videos[split]

    def label(self, split: str, index: int) -> int:
        """Return the class of a video.

        Args:
            split: "train" or "test".
            index: Index of the video in the split.

        Returns:
            The class, 0–1023.
        """
        return self.classes[index // self.videos[split]]

    def video_id(self, split: str, index: int) -> str:
        """Return the id of a video.

        Args:
            split: "train" or "test".
            index: Index of the video in the split.

        Returns:
            Split, class and copy, such as ``train/0379/042``.
        """
        copy = index % self.videos[split]
        return f"{split}/{CLASS_NAMES[self.label(split, index)]}/{copy:03d}"

    def find_video(self, video_id: str) -> tuple[str, int]:
        """Find a video by its id.

        Args:
            video_id: The id, such as ``train/0379/042``.

        Returns:
            The split, and the index of the video in it.

        Raises:
            UsageError: There is no such video.
        """
        split, _, rest = video_id.partition("/")
        class_name, _, copy = rest.partition("/")
        if split in SPLITS and class_name in CLASS_NAMES and copy.isdecimal():
            label, copy_number = CLASS_NAMES.index(class_name), int(copy)
            if label in self.classes and copy_number < self.videos[split]:
                return split, self.classes.index(label) * self.videos[split] + copy_number
        raise UsageError(
            f"no video {video_id!r} in Flash-MNIST; expected an id such as train/0379/042"
        )

    def flashes(self, split: str, index: int) -> npt.NDArray[np.int64]:
        """Return which image of the split's digits is in each frame of a video.

        Args:
            split: "train" or "test".
            index: Index of the video in the split.

        Returns:
            int64 (25,), indices of images; `NO_DIGIT` (−1) for frames without a digit.
        """
        return self._draw_flashes(
            self._make_generator(split, index), split, self.label(split, index)
        )

    def frames(self, split: str, index: int) -> npt.NDArray[np.uint8]:
        """Render a video.

        Args:
            split: "train" or "test".
            index: Index of the video in the split.

        Returns:
            uint8 (25, 28, 28).
        """
        rng = self._make_generator(split, index)
        flashes = self._draw_flashes(rng, split, self.label(split, index))
        frames = draw_noise(rng, self.noise, FRAMES)
        flash_frames = np.flatnonzero(flashes != NO_DIGIT)
        frames[flash_frames] = np.maximum(
            frames[flash_frames], self.digits[split].images[flashes[flash_frames]]
        )
        return frames

    def batch(self, split: str, indices: Iterable[int]) -> npt.NDArray[np.uint8]:
        """Render several videos.

        Args:
            split: "train" or "test".
            indices: Indices of the videos in the split.

        Returns:
            uint8 (n, 25, 28, 28).
        """
        return np.stack([self.frames(split, index) for index in indices])

    def _make_generator(self, split: str, index: int) -> np.random.Generator:
        """Make the random generator of a video."""
        # Seeded by class and copy rather than by index, so that a dataset with fewer classes has
        # the same videos of these classes.
        copy = index % self.videos[split]
        seeds = (self.seed, SPLITS.index(split), self.label(split, index), copy)
        return np.random.default_rng(seeds)

    def _draw_flashes(
        self, rng: np.random.Generator, split: str, label: int
    ) -> npt.NDArray[np.int64]:
        """Draw which image is in each frame."""
        images_by_digit = self._images_by_digit[split]
        images = [
            i
            for d in list_digits(label)
            for i in rng.choice(images_by_digit[d], rng.integers(1, 3))
        ]
        flashes = np.full(FRAMES, NO_DIGIT, np.int64)
        flashes[rng.permutation(FRAMES)[: len(images)]] = images
        return flashes


def make_noise_table(images: Sequence[npt.NDArray[np.uint8]]) -> npt.NDArray[np.uint8]:
    """Make a table with each grey value as often as in the images, up to rounding.

    Args:
        images: Arrays of images, uint8 (n, 28, 28) each.

    Returns:
        uint8 (65536,).
    """
    counts = np.sum([np.bincount(array.reshape(-1), minlength=256) for array in images], axis=0)
    bounds = np.cumsum(counts) / counts.sum()
    return np.searchsorted(bounds, (np.arange(TABLE_SIZE) + 0.5) / TABLE_SIZE).astype(np.uint8)


def draw_noise(
    rng: np.random.Generator, table: npt.NDArray[np.uint8], count: int
) -> npt.NDArray[np.uint8]:
    """Draw frames of noise.

    Args:
        rng: Random generator.
        table: Table of grey values, uint8 (65536,).
        count: Number of frames.

    Returns:
        uint8 (count, 28, 28).
    """
    noise: npt.NDArray[np.uint8] = table[
        rng.integers(0, TABLE_SIZE, (count, SIDE, SIDE), np.uint16)
    ]
    return noise

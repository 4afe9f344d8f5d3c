"""Flash-MNIST: videos of noise in which handwritten digits flash up.

Long, Gan, de Melo, Wu, Liu, Wen: Attention Clusters: Purely Attention Based Local Feature
Integration for Video Classification, CVPR 2018, §4.1.

A video has 25 frames of 28×28 pixels. Its class is the set of digits that flash up, one of
2^10 = 1024: digit d flashes in videos of class k where bit d of k is set, and none in those of
class 0. Each of them is in one frame or in two, each time as an image drawn anew, and no frame
shows two digits; it is the maximum of the digit and the noise. 100 videos of each class are for
training and 10 for testing, from MNIST's digits of the same split.

Noise: each pixel is drawn alone, from the histogram of the pixels of all digits that are there.
It comes from a table of 2^16 entries, so that a grey value's probability is off by less than 2^-16.

A video is a function of the seed and of its class and copy alone, so nobody keeps frames: any of
them can be made again, in any order, in a fraction of a millisecond. Deviation from the authors'
code, which draws all videos in turn and shuffles them: here whoever trains shuffles.
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
"""Videos of each class, by split."""

NOISE_ALONE = -1
TABLE = 1 << 16


def present(label: int) -> list[int]:
    """The digits that flash up in videos of a class."""
    return [digit for digit in range(DIGITS) if label >> digit & 1]


CLASS_NAMES = ["".join(map(str, present(label))) or "none" for label in range(CLASSES)]
"""By class: its digits, such as ``0379``; ``none`` without any."""


class FlashMNIST:
    """The videos of both splits, by number: all copies of a class, then those of the next.

    ``digits``: those of each split. ``videos`` of each class, by split. ``classes``: those that
    there are videos of; few make small data for tests. UsageError for a class that is none.
    """

    def __init__(
        self,
        digits: Mapping[str, Digits],
        *,
        seed: int = 0,
        videos: Mapping[str, int] = VIDEOS,
        classes: Sequence[int] = range(CLASSES),
    ) -> None:
        wrong = [label for label in classes if not 0 <= label < CLASSES]
        if wrong or len(set(classes)) != len(classes):
            raise UsageError(
                f"expected classes from 0 to {CLASSES - 1}, each once, got {wrong or classes}"
            )
        self.digits, self.seed = {split: digits[split] for split in SPLITS}, seed
        self.videos, self.classes = dict(videos), list(classes)
        self.noise = make_noise_table([part.images for part in self.digits.values()])
        self._numbers = {
            split: [np.flatnonzero(part.labels == digit) for digit in range(DIGITS)]
            for split, part in self.digits.items()
        }

    def count(self, split: str) -> int:
        """How many videos a split has."""
        return len(self.classes) * self.videos[split]

    def label(self, split: str, number: int) -> int:
        """The class of a video."""
        return self.classes[number // self.videos[split]]

    def name(self, split: str, number: int) -> str:
        """The id of a video: split, class and copy, such as ``train/0379/042``."""
        copy = number % self.videos[split]
        return f"{split}/{CLASS_NAMES[self.label(split, number)]}/{copy:03d}"

    def find(self, name: str) -> tuple[str, int]:
        """Split and number of the video of an id; UsageError where there is none."""
        split, _, rest = name.partition("/")
        label, _, copy = rest.partition("/")
        if split in SPLITS and label in CLASS_NAMES and copy.isdecimal():
            at, place = CLASS_NAMES.index(label), int(copy)
            if at in self.classes and place < self.videos[split]:
                return split, self.classes.index(at) * self.videos[split] + place
        raise UsageError(f"no video {name!r} in Flash-MNIST; ids are such as train/0379/042")

    def flashes(self, split: str, number: int) -> npt.NDArray[np.int64]:
        """Which image of the split's digits is in each frame of a video, int64 (25,).

        `NOISE_ALONE` (−1) where there is none.
        """
        return self._draw(self._random(split, number), split, self.label(split, number))

    def frames(self, split: str, number: int) -> npt.NDArray[np.uint8]:
        """The frames of a video, uint8 (25, 28, 28)."""
        rng = self._random(split, number)
        flashes = self._draw(rng, split, self.label(split, number))
        frames = draw_noise(rng, self.noise, FRAMES)
        at = np.flatnonzero(flashes != NOISE_ALONE)
        frames[at] = np.maximum(frames[at], self.digits[split].images[flashes[at]])
        return frames

    def batch(self, split: str, numbers: Iterable[int]) -> npt.NDArray[np.uint8]:
        """The frames of several videos, uint8 (n, 25, 28, 28)."""
        return np.stack([self.frames(split, number) for number in numbers])

    def _random(self, split: str, number: int) -> np.random.Generator:
        # Of class and copy, not of the number: a part of the classes has the videos of the whole.
        copy = number % self.videos[split]
        seeds = (self.seed, SPLITS.index(split), self.label(split, number), copy)
        return np.random.default_rng(seeds)

    def _draw(self, rng: np.random.Generator, split: str, label: int) -> npt.NDArray[np.int64]:
        numbers = self._numbers[split]
        images = [i for d in present(label) for i in rng.choice(numbers[d], rng.integers(1, 3))]
        flashes = np.full(FRAMES, NOISE_ALONE, np.int64)
        flashes[rng.permutation(FRAMES)[: len(images)]] = images
        return flashes


def make_noise_table(images: Sequence[npt.NDArray[np.uint8]]) -> npt.NDArray[np.uint8]:
    """Grey values uint8 (65536,), each as often as in the images (n, 28, 28), but for rounding."""
    counts = np.sum([np.bincount(part.reshape(-1), minlength=256) for part in images], axis=0)
    bounds = np.cumsum(counts) / counts.sum()
    return np.searchsorted(bounds, (np.arange(TABLE) + 0.5) / TABLE).astype(np.uint8)


def draw_noise(
    rng: np.random.Generator, table: npt.NDArray[np.uint8], count: int
) -> npt.NDArray[np.uint8]:
    """So many frames of noise, uint8 (count, 28, 28)."""
    noise: npt.NDArray[np.uint8] = table[rng.integers(0, TABLE, (count, SIDE, SIDE), np.uint16)]
    return noise

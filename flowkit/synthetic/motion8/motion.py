"""Sample the motion of motion8: the distribution of the shapes' positions over time.

A scene is a textured ground and K textured shapes. Shape i has four coordinates: x_i and y_i (its
centre in pixels, on the torus of the frame: what leaves at one side enters at the opposite one),
φ_i (its angle) and s_i (the logarithm of its radius). A class is a pair (coordinate m, sign σ) out
of 4 × 2:

    x: left −, right +    y: up −, down +    φ: clockwise +, counter-clockwise −
    s: contracting −, expanding +

Every coordinate c of every shape follows, at frame t of n, one equation:

    c_i(t) = ref_{c,i} + σ_c · rate_{c,i} · (clock_c(t) − τ_{c,i})

    clock_c(t) = t for the coordinate that the class moves, and F_c for the other three
    F_c, τ_{c,i} ~ uniform on {0, …, n−1}, ref and rate independent of the class
    σ_m = the class's sign, σ_c a fair coin for the other three

so a coordinate at rest is where a moving one would be at a random moment.

**A single frame says nothing about the class: its state has the same distribution in all eight
classes.** Let T be uniform on {0, …, n−1} and independent of the scene. (1) For every m,
(clock_c(T))_c are four independent uniform variables on {0, …, n−1}: T for m and F_c for the
others. Together with τ, ref and rate, all independent of the class, they give the state at T by one
formula. (2) The signs: t → n−1−t maps the distribution of (clock_c, τ_c) onto itself and negates
clock_c − τ_c for all shapes at once, so a state with σ_c = + is distributed as one with σ_c = −. By
(1) and (2) the joint distribution of all coordinates of all shapes at T does not depend on the
class. The appearance (outlines, colours, textures, order in depth) and the ground (its position is
uniform on its torus at every t) are drawn independently of the class. ∎

The reference times τ are drawn for each shape, so that the shapes of one frame share only the
clock, and not their offsets. If all motion started at t = 0 instead, expanding shapes would be
large and contracting ones small; a test shows that the comparison of distributions detects this.
The proof does not cover the errors of the video codec; with the encoder's settings they are one or
two grey levels.

    n frames    m, σ Clip.motion    ref Scene.ref    rate Scene.rate    τ Scene.tau
    F Scene.frozen    σ_c Scene.sign    K Motion8.shapes
"""

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flowkit.errors import UsageError
from flowkit.synthetic.shapes import SHAPES

X, Y, ANGLE, SIZE = range(4)

# Class → (moved coordinate, sign). Angles grow clockwise, since y points down.
CLASSES: dict[str, tuple[int, int]] = {
    "left": (X, -1),
    "right": (X, +1),
    "up": (Y, -1),
    "down": (Y, +1),
    "clockwise": (ANGLE, +1),
    "counter-clockwise": (ANGLE, -1),
    "expanding": (SIZE, +1),
    "contracting": (SIZE, -1),
}
SUBSETS = ("train", "test")
RADII = (0.12, 0.20)
"""Range of the radii at the reference time, relative to the shorter side."""
ZOOM = 0.6
"""Largest change of ln(radius) over a video."""
SMALLEST, LARGEST = RADII[0] * math.exp(-ZOOM), RADII[1] * math.exp(ZOOM)


@dataclass(frozen=True, kw_only=True, slots=True)
class Motion8:
    """The configuration of a motion8 dataset."""

    videos: int = 16
    """Number of videos of the subset train; video n has class n modulo 8."""
    test_videos: int = 8
    """Number of videos of the subset test."""
    frames: int = 32
    """Number of frames of each video, at least 2."""
    width: int = 256
    """Width in pixels, even (4:2:0), at least 32."""
    height: int = 256
    """Height in pixels, even, at least 32."""
    fps: int = 25
    """Frames per second."""
    shapes: int = 3
    """Number of shapes in each video."""
    speed: tuple[float, float] = (1.5, 3.5)
    """Speed of the slowest and of the fastest shape, in pixels per frame. For rotating shapes it is
    the speed of a point whose distance from their centre is a quarter of the shorter side. It does
    not apply to expanding and contracting shapes: their radius changes by at most a factor e^0.6
    over the video, whatever its length.
    """
    drift: float = 0.5
    """Speed of the ground in pixels per frame, in a direction that is independent of the class."""
    seed: int = 0
    """Seed of all random numbers."""

    def __post_init__(self) -> None:
        """Check the ranges."""
        object.__setattr__(self, "speed", tuple(self.speed))
        for name, minimum in (("videos", 0), ("test_videos", 0), ("frames", 2), ("fps", 1)):
            value = getattr(self, name)
            if value < minimum:
                raise UsageError(f"motion8 {name} must be at least {minimum}, got {value}")
        for name, side in (("width", self.width), ("height", self.height)):
            if side < 32 or side % 2:
                raise UsageError(f"motion8 {name} must be even and at least 32, got {side}")
        if self.shapes < 1 or self.seed < 0 or self.drift < 0:
            raise UsageError("motion8 needs at least 1 shape, and no negative seed or drift")
        if len(self.speed) != 2 or not 0 < self.speed[0] <= self.speed[1]:
            raise UsageError(f"motion8 speed must be 0 < slowest ≤ fastest, got {self.speed}")

    @property
    def side(self) -> int:
        """The shorter side in pixels, which sizes are relative to."""
        return min(self.width, self.height)

    def to_dict(self) -> dict[str, Any]:
        """Return the configuration as JSON values."""
        return {**asdict(self), "speed": list(self.speed)}


@dataclass(frozen=True, slots=True, eq=False)
class Scene:
    """All random draws of one clip except its textures; K shapes. None depends on the class."""

    ref: NDArray[np.float64]
    """float64 (4, K), reference values by coordinate X, Y, ANGLE, SIZE: pixels, pixels, radians, ln
    pixels.
    """
    rate: NDArray[np.float64]
    """float64 (4, K), change of the coordinates per frame."""
    tau: NDArray[np.float64]
    """float64 (4, K), reference times in frames."""
    sign: NDArray[np.float64]
    """float64 (4,), direction of the coordinates that the class does not move."""
    frozen: NDArray[np.float64]
    """float64 (4,), F: the constant clock of the coordinates that the class does not move."""
    outlines: tuple[str, ...]
    """K names of SHAPES, from the farthest shape to the nearest."""
    ground: NDArray[np.float64]
    """float64 (2,), x and y of the ground at t = 0, in pixels."""
    drift: NDArray[np.float64]
    """float64 (2,), x and y motion of the ground, in pixels per frame."""
    texture_seed: int
    """Seed of the textures and colours."""


@dataclass(frozen=True)
class Clip:
    """One video of motion8, described by what it is rendered from."""

    config: Motion8
    """The configuration of the dataset."""
    subset: str
    """"train" or "test"."""
    index: int
    """Index of the video in the subset, from 0, which decides its class and its scene."""

    @property
    def label(self) -> str:
        """The class."""
        return list(CLASSES)[self.index % len(CLASSES)]

    @property
    def id(self) -> str:
        """The path below ``videos/``: ``<class>/<subset>_<index>.mp4``."""
        return f"{self.label}/{self.subset}_{self.index:05d}.mp4"

    @cached_property
    def scene(self) -> Scene:
        """The random draws; they do not depend on the class."""
        key = [self.config.seed, SUBSETS.index(self.subset), self.index]
        return draw_scene(self.config, np.random.default_rng(key))

    @property
    def motion(self) -> tuple[int, int]:
        """The moved coordinate and its sign."""
        return CLASSES[self.label]

    def state(self, t: float) -> NDArray[np.float64]:
        """Compute the coordinates of every shape.

        Args:
            t: Time in frames.

        Returns:
            float64 (4, K): x and y in pixels, not wrapped to the torus (so their change is the
            motion); the angle in radians, not wrapped; ln of the radius in pixels.
        """
        return sample_trajectory(self.scene, self.motion, t)


def sample_trajectory(scene: Scene, motion: tuple[int, int], t: float) -> NDArray[np.float64]:
    """Compute the equation of the module docstring for all coordinates and shapes.

    Args:
        scene: The random draws.
        motion: The moved coordinate and its sign.
        t: Time in frames.

    Returns:
        float64 (4, K).
    """
    moved, motion_sign = motion
    clock, sign = scene.frozen.copy(), scene.sign.copy()
    clock[moved], sign[moved] = t, motion_sign
    return scene.ref + sign[:, None] * scene.rate * (clock[:, None] - scene.tau)


def draw_scene(config: Motion8, rng: np.random.Generator) -> Scene:
    """Draw one scene.

    Args:
        config: The configuration.
        rng: Random generator.

    Returns:
        The scene.
    """
    num_shapes, num_frames, side = config.shapes, config.frames, config.side
    low = np.array([0, 0, 0, math.log(RADII[0] * side)])
    high = np.array([config.width, config.height, 2 * np.pi, math.log(RADII[1] * side)])
    ref = rng.uniform(low[:, None], high[:, None], (4, num_shapes))
    rate = np.stack(
        [
            rng.uniform(*config.speed, num_shapes),
            rng.uniform(*config.speed, num_shapes),
            rng.uniform(*config.speed, num_shapes) / (0.25 * side),
            rng.uniform(0.6, 1.0, num_shapes) * ZOOM / (num_frames - 1),
        ]
    )
    heading = rng.uniform(0, 2 * np.pi)
    return Scene(
        ref=ref,
        rate=rate,
        tau=rng.integers(0, num_frames, (4, num_shapes)).astype(float),
        sign=rng.choice([-1.0, 1.0], 4),
        frozen=rng.integers(0, num_frames, 4).astype(float),
        outlines=tuple(str(name) for name in rng.choice(list(SHAPES), num_shapes)),
        ground=rng.uniform(0, 1, 2) * (config.width, config.height),
        drift=config.drift * np.array([math.cos(heading), math.sin(heading)]),
        texture_seed=int(rng.integers(2**62)),
    )


def make_clips(config: Motion8) -> Iterator[Clip]:
    """Make all clips: train, then test.

    Args:
        config: The configuration.

    Yields:
        The clips.
    """
    for subset, count in zip(SUBSETS, (config.videos, config.test_videos), strict=True):
        for index in range(count):
            yield Clip(config, subset, index)


def make_clip(config: Motion8, clip_id: str) -> Clip:
    """Make the clip that has an id.

    Args:
        config: The configuration.
        clip_id: The id, such as ``left/train_00000.mp4``.

    Returns:
        The clip.

    Raises:
        UsageError: There is no such clip.
    """
    subset, _, digits = clip_id.rpartition("/")[2].removesuffix(".mp4").partition("_")
    count = {"train": config.videos, "test": config.test_videos}.get(subset, 0)
    if digits.isascii() and digits.isdigit() and int(digits) < count:
        clip = Clip(config, subset, int(digits))
        if clip.id == clip_id:
            return clip
    raise UsageError(
        f"no clip {clip_id!r} in this motion8; expected <class>/train_<5 digits>.mp4 with a number "
        f"below {config.videos}, or <class>/test_<5 digits>.mp4 with one below "
        f"{config.test_videos}; the class of number n is number n mod {len(CLASSES)}"
    )

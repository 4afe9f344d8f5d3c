"""The law of motion8: which scenes exist, and why one frame says nothing about the class.

A scene is a ground and K textured shapes. Shape i has four coordinates: x_i and y_i (its
centre, pixels, on the torus of the picture), φ_i (its angle) and s_i (the logarithm of its
radius). A class is a pair (coordinate m, sign σ) out of 4 × 2:

    x: left −, right +    y: up −, down +    φ: clockwise +, counter-clockwise −
    s: contracting −, expanding +

Every coordinate c of every shape obeys, at frame t of n, one equation:

    c_i(t) = ref_{c,i} + σ_c · rate_{c,i} · (clock_c(t) − τ_{c,i})

    clock_c(t) = t for the coordinate that the class moves, and F_c for the other three
    F_c, τ_{c,i} ~ uniform on {0, …, n−1}, ref and rate ~ laws that do not know the class
    σ_m = the class's sign, σ_c a fair coin for the other three

so a coordinate at rest stands where a moving one would be found at a random moment.

**The state of a single frame has the same law in all eight classes.** Let T be uniform on
{0, …, n−1} and independent of the scene. (1) Whichever m is, (clock_c(T))_c are four
independent uniform variables on {0, …, n−1}: T for m and F_c for the others. Together with
τ, ref and rate, all independent of the class, they give the state at T by one formula. (2)
The signs: t → n−1−t maps the law of (clock_c, τ_c) onto itself and negates clock_c − τ_c for
all shapes at once, so a state with σ_c = + is distributed as one with σ_c = −. By (1) and
(2) the joint law of all coordinates of all shapes at T is that of a scene which no class has
touched. Look (outlines, colours, textures, order in depth) and ground (its place uniform on
its torus at every t) are drawn without the class. ∎

The reference times τ are drawn per shape, so that the shapes of one frame do not share their
offsets more than they must (they share the clock). If all motion began at t = 0 instead,
expanding shapes would be large and contracting ones small: a test shows that the comparison
of laws finds this. What a codec leaves in a decoded frame is outside the argument; at the
constant rate factor used it is one or two grey levels.

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
# Radii relative to the shorter side at reference, and the farthest that zoom takes ln radius.
RADII = (0.12, 0.20)
ZOOM = 0.6
SMALLEST, LARGEST = RADII[0] * math.exp(-ZOOM), RADII[1] * math.exp(ZOOM)


@dataclass(frozen=True, kw_only=True, slots=True)
class Motion8:
    """How many videos, and of what kind.

    videos, test_videos: of the subsets train and test; classes take turns.
    frames, fps: of each video.
    width, height: pixels, even (4:2:0), at least 32.
    shapes: in each video.
    speed: slowest and fastest shape, pixels per frame; of turning shapes, at a quarter of
        the picture's shorter side from their centre. Zooming covers at most a factor e^0.6
        over the video, whatever its length.
    drift: speed of the ground, pixels per frame, in a direction that the class does not know.
    seed: of everything.
    """

    videos: int = 16
    test_videos: int = 8
    frames: int = 32
    width: int = 256
    height: int = 256
    fps: int = 25
    shapes: int = 3
    speed: tuple[float, float] = (1.5, 3.5)
    drift: float = 0.5
    seed: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "speed", tuple(self.speed))
        for name, least in (("videos", 0), ("test_videos", 0), ("frames", 2), ("fps", 1)):
            if getattr(self, name) < least:
                raise UsageError(
                    f"motion8 {name} must be at least {least}, got {getattr(self, name)}"
                )
        for name in ("width", "height"):
            if getattr(self, name) < 32 or getattr(self, name) % 2:
                raise UsageError(
                    f"motion8 {name} must be even and at least 32, got {getattr(self, name)}"
                )
        if self.shapes < 1 or self.seed < 0 or self.drift < 0:
            raise UsageError("motion8 takes at least 1 shape, and no negative seed or drift")
        if len(self.speed) != 2 or not 0 < self.speed[0] <= self.speed[1]:
            raise UsageError(f"motion8 speed must be 0 < slowest ≤ fastest, got {self.speed}")

    @property
    def side(self) -> int:
        """The shorter side, pixels: what sizes are relative to."""
        return min(self.width, self.height)

    def to_dict(self) -> dict[str, Any]:
        """The configuration as JSON values."""
        return {**asdict(self), "speed": list(self.speed)}


@dataclass(frozen=True, slots=True, eq=False)
class Scene:
    """All draws of one clip but its textures; K shapes. None of them knows the class.

    ref, rate, tau: float64 (4, K), by coordinate X, Y, ANGLE, SIZE: pixels, pixels, radians,
        ln pixels; per frame; frames.
    sign, frozen: float64 (4,), used for the coordinates that the class does not move.
    outlines: K names of SHAPES, from the farthest shape to the nearest.
    ground, drift: float64 (2,): x, y of the ground at t = 0 (pixels), and pixels per frame.
    look: seed of the textures and colours.
    """

    ref: NDArray[np.float64]
    rate: NDArray[np.float64]
    tau: NDArray[np.float64]
    sign: NDArray[np.float64]
    frozen: NDArray[np.float64]
    outlines: tuple[str, ...]
    ground: NDArray[np.float64]
    drift: NDArray[np.float64]
    look: int


@dataclass(frozen=True)
class Clip:
    """One video of motion8: ``subset`` and ``number`` decide it, given the configuration."""

    config: Motion8
    subset: str
    number: int

    @property
    def label(self) -> str:
        """Its class."""
        return list(CLASSES)[self.number % len(CLASSES)]

    @property
    def id(self) -> str:
        """Its path below ``videos/``: ``<class>/<subset>_<number>.mp4``."""
        return f"{self.label}/{self.subset}_{self.number:05d}.mp4"

    @cached_property
    def scene(self) -> Scene:
        """Its draws; never a function of the class."""
        key = [self.config.seed, SUBSETS.index(self.subset), self.number]
        return draw_scene(self.config, np.random.default_rng(key))

    @property
    def motion(self) -> tuple[int, int]:
        """(moved coordinate, sign)."""
        return CLASSES[self.label]

    def state(self, t: float) -> NDArray[np.float64]:
        """The coordinates of every shape at time t (frames): float64 (4, K).

        x, y in pixels, not wrapped to the torus (so their change is the motion), angle in
        radians, not wrapped, ln of the radius in pixels.
        """
        return state_at(self.scene, self.motion, t)


def state_at(scene: Scene, motion: tuple[int, int], t: float) -> NDArray[np.float64]:
    """The equation of this file's header, for all coordinates and shapes: float64 (4, K)."""
    moved, direction = motion
    clock, sign = scene.frozen.copy(), scene.sign.copy()
    clock[moved], sign[moved] = t, direction
    return scene.ref + sign[:, None] * scene.rate * (clock[:, None] - scene.tau)


def draw_scene(config: Motion8, rng: np.random.Generator) -> Scene:
    """Draw one scene."""
    k, n, side = config.shapes, config.frames, config.side
    ref = np.stack(
        [
            rng.uniform(0, config.width, k),
            rng.uniform(0, config.height, k),
            rng.uniform(0, 2 * np.pi, k),
            rng.uniform(math.log(RADII[0] * side), math.log(RADII[1] * side), k),
        ]
    )
    rate = np.stack(
        [
            rng.uniform(*config.speed, k),
            rng.uniform(*config.speed, k),
            rng.uniform(*config.speed, k) / (0.25 * side),
            rng.uniform(0.6, 1.0, k) * ZOOM / (n - 1),
        ]
    )
    heading = rng.uniform(0, 2 * np.pi)
    return Scene(
        ref=ref,
        rate=rate,
        tau=rng.integers(0, n, (4, k)).astype(float),
        sign=rng.choice([-1.0, 1.0], 4),
        frozen=rng.integers(0, n, 4).astype(float),
        outlines=tuple(str(name) for name in rng.choice(list(SHAPES), k)),
        ground=rng.uniform(0, 1, 2) * (config.width, config.height),
        drift=config.drift * np.array([math.cos(heading), math.sin(heading)]),
        look=int(rng.integers(2**62)),
    )


def make_clips(config: Motion8) -> Iterator[Clip]:
    """All clips: train, then test."""
    for subset, count in zip(SUBSETS, (config.videos, config.test_videos), strict=True):
        for number in range(count):
            yield Clip(config, subset, number)


def make_clip(config: Motion8, clip_id: str) -> Clip:
    """The clip of an id such as ``left/train_00000.mp4``; UsageError where there is none."""
    subset, _, number = clip_id.rpartition("/")[2].removesuffix(".mp4").partition("_")
    count = {"train": config.videos, "test": config.test_videos}.get(subset, 0)
    if number.isascii() and number.isdigit() and int(number) < count:
        clip = Clip(config, subset, int(number))
        if clip.id == clip_id:
            return clip
    raise UsageError(
        f"no clip {clip_id!r} in this motion8; expected <class>/train_<5 digits>.mp4 below "
        f"{config.videos}, or <class>/test_<5 digits>.mp4 below {config.test_videos}"
    )

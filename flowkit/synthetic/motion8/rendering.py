"""Clip → pictures.

A shape's texture and the distance to its outline are one float image of four channels, in
the shape's own coordinates; each frame warps it to where the shape is, and lays it over what
is behind with the coverage

    α = clip(½ − d · radius, 0, 1)      d(q) from shapes.py: a ramp one pixel wide

so edges are antialiased at every size. The texture has no wave that the smallest shape of the
configuration would show at less than two pixels: bilinear warping does not alias. (A limit
by the clip's own sizes would tell zooming clips from others.)
Everything lives on the torus of the picture: a shape that leaves at the right comes in at
the left, so the picture never empties.
"""

import math
from collections.abc import Iterator

import cv2
import numpy as np
from numpy.typing import NDArray

from flowkit.synthetic.motion8.motion import ANGLE, LARGEST, SIZE, SMALLEST, Clip, Motion8, X, Y
from flowkit.synthetic.shapes import SHAPES
from flowkit.synthetic.textures import colour, make_noise, make_palette

WAVES = (1.0, 0.5, 0.25, 0.125)  # of a shape's texture, in shape radii
SPRITE_REACH = 1.15  # how far the texture image goes, in shape radii: room for the ramp
GOLDEN = 0.618034  # hue step that keeps neighbours in the list apart


class Renderer:
    """The pictures of one clip. Making one costs the textures; a frame is then a few warps."""

    def __init__(self, clip: Clip) -> None:
        config, scene = clip.config, clip.scene
        self.clip = clip
        rng = np.random.default_rng(scene.look)
        hue = rng.uniform()
        waves = [config.side / 4, config.side / 8, config.side / 16, max(4, config.side / 32)]
        noise = make_noise(config.height, config.width, waves, rng)
        ground = colour(0.15 + 0.7 * noise, make_palette(hue, 0.30))
        self.ground = np.pad(
            ground, ((0, config.height + 1), (0, config.width + 1), (0, 0)), "wrap"
        )
        self.sprites = [
            make_sprite(name, (hue + GOLDEN * (i + 1)) % 1, config, rng)
            for i, name in enumerate(scene.outlines)
        ]

    def frame(self, t: float) -> NDArray[np.uint8]:
        """The picture at time t (frames), uint8 RGB (height, width, 3)."""
        scene = self.clip.scene
        canvas = roll(self.ground, scene.ground + scene.drift * t)
        state = self.clip.state(t)
        for i, sprite in enumerate(self.sprites):
            self._lay(canvas, sprite, state[:, i])
        picture: NDArray[np.uint8] = cv2.convertScaleAbs(canvas)  # rounds; colours are in 0–255
        return picture

    def _lay(
        self, canvas: NDArray[np.float32], sprite: NDArray[np.float32], state: NDArray[np.float64]
    ) -> None:
        """Lay a shape over the canvas, with every copy of it that the torus shows."""
        height, width = canvas.shape[:2]
        radius = float(np.exp(state[SIZE]))
        reach = radius * SPRITE_REACH
        for x in copies(state[X] % width, reach, width):
            for y in copies(state[Y] % height, reach, height):
                x0, x1 = max(0, int(x - reach)), min(width, int(x + reach) + 2)
                y0, y1 = max(0, int(y - reach)), min(height, int(y + reach) + 2)
                if x0 >= x1 or y0 >= y1:
                    continue
                warped = cv2.warpAffine(
                    sprite,
                    into_sprite(x - x0, y - y0, state[ANGLE], radius, len(sprite)),
                    (x1 - x0, y1 - y0),
                    flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
                    borderMode=cv2.BORDER_CONSTANT,
                    borderValue=(0, 0, 0, 1),
                )
                alpha = np.float32(0.5) - warped[..., 3:] * np.float32(radius)
                alpha = np.minimum(np.maximum(alpha, 0), 1)
                behind = canvas[y0:y1, x0:x1]
                behind += alpha * (warped[..., :3] - behind)


def render(clip: Clip) -> Iterator[NDArray[np.uint8]]:
    """All frames of a clip, uint8 RGB (height, width, 3)."""
    renderer = Renderer(clip)
    for t in range(clip.config.frames):
        yield renderer.frame(t)


def make_sprite(
    name: str, hue: float, config: Motion8, rng: np.random.Generator
) -> NDArray[np.float32]:
    """A shape's image, as large as the largest shape: float32 (S, S, 4), RGB and distance.

    RGB in 0–255; distance in radii.
    """
    half = math.ceil(LARGEST * config.side * SPRITE_REACH)
    axis = np.linspace(-SPRITE_REACH, SPRITE_REACH, 2 * half + 1, dtype=np.float32)
    q = np.stack(np.meshgrid(axis, axis), -1)
    visible = [w for w in WAVES if w * SMALLEST * config.side >= 2] or WAVES[:1]
    waves = [w * half / SPRITE_REACH for w in visible]
    paint = colour(make_noise(len(axis), len(axis), waves, rng), make_palette(hue, 0.85))
    distance = SHAPES[name](q).astype(np.float32)
    return np.ascontiguousarray(np.dstack([paint, distance]))


def into_sprite(x: float, y: float, angle: float, radius: float, size: int) -> NDArray[np.float64]:
    """The affine map (2, 3) from picture pixels to sprite pixels, for a shape centred at x, y."""
    half = (size - 1) / 2
    scale = half / SPRITE_REACH / radius
    cos, sin = scale * np.cos(angle), scale * np.sin(angle)
    return np.array([[cos, sin, half - cos * x - sin * y], [-sin, cos, half + sin * x - cos * y]])


def copies(centre: float, reach: float, period: float) -> list[float]:
    """Where on one axis a shape shows within [0, period), being on a circle of that length."""
    places = (centre - period, centre, centre + period)
    return [c for c in places if c + reach > 0 and c - reach < period - 1]


def roll(tiled: NDArray[np.float32], offset: NDArray[np.float64]) -> NDArray[np.float32]:
    """A periodic picture moved by ``offset`` (x, y) pixels, bilinear between pixels.

    tiled: two periods and a pixel in each direction, so that the window never wraps.
    """
    height, width = tiled.shape[0] // 2, tiled.shape[1] // 2
    window = np.array([[1, 0, -offset[0] % width], [0, 1, -offset[1] % height]])
    moved: NDArray[np.float32] = cv2.warpAffine(
        tiled, window, (width, height), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    )
    return moved

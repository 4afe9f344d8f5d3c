"""Render the frames of a motion8 clip.

A sprite is one float image of four channels, in the shape's own coordinates: the texture of a
shape, and the distance to its outline. Each frame warps it to where the shape is, and blends it
over what is behind with the coverage

    α = clip(½ − d · radius, 0, 1)      d(q) from shapes.py: a ramp one pixel wide

so edges are antialiased at every size. The texture has no wavelength that would be shorter than two
pixels on the smallest shape of the configuration, so bilinear warping does not alias. (A limit by
the clip's own sizes would distinguish zooming clips from others.) Everything is on the torus of the
frame: a shape that leaves at the right enters at the left, so the frame never becomes empty.
"""

import math
from collections.abc import Iterator

import cv2
import numpy as np
from numpy.typing import NDArray

from flowkit.synthetic.motion8.motion import ANGLE, LARGEST, SIZE, SMALLEST, Clip, Motion8, X, Y
from flowkit.synthetic.shapes import SHAPES
from flowkit.synthetic.textures import apply_palette, make_noise, make_palette

WAVES = (1.0, 0.5, 0.25, 0.125)
"""Wavelengths of a shape's texture, in shape radii."""
SPRITE_EXTENT = 1.15
"""Half the side of a sprite, in shape radii, which leaves room for the ramp."""
HUE_STEP = 0.618034
"""Difference in hue between consecutive shapes (the golden ratio), which keeps them distinct."""


class Renderer:
    """Renders the frames of one clip. Creating it makes the textures; a frame is then a few warps.

    Args:
        clip: The clip.
    """

    def __init__(self, clip: Clip) -> None:
        """Make the textures of the ground and the shapes."""
        config, scene = clip.config, clip.scene
        self.clip = clip
        rng = np.random.default_rng(scene.texture_seed)
        hue = rng.uniform()
        waves = [config.side / 4, config.side / 8, config.side / 16, max(4, config.side / 32)]
        noise = make_noise(config.height, config.width, waves, rng)
        ground = apply_palette(0.15 + 0.7 * noise, make_palette(hue, 0.30))
        padding = ((0, config.height + 1), (0, config.width + 1), (0, 0))
        self.ground = np.pad(ground, padding, "wrap")
        self.sprites = [
            make_sprite(name, (hue + HUE_STEP * (i + 1)) % 1, config, rng)
            for i, name in enumerate(scene.outlines)
        ]

    def frame(self, t: float) -> NDArray[np.uint8]:
        """Render the frame at one time.

        Args:
            t: Time in frames.

        Returns:
            uint8 RGB (height, width, 3).
        """
        scene = self.clip.scene
        canvas = shift_periodic(self.ground, scene.ground + scene.drift * t)
        state = self.clip.state(t)
        for i, sprite in enumerate(self.sprites):
            self._draw_shape(canvas, sprite, state[:, i])
        frame: NDArray[np.uint8] = cv2.convertScaleAbs(canvas)  # rounds; colours are in 0–255
        return frame

    def _draw_shape(
        self, canvas: NDArray[np.float64], sprite: NDArray[np.float64], state: NDArray[np.float64]
    ) -> None:
        """Draw a shape on the canvas, with every copy of it that is visible on the torus."""
        height, width = canvas.shape[:2]
        radius = float(np.exp(state[SIZE]))
        extent = radius * SPRITE_EXTENT
        for x in list_copies(state[X] % width, extent, width):
            for y in list_copies(state[Y] % height, extent, height):
                x0, x1 = max(0, int(x - extent)), min(width, int(x + extent) + 2)
                y0, y1 = max(0, int(y - extent)), min(height, int(y + extent) + 2)
                if x0 >= x1 or y0 >= y1:
                    continue
                warped = cv2.warpAffine(
                    sprite,
                    make_sprite_transform(x - x0, y - y0, state[ANGLE], radius, len(sprite)),
                    (x1 - x0, y1 - y0),
                    flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
                    borderMode=cv2.BORDER_CONSTANT,
                    borderValue=(0, 0, 0, 1),
                )
                alpha = np.float32(0.5) - warped[..., 3:] * np.float32(radius)
                alpha = np.minimum(np.maximum(alpha, 0), 1)
                behind = canvas[y0:y1, x0:x1]
                behind += alpha * (warped[..., :3] - behind)


def render_clip(clip: Clip) -> Iterator[NDArray[np.uint8]]:
    """Render all frames of a clip.

    Args:
        clip: The clip.

    Yields:
        uint8 RGB (height, width, 3).
    """
    renderer = Renderer(clip)
    for t in range(clip.config.frames):
        yield renderer.frame(t)


def make_sprite(
    name: str, hue: float, config: Motion8, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Make the image of a shape, as large as the largest shape.

    Args:
        name: Name of the shape, a key of SHAPES.
        hue: Hue of its texture, in [0, 1].
        config: The configuration, which decides the size.
        rng: Random generator.

    Returns:
        float64 (S, S, 4): RGB in 0–255, and the distance to the outline in radii.
    """
    half = math.ceil(LARGEST * config.side * SPRITE_EXTENT)
    axis = np.linspace(-SPRITE_EXTENT, SPRITE_EXTENT, 2 * half + 1, dtype=np.float32)
    q = np.stack(np.meshgrid(axis, axis), -1)
    visible = [w for w in WAVES if w * SMALLEST * config.side >= 2] or WAVES[:1]
    waves = [w * half / SPRITE_EXTENT for w in visible]
    texture = apply_palette(make_noise(len(axis), len(axis), waves, rng), make_palette(hue, 0.85))
    distance = SHAPES[name](q).astype(np.float32)
    return np.ascontiguousarray(np.dstack([texture, distance]))


def make_sprite_transform(
    x: float, y: float, angle: float, radius: float, size: int
) -> NDArray[np.float64]:
    """Make the affine map from frame pixels to sprite pixels.

    Args:
        x: Centre of the shape in pixels.
        y: Centre of the shape in pixels.
        angle: Angle of the shape in radians.
        radius: Radius of the shape in pixels.
        size: Side of the sprite in pixels.

    Returns:
        float64 (2, 3).
    """
    half = (size - 1) / 2
    scale = half / SPRITE_EXTENT / radius
    cos, sin = scale * np.cos(angle), scale * np.sin(angle)
    return np.array([[cos, sin, half - cos * x - sin * y], [-sin, cos, half + sin * x - cos * y]])


def list_copies(centre: float, extent: float, period: float) -> list[float]:
    """List the positions at which a shape is visible within [0, period) on a periodic axis.

    Args:
        centre: Centre of the shape in pixels.
        extent: Half the size of the shape in pixels.
        period: Length of the axis in pixels.

    Returns:
        The centres of the visible copies.
    """
    candidates = (centre - period, centre, centre + period)
    return [c for c in candidates if c + extent > 0 and c - extent < period - 1]


def shift_periodic(tiled: NDArray[np.float64], offset: NDArray[np.float64]) -> NDArray[np.float64]:
    """Shift a periodic image by ``offset``, bilinearly between pixels.

    Args:
        tiled: float64 RGB, two periods and a pixel in each direction, so the window never wraps.
        offset: float64 (2,), x and y in pixels.

    Returns:
        float64 RGB (height, width, 3), one period.
    """
    height, width = tiled.shape[0] // 2, tiled.shape[1] // 2
    window = np.array([[1, 0, -offset[0] % width], [0, 1, -offset[1] % height]])
    moved: NDArray[np.float64] = cv2.warpAffine(
        tiled, window, (width, height), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    )
    return moved

"""Textures with detail at every scale that motion can be seen at, and their colours."""

import colorsys
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def make_noise(
    height: int, width: int, wavelengths: Sequence[float], rng: np.random.Generator
) -> NDArray[np.float32]:
    """Smooth periodic noise, float32 (height, width), in [0, 1].

    One octave per wavelength (pixels), each white noise under a Gaussian low-pass whose
    half-power point is that wavelength, weighted so that short waves are fainter. It repeats
    over the borders, so it can tile a torus. The values are spread evenly over [0, 1], so
    every texture has the same contrast and the same mean.
    """
    fy = np.fft.fftfreq(height)[:, None]
    fx = np.fft.rfftfreq(width)[None, :]
    squared = fy * fy + fx * fx
    total = np.zeros((height, width))
    for wavelength in wavelengths:
        spectrum = np.fft.rfft2(rng.standard_normal((height, width)))
        octave = np.fft.irfft2(
            spectrum * np.exp2(-0.5 * squared * wavelength**2), s=(height, width)
        )
        octave -= octave.mean()
        total += octave / octave.std() * (wavelength / wavelengths[0]) ** 0.4
    ranks = np.empty(total.size, np.float32)
    ranks[np.argsort(total, axis=None)] = np.linspace(0, 1, total.size, dtype=np.float32)
    return ranks.reshape(height, width)


def make_palette(hue: float, saturation: float, steps: int = 256) -> NDArray[np.float32]:
    """Colours from dark to light around one hue, float32 RGB (steps, 3), in 0–255.

    hue and saturation in [0, 1]. The hue turns a little on the way up, as light on paint does.
    """
    ramp = np.linspace(0, 1, steps)
    colours = [
        colorsys.hsv_to_rgb(
            (hue + 0.10 * (u - 0.5)) % 1, saturation * (1 - 0.55 * u), 0.22 + 0.76 * u
        )
        for u in ramp
    ]
    return (np.array(colours) * 255).astype(np.float32)


def colour(noise: NDArray[np.float32], palette: NDArray[np.float32]) -> NDArray[np.float32]:
    """Noise (H, W) in [0, 1] through a palette (steps, 3): float32 RGB (H, W, 3), 0–255."""
    at = noise * (len(palette) - 1)
    low = np.minimum(at.astype(np.int32), len(palette) - 2)
    part = (at - low)[..., None]
    painted: NDArray[np.float32] = palette[low] * (1 - part) + palette[low + 1] * part
    return painted

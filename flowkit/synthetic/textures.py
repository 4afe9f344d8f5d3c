"""Make textures with detail at every scale at which motion is visible, and their colours."""

import colorsys
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def make_noise(
    height: int, width: int, wavelengths: Sequence[float], rng: np.random.Generator
) -> NDArray[np.float32]:
    """Make smooth periodic noise.

    The noise has one octave per wavelength: white noise under a Gaussian low-pass whose half-power
    point is that wavelength, weighted so that short waves are fainter. It is periodic, so it can
    tile a torus. The values are spread evenly over [0, 1], so every texture has the same contrast
    and the same mean.

    Args:
        height: Height in pixels.
        width: Width in pixels.
        wavelengths: Wavelengths in pixels, the longest first.
        rng: Random generator.

    Returns:
        float32 (height, width) in [0, 1].
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
    """Make colours from dark to light around one hue.

    The hue shifts a little from dark to light, like that of painted surfaces in light.

    Args:
        hue: Hue in [0, 1].
        saturation: Saturation in [0, 1].
        steps: Number of colours.

    Returns:
        float32 RGB (steps, 3) in 0–255.
    """
    ramp = np.linspace(0, 1, steps)
    colours = [
        colorsys.hsv_to_rgb(
            (hue + 0.10 * (u - 0.5)) % 1, saturation * (1 - 0.55 * u), 0.22 + 0.76 * u
        )
        for u in ramp
    ]
    return (np.array(colours) * 255).astype(np.float32)


def apply_palette(noise: NDArray[np.float32], palette: NDArray[np.float32]) -> NDArray[np.float64]:
    """Turn noise into an image with the colours of a palette.

    Args:
        noise: float32 (H, W) in [0, 1].
        palette: float32 RGB (steps, 3) in 0–255.

    Returns:
        float64 RGB (H, W, 3) in 0–255.
    """
    position = noise * (len(palette) - 1)
    low = np.minimum(position.astype(np.int32), len(palette) - 2)
    blend = (position - low)[..., None]
    painted: NDArray[np.float64] = palette[low] * (1 - blend) + palette[low + 1] * blend
    return painted

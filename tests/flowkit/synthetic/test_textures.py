"""Noise: even in value, periodic, with detail at every scale; palettes from dark to light."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from flowkit.synthetic.textures import apply_palette, make_noise, make_palette


@given(st.integers(16, 80), st.integers(16, 80), st.integers(0, 2**32))
def test_noise_is_even_and_repeatable(height: int, width: int, seed: int) -> None:
    noise = make_noise(height, width, [16, 8], np.random.default_rng(seed))
    assert noise.dtype == np.float32
    np.testing.assert_allclose(
        np.sort(noise, axis=None), np.linspace(0, 1, height * width), atol=1e-6
    )
    again = make_noise(height, width, [16, 8], np.random.default_rng(seed))
    np.testing.assert_array_equal(noise, again)


def test_noise_is_periodic_and_smooth() -> None:
    noise = make_noise(96, 128, [32, 16], np.random.default_rng(0))
    inside = np.abs(np.diff(noise, axis=1)).mean()
    assert np.abs(noise[:, 0] - noise[:, -1]).mean() < 1.5 * inside
    assert np.abs(noise[0] - noise[-1]).mean() < 1.5 * inside
    assert inside < 0.1


def test_short_waves_add_detail() -> None:
    coarse = make_noise(128, 128, [32], np.random.default_rng(0))
    fine = make_noise(128, 128, [32, 8], np.random.default_rng(0))
    assert np.abs(np.diff(fine)).mean() > 1.5 * np.abs(np.diff(coarse)).mean()


@given(st.floats(0, 1), st.floats(0, 1))
def test_palettes_rise_in_brightness(hue: float, saturation: float) -> None:
    palette = make_palette(hue, saturation)
    assert palette.shape == (256, 3)
    assert palette.min() >= 0
    assert palette.max() <= 255
    assert (np.diff(palette.max(1)) > 0).all()


def test_colour_interpolates() -> None:
    palette = np.array([[0, 0, 0], [10, 20, 30], [30, 20, 10]], np.float32)
    noise = np.array([[0, 0.25, 0.5, 0.75, 1]], np.float32)
    expected = [[0, 0, 0], [5, 10, 15], [10, 20, 30], [20, 20, 20], [30, 20, 10]]
    np.testing.assert_allclose(apply_palette(noise, palette)[0], expected)

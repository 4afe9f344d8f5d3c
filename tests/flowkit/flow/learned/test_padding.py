"""Padding to multiples, cropping back, and the sizes that are accepted."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowkit.flow.learned.padding import (
    compute_padding,
    compute_smallest_side,
    crop_flow,
    find_size_obstacle,
    pad_frames,
)
from flowkit.flow.learned.registry import METHODS

sides = st.integers(1, 40)


@given(sides, sides, st.integers(1, 16))
def test_padding_is_least_balanced_and_cropped_again(height, width, multiple):
    frames = np.random.default_rng(height * width).integers(0, 256, (2, height, width, 3), np.uint8)
    top, bottom, left, right = compute_padding(height, width, multiple)
    padded = pad_frames(frames, multiple)
    assert padded.shape == (2, height + top + bottom, width + left + right, 3)
    assert not padded.shape[1] % multiple and not padded.shape[2] % multiple
    assert max(top + bottom, left + right) < multiple
    assert bottom - top in (0, 1) and right - left in (0, 1)
    rows = np.clip(np.arange(padded.shape[1]) - top, 0, height - 1)
    columns = np.clip(np.arange(padded.shape[2]) - left, 0, width - 1)
    np.testing.assert_array_equal(padded, frames[:, rows][:, :, columns])  # outermost pixels
    flow = padded[..., :2].astype(np.float32)
    np.testing.assert_array_equal(crop_flow(flow, height, width, multiple), frames[..., :2])


def test_frames_that_fit_are_not_copied():
    frames = np.zeros((1, 16, 24, 3), np.uint8)
    assert pad_frames(frames, 8) is frames


@pytest.mark.parametrize(
    ("width", "height", "accepted"),
    [(121, 121, True), (120, 200, False), (200, 120, False), (1, 1, False), (1920, 1080, True)],
)
def test_the_smallest_size_counts_after_padding(width, height, accepted):
    method = METHODS["raft_small"]
    assert compute_smallest_side(method) == 121
    assert (min(-(-width // 8), -(-height // 8)) * 8 >= method.min_side) == accepted
    obstacle = find_size_obstacle("raft_small", method, width, height)
    if accepted:
        assert obstacle is None
    else:
        assert obstacle.startswith(f"frames of {width}x{height} pixels are too small for raft_sma")
        assert "at least 121 on each side (128 after padding to a multiple of 8)" in obstacle
        assert "--short-side 256 --upscale" in obstacle

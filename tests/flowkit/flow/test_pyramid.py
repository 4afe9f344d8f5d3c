import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowkit.flow.params import PRESETS, TVL1Params
from flowkit.flow.pyramid import build_pyramid, compute_level_sizes, enlarge_flow, filter_flow


def test_sizes_of_the_presets():
    paper = compute_level_sizes(256, 256, PRESETS["paper"])
    assert paper == [(256, 256), (205, 205), (164, 164), (131, 131), (105, 105)]
    accurate = compute_level_sizes(256, 340, PRESETS["accurate"])
    assert min(accurate[-1]) >= 16
    assert round(min(accurate[-1]) * 0.8) < 16


@given(st.integers(1, 400), st.integers(1, 400), st.floats(0.05, 0.99), st.integers(1, 20))
def test_sizes_shrink_and_keep_the_least_side(height, width, step, least):
    sizes = compute_level_sizes(
        height, width, TVL1Params(scales=200, scale_step=step, min_side=least)
    )
    assert sizes[0] == (height, width)
    for (h, w), (finer_h, finer_w) in zip(sizes[1:], sizes[:-1], strict=True):
        assert min(h, w) >= least
        assert (h, w) == (round(finer_h * step), round(finer_w * step))
        assert (h, w) != (finer_h, finer_w)


@given(st.integers(1, 60), st.integers(1, 60))
def test_levels_have_the_sizes(height, width):
    params = TVL1Params(scales=9, min_side=4)
    frame = np.arange(height * width, dtype=np.float32).reshape(height, width) % 256
    levels = build_pyramid(frame, params)
    assert [level.shape for level in levels] == compute_level_sizes(height, width, params)
    assert all(level.dtype == np.float32 for level in levels)
    np.testing.assert_array_equal(levels[0], frame)


def test_half_pixel_centres_leave_a_ramp_in_place():
    frame = np.tile(np.arange(100, dtype=np.float32), (100, 1))
    level = build_pyramid(frame, TVL1Params(scales=2))[1]
    expected = (np.arange(80) + 0.5) / 0.8 - 0.5
    np.testing.assert_allclose(level[40], expected, atol=1e-4)


def test_enlarging_scales_the_vectors():
    flow = np.stack([np.full((8, 8), 2.0), np.full((8, 8), -3.0)]).astype(np.float32)
    larger = enlarge_flow(flow, 10, 10, 0.8)
    assert larger.shape == (2, 10, 10)
    assert larger.dtype == np.float32
    assert larger[0] == pytest.approx(2.5)
    assert larger[1] == pytest.approx(-3.75)


@pytest.mark.parametrize("side", [3, 5])
@pytest.mark.parametrize("size", [(1, 1), (1, 7), (6, 1), (2, 2), (3, 4), (16, 23), (31, 40)])
def test_filtered_flow_is_the_median_of_windows(size, side):
    random = np.random.default_rng(0)
    flow = random.normal(size=(2, *size)).astype(np.float32).round(1)  # some values are equal
    padded = np.pad(flow, ((0, 0), *[(side // 2, side // 2)] * 2), mode="edge")
    windows = np.lib.stride_tricks.sliding_window_view(padded, (side, side), axis=(1, 2))
    expected = np.sort(windows.reshape(2, *size, -1), axis=-1)[..., side * side // 2]
    np.testing.assert_array_equal(filter_flow(flow, side), expected)
    for plane, filtered in zip(flow, filter_flow(flow, side), strict=True):
        assert cv2.medianBlur(plane, side).tobytes() == filtered.tobytes()


def test_a_filter_of_one_pixel_is_none():
    flow = np.ones((2, 3, 4), np.float32)
    assert filter_flow(flow, 1) is flow

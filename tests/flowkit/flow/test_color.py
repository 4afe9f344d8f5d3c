import colorsys

import numpy as np
import pytest

from flowkit.errors import FlowError
from flowkit.flow import flow_to_color
from flowkit.flow.color import make_color_wheel


def color_of(x, y, radius=1.0):
    return flow_to_color(np.array([[[x, y]]], np.float32), radius)[0, 0].tolist()


def test_the_wheel_has_55_pure_hues_each_once():
    wheel = make_color_wheel()
    assert wheel.shape == (55, 3)
    assert (wheel.max(axis=1) == 1).all()
    assert (wheel.min(axis=1) == 0).all()
    hues = [colorsys.rgb_to_hsv(*entry)[0] for entry in wheel.tolist()]
    assert hues == sorted(set(hues))
    for index, hue in [
        (0, "red"),
        (15, "yellow"),
        (21, "green"),
        (25, "cyan"),
        (36, "blue"),
        (49, "magenta"),
    ]:
        pure = {"red": 0, "yellow": 1, "green": 2, "cyan": 3, "blue": 4, "magenta": 5}[hue]
        assert hues[index] == pytest.approx(pure / 6)


def test_directions_go_round_the_wheel():
    assert color_of(0, 0) == [255, 255, 255]
    assert color_of(1, 0) == [255, 0, 0]
    angles = np.linspace(0, 2 * np.pi, 40, endpoint=False)
    colors = [color_of(0.999 * np.cos(a), 0.999 * np.sin(a)) for a in angles]
    hues = [colorsys.rgb_to_hsv(*(np.array(c) / 255))[0] for c in colors]
    assert hues == sorted(hues)


def test_length_is_saturation_and_beyond_the_radius_darker():
    half = color_of(0.5, 0)
    assert half == [255, 127, 127]
    assert color_of(3, 0) == [191, 0, 0]


def test_the_longest_vector_sets_the_default_radius():
    flow = np.zeros((1, 2, 2), np.float32)
    flow[0, 1] = 0, 7
    np.testing.assert_array_equal(flow_to_color(flow), flow_to_color(flow, 7.0))
    assert (flow_to_color(np.zeros((2, 2, 2), np.float32)) == 255).all()


@pytest.mark.parametrize("mark", [np.nan, 1e9, 1.7e9, -np.inf])
def test_unknown_pixels_are_black_and_set_no_radius(mark):
    flow = np.array([[[1, 0], [mark, 0]]], np.float32)
    assert flow_to_color(flow).tolist() == [[[255, 0, 0], [0, 0, 0]]]


def test_refuses_other_shapes_and_radii():
    with pytest.raises(FlowError, match=r"\(H, W, 2\), got \(4, 4\)"):
        flow_to_color(np.zeros((4, 4), np.float32))
    with pytest.raises(FlowError, match="max_radius"):
        flow_to_color(np.zeros((4, 4, 2), np.float32), 0)

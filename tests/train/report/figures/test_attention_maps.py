"""Grids of attention maps, arrows, and the frames that the steps of a clip stand for."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from train.report.figures.attention_maps import (
    ARROWS,
    AttentionMap,
    choose_frame,
    list_arrows,
    split_frames,
)
from train.report.figures.attention_pictures import VideoPictures, draw_clips

# Frames of clips and steps of features: P3D on 16, 12 and 10 frames, I3D on 32, 8 and 36.
CLIPS = {
    (16, 2): [(0, 8), (8, 16)],
    (12, 2): [(0, 8), (8, 12)],
    (10, 2): [(0, 8), (8, 10)],
    (12, 3): [(0, 4), (4, 8), (8, 12)],
    (32, 4): [(0, 8), (8, 16), (16, 24), (24, 32)],
    (8, 4): [(0, 2), (2, 4), (4, 6), (6, 8)],
    (36, 4): [(0, 8), (8, 16), (16, 24), (24, 36)],  # the second pool drops the last frames
    (5, 1): [(0, 5)],
}


@pytest.mark.parametrize(("clip", "expected"), CLIPS.items(), ids=str)
def test_steps_stand_for_the_frames_of_their_strides(clip, expected):
    assert [(step.start, step.stop) for step in split_frames(*clip)] == expected


@given(st.integers(1, 128), st.data())
def test_steps_are_all_frames_in_order(frames, data):
    steps = data.draw(st.integers(1, frames))
    split = split_frames(frames, steps)
    assert len(split) == steps and all(len(step) for step in split)
    assert [frame for step in split for frame in step] == list(range(frames))
    assert all(choose_frame(step) in step for step in split)


@given(st.floats(0, 1), st.floats(0, 1), st.integers(0, 2))
def test_queries_of_snippets_and_clips_lie_under_the_point(x, y, step):
    image = AttentionMap(weights=np.eye(6, dtype=np.float32), query=(2, 3), key=(3, 2))
    weights = np.random.default_rng(0).random((18, 24), np.float32)
    clip = AttentionMap(weights=weights, query=(3, 2, 3), key=(4, 3, 2))
    row, column = image.find_query((x, y))
    assert clip.find_query((x, y), step) == (step, row, column)
    assert clip.find_query((x, y)) == (1, row, column)  # the step in the middle
    assert row <= 2 * y <= row + 1 and column <= 3 * x <= column + 1
    assert image.read_weights((row, column)).ravel().argmax() == 3 * row + column
    read = clip.read_weights((step, row, column))
    np.testing.assert_array_equal(read.ravel(), weights[6 * step + 3 * row + column])
    assert read.shape == (4, 3, 2)


def test_arrows_lead_to_the_highest_weights_and_fade_with_them():
    weights = np.array([[0.5, 0.1, 0.02], [0.25, 0.03, 0.1]], np.float32)
    arrows = list_arrows(weights)
    assert [arrow[:2] for arrow in arrows] == [(0, 0), (1, 0), (0, 1), (1, 2), (1, 1)]
    assert len(arrows) == ARROWS
    assert [arrow[2] for arrow in arrows] == pytest.approx([1, 0.5, 0.2, 0.2, 0.1])
    assert list_arrows(weights, 1.0)[0][2] == pytest.approx(0.5)  # another frame has the largest


@pytest.mark.parametrize(("steps", "is_own"), [(4, True), (3, False)])
def test_the_bar_of_the_query_has_its_colour_only_where_the_steps_are_the_same(steps, is_own):
    weights = np.full((4, steps), 1 / steps, np.float32)
    attention = AttentionMap(weights=weights, query=(4, 1, 1), key=(steps, 1, 1))
    video = VideoPictures(
        id="a", pictures={"rgb": torch.zeros(3, 12, 8, 8, dtype=torch.uint8)},
        times=np.arange(12), maps={"CMA": attention}, bound=20.0,
    )  # fmt: skip
    figure, _ = draw_clips([video], ((0.5, 0.5),))
    assert len({bar.get_facecolor() for bar in figure.axes[-1].patches}) == 1 + is_own

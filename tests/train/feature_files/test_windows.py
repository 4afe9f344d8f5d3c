"""Windows: their frames against definitions in plain loops, and streaming against whole videos."""

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from flowkit.errors import UsageError
from train.feature_files.windows import WindowSampling

samplings = st.builds(
    WindowSampling,
    length=st.integers(1, 24),
    stride=st.integers(1, 24),
    step=st.integers(1, 4),
    placement=st.sampled_from(["whole", "covering", "centred"]),
    last_frame=st.sampled_from(["keep", "drop"]),
)


def list_windows(sampling, frames):
    """List the windows by trying one start after the other, as the docstrings describe them."""
    usable = frames - (sampling.last_frame == "drop")
    before = (sampling.length // 2) * sampling.step if sampling.placement == "centred" else 0
    windows, seen = [], 0
    for reference in range(0, max(usable, 0), sampling.stride):
        window = [reference - before + i * sampling.step for i in range(sampling.length)]
        lies_inside = window[-1] < usable
        if windows and sampling.placement == "whole" and not lies_inside:
            break
        if windows and sampling.placement == "covering" and seen >= usable:
            break
        seen = window[-1] + 1
        windows.append([min(max(frame, 0), usable - 1) for frame in window])
    return np.array(windows, np.int64).reshape(-1, sampling.length)


@given(samplings, st.integers(0, 200))
def test_frames_are_those_of_the_definition(sampling, frames):
    expected = list_windows(sampling, frames)
    np.testing.assert_array_equal(sampling.list_frames(frames), expected)
    assert sampling.list_frames(frames).dtype == np.int64
    assert sampling.count_rows(frames) == len(expected) == len(sampling.list_starts(frames))


@given(samplings, st.integers(1, 150), st.data())
@example(WindowSampling(length=1, stride=1, last_frame="drop"), 1, None)
def test_streaming_and_the_end_give_all_windows(sampling, frames, data):
    windows, kept, rows = sampling.list_frames(frames), 0, 0
    available = 0
    while available < frames:
        available += data.draw(st.integers(1, frames - available)) if data else 1
        complete = sampling.count_complete(available)
        assert rows <= complete <= len(windows)
        # The frames that have arrived are enough to tell which windows these are.
        known = sampling.list_frames(available)[:complete]
        np.testing.assert_array_equal(known, windows[:complete])
        block = windows[rows:complete]
        assert block.size == 0 or (kept <= block.min() and block.max() < available)
        rows = complete
        kept = sampling.find_oldest_needed(rows)
    rest = windows[rows:]
    assert rest.size == 0 or rest.min() >= kept


@given(samplings, st.integers(1, 150), st.integers(0, 100))
def test_complete_windows_are_all_whose_frames_are_there(sampling, available, longer):
    last = sampling.list_starts(available + longer) + sampling.extent - 1
    is_complete = last < sampling.count_usable(available)
    assert sampling.count_complete(available) == is_complete.sum()
    assert is_complete[: is_complete.sum()].all()


@given(samplings, st.integers(1, 150), st.data())
def test_the_oldest_needed_frame_is_needed(sampling, frames, data):
    rows = sampling.count_rows(frames)
    row = data.draw(st.integers(0, max(0, rows - 1)))
    later = sampling.list_frames(frames)[row:]
    assert not later.size or later.min() == sampling.find_oldest_needed(row)


@given(samplings, st.integers(1, 150))
def test_padding_counts_the_repeated_frames(sampling, frames):
    padding = sampling.list_padding(frames)
    usable = sampling.count_usable(frames)
    expected = [
        sum(not 0 <= start + i * sampling.step < usable for i in range(sampling.length))
        for start in sampling.list_starts(frames)
    ]
    assert padding.tolist() == expected
    if sampling.placement == "whole" and usable:
        assert padding.any() == sampling.is_too_short(frames)
    if sampling.placement == "covering":
        assert not padding[:-1].any()


@given(st.integers(1, 24), st.data(), st.integers(1, 150))
def test_covering_windows_leave_no_frame_over(length, data, frames):
    stride = data.draw(st.integers(1, length))
    sampling = WindowSampling(length=length, stride=stride, placement="covering")
    windows = sampling.list_frames(frames)
    assert np.unique(windows).tolist() == list(range(frames))
    # One window less would leave frames over.
    assert len(windows) == 1 or windows[-2].max() < frames - 1


def test_centred_windows_have_the_extra_frame_before_their_frame():
    even = WindowSampling(length=16, stride=1, placement="centred")
    assert even.list_frames(100)[50].tolist() == list(range(42, 58))
    odd = WindowSampling(length=5, stride=10, step=2, placement="centred")
    assert odd.list_frames(22).tolist() == [
        [0, 0, 0, 2, 4], [6, 8, 10, 12, 14], [16, 18, 20, 21, 21],
    ]  # fmt: skip


def test_a_video_shorter_than_a_window_repeats_its_last_frame():
    sampling = WindowSampling(length=6, stride=2)
    assert sampling.list_frames(3).tolist() == [[0, 1, 2, 2, 2, 2]]
    assert sampling.is_too_short(3) and sampling.list_padding(3).tolist() == [3]
    dropping = WindowSampling(length=3, stride=2, last_frame="drop")
    assert dropping.list_frames(3).tolist() == [[0, 1, 1]]
    assert dropping.count_rows(1) == 0  # its only frame has no flow


@given(samplings, st.integers(0, 100), st.floats(1, 120))
def test_times_from_a_frame_rate_and_from_frame_times_agree(sampling, frames, fps):
    times = sampling.compute_times(frames, fps=fps)
    windows = sampling.list_frames(frames)
    expected = [[window[0] / fps, (window[-1] + 1) / fps] for window in windows]
    np.testing.assert_array_equal(times, np.array(expected).reshape(-1, 2))
    same = sampling.compute_times(
        frames, frame_times=np.arange(frames) / fps, duration=frames / fps
    )
    np.testing.assert_array_equal(same, times)


def test_times_of_a_video_with_a_variable_frame_rate():
    sampling = WindowSampling(length=2, stride=2, placement="covering")
    shown = np.array([0.0, 0.1, 0.5, 0.6, 0.7])
    np.testing.assert_allclose(
        sampling.compute_times(5, frame_times=shown), [[0, 0.5], [0.5, 0.7], [0.7, 0.8]]
    )
    ends = sampling.compute_times(5, frame_times=shown, duration=1.0)[:, 1]
    np.testing.assert_allclose(ends, [0.5, 0.7, 1.0])
    one = sampling.compute_times(1, frame_times=np.array([2.0]))
    np.testing.assert_array_equal(one, [[2.0, 2.0]])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "either fps or frame_times"),
        ({"fps": 25.0, "frame_times": np.arange(3.0)}, "either fps or frame_times"),
        ({"fps": 0.0}, "positive frame rate"),
        ({"fps": float("inf")}, "positive frame rate"),
        ({"frame_times": np.arange(2.0)}, "times of 3 frames"),
        ({"frame_times": np.array([0.0, 2.0, 1.0])}, "increasing"),
        ({"frame_times": np.array([0.0, np.nan, 1.0])}, "increasing"),
        ({"fps": 1.0, "duration": 1.5}, "after the end"),
    ],
)
def test_times_that_contradict_each_other(options, message):
    with pytest.raises(ValueError, match=message):
        WindowSampling().compute_times(3, **options)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"length": 0}, "--window 0: "),
        ({"length": -16}, "--window -16: "),
        ({"stride": 0}, "--stride 0: "),
        ({"step": 0}, "--clip-stride 0: "),
        ({"placement": "middle"}, "--placement middle: expected one of whole, covering, centred"),
        ({"last_frame": "repeat"}, "--last-frame repeat: expected one of keep, drop"),
    ],
)
def test_bad_settings_name_their_option(settings, message):
    with pytest.raises(UsageError, match=message):
        WindowSampling(**settings)

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowkit.datasets.sampling import (
    ClipSampling,
    count_positions,
    list_times,
    make_generator,
    sample_middles,
    sample_randomly,
)
from flowkit.errors import UsageError

COUNTS = st.integers(1, 2000)


def test_test_positions_are_the_middles_of_segments():
    # 250 flow fields and snippets of 5 leave 246 positions; other toolboxes take 0, 10, …, 245.
    times = sample_middles(count_positions(250, 5), 25)
    assert times[:3].tolist() == [4, 14, 24]
    assert times[-1] == 241


@given(positions=COUNTS, segments=st.integers(1, 64), seed=st.integers(0, 99))
def test_each_time_lies_in_its_own_segment(positions, segments, seed):
    edges = np.arange(segments + 1) * positions / segments
    middles = sample_middles(positions, segments)
    np.testing.assert_array_equal(middles, np.floor((edges[:-1] + edges[1:]) / 2 + 1e-9))
    bounds = np.floor(edges + 1e-9)
    times = sample_randomly(positions, segments, make_generator(seed, 0, 0))
    assert (times >= bounds[:-1]).all()
    assert (times < np.maximum(bounds[1:], bounds[:-1] + 1)).all()
    for found in (middles, times):
        assert found.shape == (segments,)
        assert found.max() < positions and (np.diff(found) >= 0).all()


def test_training_sees_every_position():
    # TSN's own code never draws the last n mod K.
    seen = {
        int(t) for epoch in range(400) for t in sample_randomly(11, 3, make_generator(0, epoch, 0))
    }
    assert seen == set(range(11))


@given(available=COUNTS, length=st.integers(1, 40))
def test_snippets_stay_in_the_video_where_it_is_long_enough(available, length):
    positions = count_positions(available, length)
    times = list_times(positions - 1, length, available)
    assert times[-1] == available - 1
    if length <= available:
        assert (np.diff(times) == 1).all()
        assert times[0] == available - length
    else:
        assert times.tolist() == list(range(available)) + [available - 1] * (length - available)


def test_fewer_fields_than_segments_and_length():
    # K < fields < length raises in another toolbox (randint(0)).
    assert count_positions(4, 5) == 1
    assert sample_randomly(1, 3, make_generator(0, 0, 0)).tolist() == [0, 0, 0]
    assert list_times(0, 5, 4).tolist() == [0, 1, 2, 3, 3]


@given(
    available=COUNTS,
    length=st.integers(1, 40),
    stride=st.integers(1, 8),
    clips=st.integers(1, 12),
)
def test_clips(available, length, stride, clips):
    sampling = ClipSampling(length=length, stride=stride, clips=clips)
    times = sampling.sample_middles(available)
    assert times.shape == (clips, length)
    assert times.min() >= 0 and times.max() < available
    assert (np.diff(times, axis=0) >= 0).all()
    if sampling.span <= available:
        assert (np.diff(times, axis=1) == stride).all()
    random = sampling.sample_randomly(available, make_generator(1, 2, 3))
    assert random.shape == (1, length)
    assert random.min() >= 0 and random.max() < available


def test_one_clip_is_the_middle_one():
    times = ClipSampling(length=4, stride=2).sample_middles(27)
    assert times.tolist() == [[10, 12, 14, 16]]


def test_random_numbers_depend_on_seed_epoch_and_index_alone():
    keys = [(s, e, i) for s in (0, 1) for e in (0, 1, 2**20) for i in (0, 1, 2**39)]
    numbers = {key: make_generator(*key).integers(2**63) for key in keys}
    assert len(set(numbers.values())) == len(keys)
    assert all(make_generator(*key).integers(2**63) == number for key, number in numbers.items())


@pytest.mark.parametrize("call", [
    lambda: sample_middles(0, 3),
    lambda: sample_middles(5, 0),
    lambda: count_positions(0, 5),
    lambda: ClipSampling(length=0),
    lambda: ClipSampling(length=4, stride=0),
])  # fmt: skip
def test_nonsense_is_refused(call):
    with pytest.raises(UsageError, match="at least 1"):
        call()

import math

from hypothesis import given
from hypothesis import strategies as st

from flowkit.annotations.table import Label
from flowkit.interchange.activitynet.segments import (
    MIN_LENGTH,
    Segment,
    SegmentProblems,
    fit_segments,
)

numbers = st.one_of(st.none(), st.floats(-100, 100), st.sampled_from([math.nan, math.inf]))


@given(st.lists(st.tuples(numbers, numbers)), st.floats(0.01, 50))
def test_every_label_is_a_segment_in_the_video_or_a_problem(bounds, duration):
    labels = [Label(f"class {n}", *pair) for n, pair in enumerate(bounds)]
    problems = SegmentProblems()
    segments = fit_segments("a", labels, duration, problems)
    left_out = (problems.outside, problems.reversed, problems.short, problems.incomplete)
    assert len(segments) + sum(map(len, left_out)) == len(labels)
    by_name = {label.name: label for label in labels}
    changed = 0
    for segment in segments:
        assert 0 <= segment.start < segment.end <= duration
        assert segment.end - segment.start >= MIN_LENGTH
        label = by_name[segment.label]
        if label.start is None:
            assert (segment.start, segment.end) == (0, duration)
        else:
            assert segment.start == max(0, label.start)
            assert segment.end == min(duration, label.end)
            changed += (segment.start, segment.end) != (label.start, label.end)
    assert len(problems.cut) == changed
    assert len(problems.whole) == sum(pair == (None, None) for pair in bounds)


def test_each_kind_of_problem():
    labels = [
        Label("whole"), Label("cut", -1, 4), Label("cut", 8, 10.5), Label("fits", 0, 10),
        Label("outside", 10, 11), Label("outside", -3, 0), Label("outside", 9.9999, 11),
        Label("reversed", 3, 2), Label("short", 5, 5), Label("short", 5, 5.0005),
        Label("incomplete", 3, None), Label("incomplete", None, 3),
        Label("incomplete", 1, math.inf),
    ]  # fmt: skip
    problems = SegmentProblems()
    assert fit_segments("x", labels, 10.0, problems) == [
        Segment(0, 10, "whole"), Segment(0, 4, "cut"), Segment(8, 10, "cut"), Segment(0, 10, "fits")
    ]  # fmt: skip
    assert problems == SegmentProblems(
        whole=["x (whole)"],
        cut=["x (-1 to 4 s)", "x (8 to 10.5 s)"],
        outside=["x (10 to 11 s)", "x (-3 to 0 s)", "x (9.9999 to 11 s)"],
        reversed=["x (3 to 2 s)"],
        short=["x (5 to 5 s)", "x (5 to 5.0005 s)"],
        incomplete=["x (3 to ? s)", "x (? to 3 s)", "x (1 to inf s)"],
        timed=9,
    )


def test_segments_that_become_equal_are_one():
    labels = [Label("jump", 1, 11), Label("jump", 1, 12), Label("run", 1, 12)]
    segments = fit_segments("a", labels, 10.0, SegmentProblems())
    assert segments == [Segment(1, 10, "jump"), Segment(1, 10, "run")]

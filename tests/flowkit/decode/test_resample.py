"""The arithmetic of resampling, against its definition."""

from fractions import Fraction
from types import SimpleNamespace

from hypothesis import given
from hypothesis import strategies as st

from flowkit.decode.resample import count_output_frames, resample_frames

CLOCK = Fraction(1, 1000)


def frames(times: list[int | None], duration: int = 40) -> list[SimpleNamespace]:
    return [SimpleNamespace(pts=t, dts=t, duration=duration, n=i) for i, t in enumerate(times)]


def expand(times: list[int | None], fps: Fraction, warnings: list[str]) -> list[int]:
    shown = resample_frames(iter(frames(times)), fps, CLOCK, Fraction(1, 25), warnings)
    return [frame.n for frame, count in shown for _ in range(count)]


@given(
    st.lists(st.integers(1, 3000), min_size=1, max_size=30),
    st.fractions(Fraction(1, 2), 120),
    st.integers(-(10**6), 10**6),
)
def test_output_k_is_the_last_frame_at_k_over_fps(
    gaps: list[int], fps: Fraction, start: int
) -> None:
    times = [start + sum(gaps[:i]) for i in range(len(gaps))]
    warnings: list[str] = []
    got = expand(list(times), fps, warnings)
    end = times[-1] - start + 40
    expected, k = [], 0
    while k == 0 or (k / fps) < (Fraction(end) - Fraction(1, 2)) / 1000:
        limit = start + 1000 * k / fps + Fraction(1, 2)
        # A frame whose time is met exactly at the forgiven half tick is shown.
        expected.append(max(i for i, t in enumerate(times) if t <= limit))
        k += 1
    assert got == expected
    assert warnings == []


def test_missing_timestamps_are_counted_on() -> None:
    assert expand([None, None, None], Fraction(25), []) == [0, 1, 2]


def test_a_broken_clock_ends_the_video() -> None:
    warnings: list[str] = []
    assert expand([0, 40, 80, 95_443_000_000, 95_443_000_040], Fraction(25), warnings) == [0, 1, 2]
    assert len(warnings) == 1
    assert (
        "the timestamps jump after frame 3 from 0.080 s to 95443000.000 s: the rest" in warnings[0]
    )


def test_count_output_frames() -> None:
    fps = Fraction(30)
    assert count_output_frames(Fraction(0), fps, CLOCK) == 0
    assert (
        count_output_frames(Fraction(67, 1000), fps, CLOCK) == 2
    )  # 66.7 ms is reached within half a tick
    assert count_output_frames(Fraction(68, 1000), fps, CLOCK) == 3

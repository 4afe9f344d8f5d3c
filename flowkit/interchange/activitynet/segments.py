"""Fit the labels of a video into its duration, as segments that localization code can read.

A label becomes a segment ``[start, end]`` in seconds with 0 ≤ start < end ≤ duration:

- A label without start and end applies to the whole video, so its segment is ``[0, duration]``.
- A segment that begins before 0 or ends after the duration is cut.
- A segment that is outside of the video, ends before it begins, is shorter than `MIN_LENGTH`, or
  has only one of start and end is left out.
- A segment that a video has twice is kept once.

Each of these changes is reported in a `SegmentProblems`, except the last.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass, field

from flowkit.annotations.table import Label

MIN_LENGTH = 1e-3
"""Shortest segment in seconds. ActionFormer ignores shorter ones when it evaluates
(``remove_duplicate_annotations`` in its ``libs/utils/metrics.py``), and its training divides by the
length.
"""


@dataclass(frozen=True, slots=True)
class Segment:
    """A part of a video in which a class occurs."""

    start: float
    """Start in seconds, at least 0."""
    end: float
    """End in seconds, after the start and at most the duration."""
    label: str
    """Name of the class."""


@dataclass(slots=True)
class SegmentProblems:
    """What did not fit in the labels of all videos.

    Each list has an entry for each such label, such as ``a.mp4 (3.5 to 2 s)``.
    """

    whole: list[str] = field(default_factory=list)
    """Labels without start and end, which became segments of the whole video; an entry is such as
    ``a.mp4 (jump)``.
    """
    cut: list[str] = field(default_factory=list)
    """Segments that were cut, since they began before 0 or ended after the duration."""
    outside: list[str] = field(default_factory=list)
    """Segments that were left out because they are before 0 or after the duration."""
    reversed: list[str] = field(default_factory=list)
    """Segments that were left out because they end before they begin."""
    short: list[str] = field(default_factory=list)
    """Segments that were left out because they are shorter than `MIN_LENGTH`."""
    incomplete: list[str] = field(default_factory=list)
    """Segments that were left out because they have only a start or an end, or one that is not a
    finite number.
    """
    timed: int = 0
    """Number of labels with start and end."""


def fit_segments(
    key: str, labels: Iterable[Label], duration: float, problems: SegmentProblems
) -> list[Segment]:
    """Turn the labels of a video into segments within its duration.

    Args:
        key: Name of the video, for the entries of ``problems``.
        labels: The labels, with times in seconds or without times.
        duration: Duration of the video in seconds, above 0.
        problems: What did not fit is added to this.

    Returns:
        The segments in the order of the labels, each once.
    """
    segments: dict[Segment, None] = {}
    for label in labels:
        bounds = fit_bounds(key, label, duration, problems)
        if bounds is not None:
            segments[Segment(*bounds, label.name)] = None
    return list(segments)


def fit_bounds(
    key: str, label: Label, duration: float, problems: SegmentProblems
) -> tuple[float, float] | None:
    """Return start and end of a label within the duration.

    Args:
        key: Name of the video, for the entries of ``problems``.
        label: The label.
        duration: Duration of the video in seconds, above 0.
        problems: What did not fit is added to this.

    Returns:
        Start and end in seconds; None if the segment is left out.
    """
    start, end = label.start, label.end
    if start is None and end is None:
        problems.whole.append(f"{key} ({label.name})")
        return 0.0, duration
    if start is None or end is None or not (math.isfinite(start) and math.isfinite(end)):
        problems.incomplete.append(describe_segment(key, label))
        return None
    problems.timed += 1
    bounds = max(0.0, float(start)), min(float(end), duration)
    if end < start:
        problems.reversed.append(describe_segment(key, label))
    elif end - start < MIN_LENGTH:
        problems.short.append(describe_segment(key, label))
    elif bounds[1] - bounds[0] < MIN_LENGTH:  # no more than a sliver of it is in the video
        problems.outside.append(describe_segment(key, label))
    else:
        if bounds != (start, end):
            problems.cut.append(describe_segment(key, label))
        return bounds
    return None


def describe_segment(key: str, label: Label) -> str:
    """Return a segment for messages, such as ``a.mp4 (3.5 to 2 s)``.

    Args:
        key: Name of the video.
        label: The label, with its times as they were read.
    """
    return f"{key} ({describe_time(label.start)} to {describe_time(label.end)} s)"


def describe_time(time: float | None) -> str:
    """Return a time in seconds for messages, such as ``3.5``; ``?`` for None."""
    return "?" if time is None else f"{time:.9g}"

"""Resample decoded frames to a constant frame rate.

Output frame k is the frame that a screen shows at time k/fps: the last one with pts ≤ start +
k/fps, for every k with k/fps before the end of the last frame. Timestamps may be late by half a
tick of the stream's clock, because containers round them to it. Arithmetic is exact (fractions of
seconds).
"""

from collections.abc import Iterator
from fractions import Fraction
from typing import Any

MAX_GAP = 600
"""Seconds that one frame may be shown; a longer time is a fault of the timestamps."""
MAX_BACKWARD_STEP = 1
"""Seconds that timestamps may go back; more means that another clock took over."""


def resample_frames(
    frames: Iterator[Any], fps: Fraction, clock: Fraction, gap: Fraction, warnings: list[str]
) -> Iterator[tuple[Any, int]]:
    """Select the frames that are shown at the times k/fps.

    Args:
        frames: Decoded frames in presentation order, with ``pts``, ``dts`` and ``duration`` in
            ticks.
        fps: Output frames per second.
        clock: Seconds per tick.
        gap: Seconds between two frames whose timestamps are missing.
        warnings: Receives a line if the timestamps jump, which ends the output.

    Yields:
        Each frame that is shown at least once, and the number of output frames that it stands for.
    """
    emitted = 0
    shown_time = Fraction(0)
    current_frame: Any = None
    for count, (time, frame) in enumerate(compute_presentation_times(frames, clock, gap)):
        if current_frame is not None and not -MAX_BACKWARD_STEP <= time - shown_time <= MAX_GAP:
            warnings.append(
                f"decoding broke after frame {count}: its clock jumps from "
                f"{float(shown_time):.3f} s to {float(time):.3f} s"
            )
            break
        shown_time = max(shown_time, time)
        due = count_output_frames(shown_time, fps, clock)
        if due > emitted:
            yield current_frame, due - emitted
            emitted = due
        current_frame = frame
    if current_frame is not None:
        duration = current_frame.duration * clock if current_frame.duration else gap
        due = count_output_frames(shown_time + duration, fps, clock)
        # A first frame without a duration still gives one output frame.
        if due > emitted or emitted == 0:
            yield current_frame, max(1, due - emitted)


def compute_presentation_times(
    frames: Iterator[Any], clock: Fraction, gap: Fraction
) -> Iterator[tuple[Fraction, Any]]:
    """Compute the presentation time of each frame.

    Some containers have no true pts (AVI with packed B-frames). As in FFmpeg's best-effort
    timestamps, the one of pts and dts that went back less often is used.

    Args:
        frames: Decoded frames, with ``pts`` and ``dts`` in ticks.
        clock: Seconds per tick.
        gap: Seconds between two frames whose timestamps are missing.

    Yields:
        The seconds since the first frame, and the frame.
    """
    backward_steps = {"pts": 0, "dts": 0}
    last: dict[str, int] = {}
    start = time = None
    for frame in frames:
        for name in backward_steps:
            ticks = getattr(frame, name)
            if ticks is not None:
                backward_steps[name] += name in last and ticks <= last[name]
                last[name] = ticks
        name = (
            "dts" if frame.pts is None or backward_steps["pts"] > backward_steps["dts"] else "pts"
        )
        ticks = getattr(frame, name)
        if ticks is None:
            ticks = frame.pts
        if ticks is not None:
            current_time = ticks * clock
        elif time is not None:
            current_time = time + gap
        else:
            current_time = Fraction(0)
        start = current_time if start is None else start
        time = current_time
        yield time - start, frame


def count_output_frames(shown: Fraction, fps: Fraction, clock: Fraction) -> int:
    """Count the k ≥ 0 with k/fps < ``shown``, with a tolerance of half a tick.

    Args:
        shown: Time in seconds since the first frame.
        fps: Output frames per second.
        clock: Seconds per tick.

    Returns:
        The number of output frames before that time.
    """
    return max(0, -((clock / 2 - shown) * fps // 1))

"""Resample decoded frames to a constant frame rate.

Output frame k is the frame that a screen shows at time k/fps: the last one with pts ≤ start +
k/fps, for every k with k/fps before the end of the last frame. A tick is the unit of the stream's
timestamps. Containers round timestamps to ticks, so frames that are late by up to half a tick are
accepted. Arithmetic is exact (fractions of seconds).
"""

from collections.abc import Iterable, Iterator
from fractions import Fraction
from typing import Any

from flowkit.decode.frame import VideoFrame

MAX_GAP = 600
"""Seconds that one frame may be shown; a longer time means that the timestamps are wrong."""
MAX_BACKWARD_STEP = 1
"""Seconds that timestamps may go back; more means that they come from a different clock."""


def resample_frames(
    frames: Iterator[Any],
    fps: Fraction,
    tick: Fraction,
    interval: Fraction,
    warnings: list[str],
    max_gap: Fraction | int = MAX_GAP,
) -> Iterator[tuple[Any, int]]:
    """Select the frames that are shown at the times k/fps.

    Args:
        frames: Decoded frames in presentation order, with ``pts``, ``dts`` and ``duration`` in
            ticks.
        fps: Output frames per second.
        tick: Seconds per tick.
        interval: Seconds to assume between two frames if timestamps are missing.
        warnings: A list to which a line is added if the timestamps jump, which ends the output.
        max_gap: Seconds that one frame may be shown.

    Yields:
        Each frame that is shown at least once, and how many times it occurs in the output.
    """
    emitted = 0
    shown_time = Fraction(0)
    current_frame: Any = None
    for count, (time, frame) in enumerate(compute_presentation_times(frames, tick, interval)):
        if current_frame is not None and not -MAX_BACKWARD_STEP <= time - shown_time <= max_gap:
            warnings.append(
                f"the timestamps jump after frame {count} from {float(shown_time):.3f} s to "
                f"{float(time):.3f} s: the rest is left out"
            )
            break
        shown_time = max(shown_time, time)
        outputs = count_output_frames(shown_time, fps, tick)
        if outputs > emitted:
            yield current_frame, outputs - emitted
            emitted = outputs
        current_frame = frame
    if current_frame is not None:
        duration = current_frame.duration * tick if current_frame.duration else interval
        outputs = count_output_frames(shown_time + duration, fps, tick)
        # However short the video is, there is one output frame.
        if outputs > emitted or emitted == 0:
            yield current_frame, max(1, outputs - emitted)


def repeat_frames(frames: Iterable[tuple[VideoFrame, int]], fps: Fraction) -> Iterator[VideoFrame]:
    """Repeat frames as a constant frame rate requires.

    Args:
        frames: Each frame, and how many times it is shown; its own time is not used.
        fps: Output frames per second.

    Yields:
        The output frames, with the times k/fps.
    """
    index = 0
    for frame, count in frames:
        for _ in range(count):
            yield frame._replace(time=round(index * 10**6 / fps))
            index += 1


def compute_presentation_times(
    frames: Iterator[Any], tick: Fraction, interval: Fraction
) -> Iterator[tuple[Fraction, Any]]:
    """Compute the presentation time of each frame.

    A frame has two timestamps: pts, when it is shown, and dts, when it is decoded. Some files have
    wrong pts (AVI with packed B-frames). As in FFmpeg's best-effort timestamps, pts are used unless
    they have decreased more often than dts so far.

    Args:
        frames: Decoded frames, with ``pts`` and ``dts`` in ticks.
        tick: Seconds per tick.
        interval: Seconds to assume between two frames if timestamps are missing.

    Yields:
        The seconds since the first frame, and the frame.
    """
    backward_steps = {"pts": 0, "dts": 0}
    last_ticks: dict[str, int] = {}
    start = time = None
    for frame in frames:
        for name in backward_steps:
            ticks = getattr(frame, name)
            if ticks is not None:
                backward_steps[name] += name in last_ticks and ticks <= last_ticks[name]
                last_ticks[name] = ticks
        name = (
            "dts" if frame.pts is None or backward_steps["pts"] > backward_steps["dts"] else "pts"
        )
        ticks = getattr(frame, name)
        if ticks is None:
            ticks = frame.pts
        if ticks is not None:
            current_time = ticks * tick
        elif time is not None:
            current_time = time + interval
        else:
            current_time = Fraction(0)
        start = current_time if start is None else start
        time = current_time
        yield time - start, frame


def bridge_clock_jumps(
    timed_frames: Iterator[tuple[Fraction, Any]], interval: Fraction, warnings: list[str]
) -> Iterator[tuple[Fraction, Any]]:
    """Let the time go on by one interval where timestamps come from a different clock.

    Args:
        timed_frames: Seconds since the first frame, and the frame.
        interval: Seconds between the frames before and after a jump.
        warnings: A list to which a line is added if the timestamps jump.

    Yields:
        The same with times that do not jump.
    """
    shift, last_time, jumps = Fraction(0), None, []
    for count, (time, frame) in enumerate(timed_frames):
        if last_time is not None and not -MAX_BACKWARD_STEP <= time - last_time <= MAX_GAP:
            jumps.append(
                f"after frame {count} from {float(last_time):.3f} s to {float(time):.3f} s"
            )
            shift += last_time + interval - time
        last_time = time
        yield time + shift, frame
    if jumps:
        more = f" and {len(jumps) - 1} times later" if len(jumps) > 1 else ""
        warnings.append(f"the clock jumps {jumps[0]}{more}: the frames follow without a gap")


def count_output_frames(time: Fraction, fps: Fraction, tick: Fraction) -> int:
    """Count the output frames before a time: the k ≥ 0 with k/fps < ``time`` − ½ tick.

    Args:
        time: Seconds since the first frame.
        fps: Output frames per second.
        tick: Seconds per tick.

    Returns:
        The number of output frames.
    """
    return max(0, -((tick / 2 - time) * fps // 1))

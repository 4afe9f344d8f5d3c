"""Resampling to a constant frame rate: what a screen would show.

Output frame k is the last frame with pts ≤ start + k/fps, for every k with k/fps before the
end of the last frame. Half a tick of the stream's clock is forgiven, since containers round
timestamps to it. Arithmetic is exact (fractions of seconds).
"""

from collections.abc import Iterator
from fractions import Fraction
from typing import Any

LONGEST_GAP = 600  # seconds that one frame may stand; more is a broken clock, not a picture
LONGEST_RETURN = 1  # seconds that timestamps may go back; more is another clock


def resample(
    frames: Iterator[Any], fps: Fraction, clock: Fraction, gap: Fraction, warnings: list[str]
) -> Iterator[tuple[Any, int]]:
    """Each frame that is shown at some k/fps, with how many k that is (at least one).

    Parameters
    ----------
    frames: decoded frames in presentation order, with ``pts``, ``dts``, ``duration`` in ticks.
    clock: seconds per tick.
    gap: seconds between two frames where timestamps are missing.
    warnings: gets a line where the clock breaks, which ends the output.
    """
    given = 0
    shown = Fraction(0)
    held: Any = None
    for count, (time, frame) in enumerate(presentation_times(frames, clock, gap)):
        if held is not None and not -LONGEST_RETURN <= time - shown <= LONGEST_GAP:
            warnings.append(
                f"decoding broke after frame {count}: its clock jumps from "
                f"{float(shown):.3f} s to {float(time):.3f} s"
            )
            break
        shown = max(shown, time)
        due = count_due(shown, fps, clock)
        if due > given:
            yield held, due - given
            given = due
        held = frame
    if held is not None:
        last = held.duration * clock if held.duration else gap
        due = count_due(shown + last, fps, clock)
        # A first frame of no length is still one picture.
        if due > given or given == 0:
            yield held, max(1, due - given)


def presentation_times(
    frames: Iterator[Any], clock: Fraction, gap: Fraction
) -> Iterator[tuple[Fraction, Any]]:
    """(seconds since the first frame, frame).

    Some containers have no true pts (AVI with packed B-frames). As in FFmpeg's best-effort
    timestamps, the one of pts and dts that went back less often is believed.
    """
    back = {"pts": 0, "dts": 0}
    last: dict[str, int] = {}
    start = time = None
    for frame in frames:
        for name in back:
            ticks = getattr(frame, name)
            if ticks is not None:
                back[name] += name in last and ticks <= last[name]
                last[name] = ticks
        name = "dts" if frame.pts is None or back["pts"] > back["dts"] else "pts"
        ticks = getattr(frame, name)
        if ticks is None:
            ticks = frame.pts
        if ticks is not None:
            absolute = ticks * clock
        elif time is not None:
            absolute = time + gap
        else:
            absolute = Fraction(0)
        start = absolute if start is None else start
        time = absolute
        yield time - start, frame


def count_due(shown: Fraction, fps: Fraction, clock: Fraction) -> int:
    """How many k ≥ 0 have k/fps < shown, half a tick of the clock forgiven."""
    return max(0, -((clock / 2 - shown) * fps // 1))

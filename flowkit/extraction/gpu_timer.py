"""Measure how long a GPU was busy, and which stage it waited for while it was idle.

A GPU is busy while at least one of its lanes is in a stage that computes on it, such as flow. While
none is, the idle time is divided equally among the stages that its lanes are in. Lanes are counted,
not told apart: of L lanes with a video that are in S stages together, L - S count as waiting for
their decoder. So a lane that is in two stages at a time hides another one that waits.
"""

import threading
import time
from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

DECODE = "decode"
"""Stage of a lane that waits for its decoder."""
NO_VIDEO = "no video"
"""Stage of a GPU whose lanes have no video."""


@dataclass(kw_only=True)
class GpuTimes:
    """Busy and idle time in seconds of wall clock, summed over GPUs."""

    busy_seconds: float = 0.0
    """Time during which at least one lane computed on the GPU."""
    idle_seconds: dict[str, float] = field(default_factory=dict)
    """Idle time by the stage that the lanes were in, such as ``"decode"``."""

    def __add__(self, other: "GpuTimes") -> "GpuTimes":
        busy = self.busy_seconds + other.busy_seconds
        idle = Counter(self.idle_seconds)
        idle.update(other.idle_seconds)
        return GpuTimes(busy_seconds=busy, idle_seconds=dict(idle))

    @property
    def wall_seconds(self) -> float:
        """Return the busy and idle seconds together."""
        return self.busy_seconds + sum(self.idle_seconds.values())

    def describe(self) -> str:
        """Describe the times in one line.

        Example: ``busy 62% of 812.0 s; idle at decode 27%, encode 10%, write 1%``.
        """
        wall = self.wall_seconds or 1.0
        text = f"busy {self.busy_seconds / wall:.0%} of {wall:.1f} s"
        shares = sorted(self.idle_seconds.items(), key=lambda share: -share[1])
        shown = [f"{name} {seconds / wall:.0%}" for name, seconds in shares if seconds > wall / 200]
        return f"{text}; idle at {', '.join(shown)}" if shown else text


class GpuTimer:
    """Track which stage each lane of one GPU is in. All methods are thread-safe.

    A lane enters ``timer.enter_stage("video")`` for a whole video, and within it the stages
    ``"flow"``, ``"encode"`` and so on. A lane that has a video but is in no other stage waits for
    its decoder.

    Args:
        busy_stages: The stages that compute on the GPU.
    """

    def __init__(self, busy_stages: Collection[str] = ("flow",)) -> None:
        self._lock, self._busy_stages = threading.Lock(), busy_stages
        self._lanes: Counter[str] = Counter()
        self._times = GpuTimes()
        self._last_change = time.monotonic()

    @contextmanager
    def enter_stage(self, stage: str) -> Iterator[None]:
        """Count one lane as being in a stage while the context is open."""
        self._change_lanes(stage, 1)
        try:
            yield
        finally:
            self._change_lanes(stage, -1)

    def pop_times(self) -> GpuTimes:
        """Return the times since the last call, and start again from zero."""
        with self._lock:
            self._add_elapsed_time()
            times, self._times = self._times, GpuTimes()
        return times

    def _change_lanes(self, stage: str, change: int) -> None:
        with self._lock:
            self._add_elapsed_time()
            self._lanes[stage] += change

    def _add_elapsed_time(self) -> None:
        """Add the time since the last change to the counters."""
        now = time.monotonic()
        elapsed, self._last_change = now - self._last_change, now
        if not elapsed:
            return
        if any(self._lanes[stage] for stage in self._busy_stages):
            self._times.busy_seconds += elapsed
            return
        videos, idle = self._lanes["video"], self._times.idle_seconds
        counts = {stage: n for stage, n in self._lanes.items() if n and stage != "video"}
        counts[DECODE] = max(0, videos - sum(counts.values()))
        total = max(1, sum(counts.values()))
        for stage, count in counts.items() if videos else [(NO_VIDEO, 1)]:
            if count:
                idle[stage] = idle.get(stage, 0.0) + elapsed * count / total

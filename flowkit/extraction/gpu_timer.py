"""What the lanes of one GPU are at, integrated over time: was it busy, and what did it wait for?

A GPU is busy while any lane computes flow. While none does, its waiting is split evenly over
the lanes that have a video, each by what it is at.
"""

import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

DECODE, NOTHING = "decode", "no video"


@dataclass(kw_only=True)
class GpuTimes:
    """Seconds of wall clock, summed over GPUs: at flow, and idle by what the lanes were at."""

    busy_seconds: float = 0.0
    idle_seconds: dict[str, float] = field(default_factory=dict)

    def __add__(self, other: "GpuTimes") -> "GpuTimes":
        idle = Counter(self.idle_seconds)
        idle.update(other.idle_seconds)
        return GpuTimes(
            busy_seconds=self.busy_seconds + other.busy_seconds, idle_seconds=dict(idle)
        )

    @property
    def wall_seconds(self) -> float:
        """Return the busy and idle seconds together."""
        return self.busy_seconds + sum(self.idle_seconds.values())

    def describe(self) -> str:
        """``busy 62 % of 812 s; idle at decode 27 %, encode 10 %, write 1 %``."""
        wall = self.wall_seconds or 1.0
        text = f"busy {self.busy_seconds / wall:.0%} of {wall:.1f} s"
        shares = sorted(self.idle_seconds.items(), key=lambda share: -share[1])
        shown = [f"{name} {seconds / wall:.0%}" for name, seconds in shares if seconds > wall / 200]
        return f"{text}; idle at {', '.join(shown)}" if shown else text


class GpuTimer:
    """Counts which lane is at what. Every method may be called from any thread.

    ``with occupancy.at("video")`` spans a whole video, ``at("flow")``, ``at("encode")``, …
    what is done within; a lane with a video that is at nothing else waits for its decoder.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lanes: Counter[str] = Counter()
        self._time = GpuTimes()
        self._since = time.monotonic()

    @contextmanager
    def at(self, stage: str) -> Iterator[None]:
        """Count one lane as being at ``stage`` while the context is open."""
        self._shift(stage, 1)
        try:
            yield
        finally:
            self._shift(stage, -1)

    def take(self) -> GpuTimes:
        """What was counted since the last call."""
        with self._lock:
            self._settle()
            taken, self._time = self._time, GpuTimes()
        return taken

    def _shift(self, stage: str, by: int) -> None:
        with self._lock:
            self._settle()
            self._lanes[stage] += by

    def _settle(self) -> None:
        """Book the time since the last change."""
        now = time.monotonic()
        passed, self._since = now - self._since, now
        if not passed:
            return
        if self._lanes["flow"]:
            self._time.busy_seconds += passed
            return
        videos, idle = self._lanes["video"], self._time.idle_seconds
        if not videos:
            idle[NOTHING] = idle.get(NOTHING, 0.0) + passed
            return
        elsewhere = {s: n for s, n in self._lanes.items() if n and s not in ("video", "flow")}
        for stage, lanes in {**elsewhere, DECODE: videos - sum(elsewhere.values())}.items():
            if lanes:
                idle[stage] = idle.get(stage, 0.0) + passed * lanes / videos

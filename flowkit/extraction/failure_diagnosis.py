"""Decide which video, if any, made a worker process die, and whether to retry it.

Only the video that the worker was extracting is suspected. A crash leaves a trace in the crash file
of the actor (faulthandler): after a crash or a hang, the video gets one more try in a new process,
and is then quarantined. After a death without a trace (the process was killed, or its node lost),
the video gets two more tries. A worker that was killed for memory, or whose GPU failed, never
quarantines a video: after 5 or 3 such deaths it is left for the next run.

The deaths of each kind are counted on their own, so that one kind does not use up the tries of
another.

Where several workers (the lanes of a GPU) shared the process, the videos of all are suspected; each
is retried alone.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

GPU_FAILED = "GPU failed: "
"""Start of the line by which a process tells in its crash file that its GPU failed."""
FRAME = re.compile(r'^\s*File "(?P<path>[^"]*)", line (?P<line>\d+)')
"""A line of a traceback."""


@dataclass(frozen=True)
class Diagnosis:
    """Why a worker died while it extracted a video."""

    kind: str
    """Kind of death; for one that quarantines the video, as failures.jsonl records it."""
    reason: str
    """What happened, as it is printed."""
    tries: int
    """Number of deaths of this kind after which the video is not tried again."""
    blames_video: bool = True
    """Whether the video is quarantined after the last try; if not, the next run extracts it."""

    def count_deaths(self, earlier: Sequence[str]) -> int:
        """Count the deaths of this kind that the video has had, with this one.

        Args:
            earlier: Kinds of the earlier deaths of the video's workers in this run.
        """
        return sum(kind == self.kind for kind in earlier) + 1

    def has_tries_left(self, earlier: Sequence[str]) -> bool:
        """Return whether the video is tried again after this death.

        Args:
            earlier: Kinds of the earlier deaths of the video's workers in this run.
        """
        return self.count_deaths(earlier) < self.tries


def diagnose_failure(error: Exception, trace: str, hung: bool, stall_seconds: float) -> Diagnosis:
    """Diagnose the death of a worker.

    Args:
        error: Error that Ray raised for the call in progress.
        trace: Crash that the process wrote to its crash file; empty if there is none.
        hung: Whether the driver killed the process because no new frame came.
        stall_seconds: How long the driver waited for a frame.

    Returns:
        The kind of death, its reason, and how often a video is tried that it happens to.
    """
    if hung:
        return Diagnosis("hang", f"it showed no new frame for {stall_seconds:g} s", 2)
    if "low on memory" in str(error):
        return Diagnosis("oom", "its worker was killed for memory", 5, blames_video=False)
    if trace.startswith(GPU_FAILED):
        return Diagnosis("gpu", trace.removeprefix(GPU_FAILED), 3, blames_video=False)
    if trace:
        return Diagnosis("crash", f"its worker crashed: {trace}", 2)
    return Diagnosis("lost", "its worker was killed or lost", 3)


def read_trace(crash_path: Path) -> str:
    """Return the crash in a crash file, as ``Segmentation fault at decode.py:120``; else ''."""
    try:
        lines = crash_path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    gpu_failure = next((line for line in lines if line.startswith(GPU_FAILED)), "")
    if gpu_failure:
        return gpu_failure
    fatal = next((line for line in lines if line.startswith("Fatal Python error:")), "")
    if not fatal:
        return ""
    frame = next(filter(None, map(FRAME.match, lines)), None)
    location = f" at {Path(frame['path']).name}:{frame['line']}" if frame else ""
    return fatal.removeprefix("Fatal Python error: ") + location


def write_device_error(crash_file: TextIO, error: Exception) -> None:
    """Write to the crash file that this process ends because the GPU failed."""
    crash_file.write(f"{GPU_FAILED}{' '.join(str(error).split())}\n")
    crash_file.flush()


def shorten_ray_error(error: Exception) -> str:
    """Return the reason in an error message of Ray, or its first line if it has no reason."""
    _, separator, reason = str(error).partition("The actor is dead because ")
    if separator:
        return " ".join(reason.split())[:300]
    return next((line.strip() for line in str(error).splitlines() if line.strip()), repr(error))

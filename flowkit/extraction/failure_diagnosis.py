"""Decide which video, if any, made a worker process die, and whether to retry it.

Only the video that it worked on is suspected. A crash leaves a trace in the actor's journal
(faulthandler): with it, or after a hang, the video gets one more try in a new process and is then
quarantined. After a death without a trace (the process was killed, or its node lost), the video
gets two more tries. A worker that was killed for memory, or whose GPU failed, does not count
against any video.

Where several lanes shared the process, the videos of all are suspected; each is retried alone.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

GPU_FAILED = "GPU failed: "
"""Start of the line by which a process tells in its journal that its GPU failed."""
FRAME = re.compile(r'^\s*File "(?P<path>[^"]*)", line (?P<line>\d+)')
"""A line of a traceback."""


@dataclass(frozen=True)
class Diagnosis:
    """Why a worker died while it extracted a video."""

    kind: str
    """Kind of failure, as failures.jsonl records it."""
    reason: str
    """What happened, as it is printed."""
    tries: int
    """Total number of times that the video is tried."""
    blames_video: bool = True
    """Whether the video counts as failed after the last try."""


def diagnose_failure(error: Exception, trace: str, hung: bool, stall_seconds: float) -> Diagnosis:
    """Diagnose the death of a worker.

    Args:
        error: Error that Ray raised for the call in progress.
        trace: Crash that the process wrote to its journal; empty if there is none.
        hung: Whether the driver killed the process because no new frame came.
        stall_seconds: How long the driver waited for a frame.
    """
    if hung:
        return Diagnosis("hang", f"it showed no new frame for {stall_seconds:g} s", 2)
    if "low on memory" in str(error):
        return Diagnosis("memory", "its worker was killed for memory", 5, blames_video=False)
    if trace.startswith(GPU_FAILED):
        return Diagnosis("gpu", trace.removeprefix(GPU_FAILED), 3, blames_video=False)
    if trace:
        return Diagnosis("crash", f"its worker crashed: {trace}", 2)
    return Diagnosis("lost", "its worker was killed or lost", 3)


def read_trace(journal: Path) -> str:
    """Return the crash in a journal, as ``Segmentation fault at decode.py:120``; else ''."""
    try:
        lines = journal.read_text(encoding="utf-8", errors="replace").splitlines()
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


def write_device_error(journal: TextIO, error: Exception) -> None:
    """Write to the journal that this process ends because the GPU failed."""
    journal.write(f"{GPU_FAILED}{' '.join(str(error).split())}\n")
    journal.flush()


def shorten_ray_error(error: Exception) -> str:
    """Return the reason in an error message of Ray, or its first line if it has no reason."""
    _, separator, reason = str(error).partition("The actor is dead because ")
    if separator:
        return " ".join(reason.split())[:300]
    return next((line.strip() for line in str(error).splitlines() if line.strip()), repr(error))

"""Whose fault is a dead worker?

Only the video it was at is suspected. A crash leaves a trace in the actor's journal
(faulthandler): with it, or after a hang, the video gets one more try in a fresh process and
is then quarantined. A death without a trace (killed, or its node lost) gets one try more.
Being killed for memory blames nobody, and neither does a GPU that failed.

Where several lanes shared the process, the videos of all are suspected; each is retried alone.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

GPU_FAILED = "GPU failed: "


@dataclass(frozen=True)
class Verdict:
    """Why a worker died at a video: ``tries`` it gets in all; ``guilty`` if it is then to blame."""

    kind: str
    reason: str
    tries: int
    guilty: bool = True


def judge(error: Exception, trace: str, hung: bool, stall_seconds: float) -> Verdict:
    """What Ray's ``error``, the journal's ``trace`` and the driver's own watch say together."""
    if hung:
        return Verdict("hang", f"it showed no new frame for {stall_seconds:g} s", 2)
    if "low on memory" in str(error):
        return Verdict("memory", "its worker was killed for memory", 5, guilty=False)
    if trace.startswith(GPU_FAILED):
        return Verdict("gpu", trace.removeprefix(GPU_FAILED), 3, guilty=False)
    if trace:
        return Verdict("crash", f"its worker crashed: {trace}", 2)
    return Verdict("lost", "its worker was killed or lost", 3)


def read_trace(journal: Path) -> str:
    """The crash that faulthandler wrote, as ``Segmentation fault at decode.py:120``; or ''."""
    try:
        lines = journal.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    failed = next((line for line in lines if line.startswith(GPU_FAILED)), "")
    if failed:
        return failed
    fatal = next((line for line in lines if line.startswith("Fatal Python error:")), "")
    if not fatal:
        return ""
    frame = next((line for line in lines if line.strip().startswith('File "')), "")
    place = ""
    if frame:
        path, _, rest = frame.strip().removeprefix('File "').partition('", line ')
        place = f" at {Path(path).name}:{rest.split(' ')[0]}"
    return fatal.removeprefix("Fatal Python error: ") + place


def write_device_error(journal: TextIO, error: Exception) -> None:
    """Tell the driver, through the journal, that the GPU is why this process ends."""
    journal.write(f"{GPU_FAILED}{' '.join(str(error).split())}\n")
    journal.flush()


def first_line(error: Exception) -> str:
    """What an error of Ray says: the reason where it names one, else its first line."""
    _, reason, rest = str(error).partition("The actor is dead because ")
    if reason:
        return " ".join(rest.split())[:300]
    return next((line.strip() for line in str(error).splitlines() if line.strip()), repr(error))

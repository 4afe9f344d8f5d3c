"""Run checks one after another, so that a broken package costs one finding and not the others.

A step does real work and says what it did; its finding adds the time. A step that needs one that
failed is skipped, and says because of which.
"""

import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from flowkit.doctor.finding import Finding
from flowkit.doctor.shadowing import INSTALLED
from flowkit.errors import FlowkitError
from flowkit.installation import PACKAGES

DISTRIBUTIONS = {
    "cv2": "opencv-contrib-python-headless",
    "yaml": "PyYAML",
    "sklearn": "scikit-learn",
}
"""Packages whose import name is not the name that pip knows them by."""
ADVICE = (
    "install the tested versions (pip install -c constraints.txt flowkit-video), "
    "or report this line"
)
Check = Callable[[], list[Finding]]


class WrongResultError(FlowkitError):
    """A step ran, and what came out is not what must come out."""


@dataclass(frozen=True, slots=True)
class Step:
    """One piece of real work.

    ``run`` does it and returns what was done, such as "8 frames of h264"; whatever it raises is
    the reason why the step failed. ``needs`` are the topics of the steps that it builds on.
    ``advice`` is what to do about a failure; by default it follows from the error.
    """

    topic: str
    run: Callable[[], str]
    needs: tuple[str, ...] = ()
    advice: str = ""


def run_steps(
    steps: Iterable[Step], progress: Callable[[str], object] = lambda topic: None
) -> Iterator[Finding]:
    """Run each step whose needs are met, and yield one finding for each step.

    Args:
        steps: steps in an order in which no step needs a later one.
        progress: called with the topic of each step before it runs.

    Yields:
        ``ok`` with the time that the step took, ``fail`` with the reason, or ``skip``.
    """
    broken: dict[str, str] = {}  # topic of a step that did not work: the one that is to blame
    for step in steps:
        culprit = next((broken[topic] for topic in step.needs if topic in broken), None)
        if culprit is not None:
            broken[step.topic] = culprit
            yield Finding(step.topic, "skip", f"not tried, because {culprit!r} failed")
            continue
        progress(step.topic)
        start = time.perf_counter()
        try:
            done = step.run()
        except Exception as error:  # noqa: BLE001
            broken[step.topic] = step.topic
            advice = step.advice or advise(error)
            yield Finding(step.topic, "fail", describe_error(error), advice)
        else:
            spent = time.perf_counter() - start
            yield Finding(step.topic, "ok", f"{done} in {spent:.2f} s")


def guard(topic: str, check: Check) -> list[Finding]:
    """The findings of a check; one ``fail`` in their place where the check itself breaks."""
    try:
        return check()
    except Exception as error:  # noqa: BLE001
        return [Finding(topic, "fail", describe_error(error), advise(error))]


def describe_error(error: Exception, packages: Mapping[str, Path] | None = None) -> str:
    """The error in one line; one that flowkit did not raise on purpose with its type and place.

    Args:
        error: what was raised.
        packages: folders of our own packages by name (default: those beside this one).
    """
    text = " ".join(str(error).split())
    if isinstance(error, FlowkitError):
        return text
    if isinstance(error, ImportError):
        return f"cannot be imported: {text}"
    frames = traceback.extract_tb(error.__traceback__)
    if not frames:
        return f"unexpected {type(error).__name__}: {text}"
    folders = packages or {name: INSTALLED / name for name in PACKAGES}
    own = [f for f in frames if any(Path(f.filename).is_relative_to(p) for p in folders.values())]
    inner, place = frames[-1], shorten(frames[-1])
    if own and own[-1] is not inner:
        place += f", called from {shorten(own[-1])}"
    return f"unexpected {type(error).__name__}: {text} (at {place})"


def shorten(frame: traceback.FrameSummary) -> str:
    """``flowkit/decode/stream.py:54`` for a frame of ours, the last folders and line for others."""
    path = Path(frame.filename)
    inside = path.is_relative_to(INSTALLED)
    parts = path.relative_to(INSTALLED).parts if inside else path.parts[-3:]
    return f"{'/'.join(parts)}:{frame.lineno}"


def advise(error: Exception) -> str:
    """What to do about an error that has no advice of its own."""
    if not isinstance(error, ImportError):
        return ADVICE
    if "libGL" in str(error):
        return "install the system library (Debian: apt install libgl1)"
    package = (error.name or "").partition(".")[0]
    if not package or package in PACKAGES:
        return ADVICE
    return f"pip install --force-reinstall {DISTRIBUTIONS.get(package, package)}"

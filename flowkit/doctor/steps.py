"""Run the checks of `flowkit doctor`, so that a check that breaks does not stop the others.

A check returns findings. A trial step does some of the work of an extraction or a training, and
returns a description of it, to which its finding adds the time. If a step fails, the steps that
require its result are skipped, and their findings name it.
"""

import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from flowkit.doctor.finding import Finding
from flowkit.doctor.imports import DISTRIBUTIONS
from flowkit.errors import CorruptError, FlowkitError, InternalError, VideoError
from flowkit.installation import OWN_PACKAGES, ROOT

GENERAL_ADVICE = (
    "install the tested versions (pip install -c constraints.txt flowkit-video), "
    "or report this line"
)
"""What to do about an error whose cause is unknown."""
CheckFunction = Callable[[], list[Finding]]
"""A check, which needs no arguments and returns its findings."""


class WrongResultError(FlowkitError):
    """A trial step ran, but its result is wrong."""


INSTALLATION_ERRORS = (WrongResultError, InternalError, VideoError, CorruptError)
"""Errors of flowkit that are a fault of the installation if a check raises them: it decodes videos
and reads stores that flowkit has made.
"""


@dataclass(frozen=True, slots=True)
class TrialStep:
    """A step that does some of the work of an extraction or a training."""

    topic: str
    """What is checked, in a word or two."""
    run: Callable[[], str]
    """Function that does the work and returns a description, such as "8 frames of h264". If it
    raises an exception, the step has failed for that reason.
    """
    required_topics: tuple[str, ...] = ()
    """Topics of the steps that must succeed before this one runs."""
    advice: str = ""
    """What to do if the step fails; "" derives it from the error, whose message may say it."""


def run_steps(
    steps: Iterable[TrialStep], progress: Callable[[str], object] = lambda topic: None
) -> Iterator[Finding]:
    """Run trial steps in order, and skip those that require a step that failed.

    Args:
        steps: Steps in an order in which no step requires a later one.
        progress: Called with the topic of each step before it runs.

    Yields:
        One finding for each step: ``ok`` with its description and duration, ``fail`` with the
        reason, or ``skip``.
    """
    causes: dict[str, str] = {}  # topic of a failed or skipped step → topic of the step that failed
    for step in steps:
        cause = next((causes[topic] for topic in step.required_topics if topic in causes), None)
        if cause is not None:
            causes[step.topic] = cause
            yield Finding(step.topic, "skip", f"not tried, because {cause!r} failed")
            continue
        progress(step.topic)
        start = time.perf_counter()
        try:
            description = step.run()
        except Exception as error:  # noqa: BLE001
            causes[step.topic] = step.topic
            advice = step.advice or suggest_advice(error)
            yield Finding(step.topic, "fail", describe_error(error), advice)
        else:
            seconds = time.perf_counter() - start
            yield Finding(step.topic, "ok", f"{description} in {seconds:.2f} s")


def run_check(topic: str, check: CheckFunction) -> list[Finding]:
    """Run a check, and turn an exception of the check itself into a finding.

    Args:
        topic: Topic of the finding in that case.
        check: The check.

    Returns:
        The findings of the check, or one ``fail``.
    """
    try:
        return check()
    except Exception as error:  # noqa: BLE001
        return [Finding(topic, "fail", describe_error(error), suggest_advice(error))]


def describe_error(error: Exception, packages: Mapping[str, Path] | None = None) -> str:
    """Describe an error in one line.

    Args:
        error: What was raised.
        packages: Folders of our packages by name (default: the installed ones).

    Returns:
        The message. Unless it is an error that flowkit raises itself, its type is added, and the
        file and line where it was raised.
    """
    text = " ".join(str(error).split())
    if isinstance(error, FlowkitError):
        return text
    if isinstance(error, ImportError):
        return f"cannot be imported: {text}"
    frames = traceback.extract_tb(error.__traceback__)
    if not frames:
        return f"unexpected {type(error).__name__}: {text}"
    folders = (packages or {name: ROOT / name for name in OWN_PACKAGES}).values()
    our_frames = [f for f in frames if any(Path(f.filename).is_relative_to(d) for d in folders)]
    location = format_location(frames[-1])
    if our_frames and our_frames[-1] is not frames[-1]:
        location += f", called from {format_location(our_frames[-1])}"
    return f"unexpected {type(error).__name__}: {text} (at {location})"


def format_location(frame: traceback.FrameSummary) -> str:
    """Format the file and line of a frame, such as ``flowkit/decode/stream.py:54``.

    Args:
        frame: Frame of a traceback.

    Returns:
        The path below the folder that holds our packages, or the last three parts of another path,
        with the line.
    """
    path = Path(frame.filename)
    parts = path.relative_to(ROOT).parts if path.is_relative_to(ROOT) else path.parts[-3:]
    return f"{'/'.join(parts)}:{frame.lineno}"


def suggest_advice(error: Exception) -> str:
    """Suggest what to do about an error of a check, in one line; "" if its message says it."""
    if isinstance(error, FlowkitError) and not isinstance(error, INSTALLATION_ERRORS):
        return ""
    if not isinstance(error, ImportError):
        return GENERAL_ADVICE
    if "libGL" in str(error):
        return "install the system library (Debian: apt install libgl1)"
    package = (error.name or "").partition(".")[0]
    if not package or package in OWN_PACKAGES:
        return GENERAL_ADVICE
    return f"pip install --force-reinstall {DISTRIBUTIONS.get(package, package)}"

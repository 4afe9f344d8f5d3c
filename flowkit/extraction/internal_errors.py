"""Handle unexpected exceptions, and decide whether the video or the installation caused them.

If a single video makes a library raise an unexpected exception, the video is quarantined with the
traceback, and the run continues. If all of the first videos fail in the same way, or very many in a
row, then flowkit or its installation is the cause: the run ends, and the videos are not
quarantined, so that the next run tries them again.
"""

import os
import traceback
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import av

from flowkit.errors import InternalError
from flowkit.extraction.failure_diagnosis import FRAME
from flowkit.extraction.tasks import Outcome
from flowkit.store.failures import Failure
from flowkit.store.format.atomic import convert_disk_errors

KIND = "internal-error"
"""Kind of the failures that unexpected exceptions cause."""
FIRST = 10
"""If so many of the first videos fail in the same way, the installation is the cause."""
IN_A_ROW = 100
"""If so many videos in a row fail in the same way later, the installation is the cause."""
MESSAGE_CHARACTERS = 300
"""Largest number of characters of an exception's message that are kept."""
TRACEBACK_CHARACTERS = 20_000
"""Largest number of characters of a traceback that are kept."""
LOADER_TRACEBACK = "Original Traceback (most recent call last):"
"""Line after which PyTorch writes the traceback of a loader process into a message."""


@dataclass(frozen=True)
class UnexpectedError:
    """The description of an exception in a failure."""

    fault: str
    """Its type and location, such as ``TypeError at reader.py:120``: the same in every video."""
    message: str
    """Its message in one line."""
    traceback: str
    """Its traceback, with those of its causes."""

    @property
    def reason(self) -> str:
        """Return type, location and message in one line."""
        return f"{self.fault}: {self.message}" if self.message else self.fault


def describe_exception(error: BaseException, remote: str = "") -> UnexpectedError:
    """Describe an exception by its type, its location and its message.

    Args:
        error: The exception.
        remote: The traceback of the process that raised it, if that was another one.
    """
    lines = str(error).splitlines()
    if LOADER_TRACEBACK in lines:
        remote = str(error)
        lines = [next(line for line in reversed(lines) if line.strip()).partition(": ")[2]]
    frames = [(frame.filename, frame.lineno) for frame in traceback.extract_tb(error.__traceback__)]
    remote_frames = filter(None, map(FRAME.match, remote.splitlines()))
    innermost = ([(match["path"], match["line"]) for match in remote_frames] or frames)[-1:]
    location = "".join(f" at {Path(path).name}:{line}" for path, line in innermost)
    text = "".join(traceback.format_exception(error))
    return UnexpectedError(
        fault=f"{type(error).__name__}{location}",
        message=make_unicode(" ".join(" ".join(lines).split())[:MESSAGE_CHARACTERS]),
        # The last characters, because those of an endless recursion are at its end.
        traceback=make_unicode(text[-TRACEBACK_CHARACTERS:]),
    )


def make_unicode(text: str) -> str:
    """Escape characters that UTF-8 cannot encode, since file names may contain any bytes."""
    return text.encode("utf-8", "backslashreplace").decode()


def fail_internally(outcome: Outcome, error: Exception) -> Outcome:
    """Return the outcome of a video that failed with an unexpected exception."""
    unexpected = describe_exception(error)
    return replace(
        outcome, status="failed", kind=KIND, reason=unexpected.reason, fault=unexpected.fault,
        traceback=unexpected.traceback,
    )  # fmt: skip


def make_internal_error(message: str, error: BaseException, remote: str = "") -> InternalError:
    """Make the error for an exception that no video caused; ``message`` tells what failed."""
    return InternalError(
        f"{message}: {describe_exception(error, remote).reason}. The fault is flowkit's or its "
        "installation's: `flowkit doctor` checks the installation, `flowkit --debug …` shows more"
    )


def is_about(error: Exception, path: Path) -> bool:
    """Return whether an exception is an OSError about this file."""
    if not isinstance(error, OSError) or not isinstance(error.filename, str | bytes | os.PathLike):
        return False
    return os.fsdecode(error.filename) == os.fspath(path)


def check_disk(error: Exception, root: Path) -> None:
    """Raise a StoreError or DiskFullError if an exception comes from the disk of the store.

    That is an error of the operating system for a file of the store, or for one that is not named
    (a write to a file that is open). Libraries that cannot be loaded, and FFmpeg's errors, are
    OSErrors too, and others.
    """
    if not isinstance(error, OSError) or isinstance(error, av.error.FFmpegError):
        return
    name = error.filename
    if error.errno is None or not (name is None or isinstance(name, str | bytes | os.PathLike)):
        return
    path = root if name is None else Path(os.fsdecode(name))
    if path.is_relative_to(root):
        with convert_disk_errors(path):
            raise error


class FailureLog:
    """Record the failures of a run, and decide when the installation is the cause.

    Args:
        record: Called with each failure, to write it to the store and count it.
        stop: Called to request the run to commit what is complete and stop.
    """

    def __init__(self, record: Callable[[Failure], None], stop: Callable[[], None]) -> None:
        self._record, self._stop = record, stop
        self._pending: list[Failure] = []  # in a row and with the same fault; recorded later
        self._fault = ""
        self._succeeded = self._failed_otherwise = False
        self.blames_installation = False

    def add_success(self) -> None:
        """Record that a video was extracted, which shows that the installation works."""
        self._succeeded = True
        self._record_pending()

    def add_failure(self, failure: Failure, fault: str) -> None:
        """Record a failure, at once or when the cause is known.

        Args:
            failure: The failure.
            fault: Type and location of an internal error; empty for a failure of another kind,
                such as an empty file, which tells nothing about the installation.
        """
        if not fault:
            self._failed_otherwise = True
            self._record(failure)
            return
        if self._pending and fault != self._fault:
            self._failed_otherwise = True
            self._record_pending()
        self._fault = fault
        self._pending.append(failure)
        limit = IN_A_ROW if self._succeeded else FIRST
        if len(self._pending) >= limit and not self.blames_installation:
            self.blames_installation = True
            self._stop()

    def close(self, root: Path) -> InternalError | None:
        """Record the failures that are still pending; call this when the run has ended.

        Returns:
            The error to raise if the installation is the cause, else None.
        """
        if not self._pending:
            return None
        if self._succeeded or self._failed_otherwise:
            self._record_pending()
        else:
            self.blames_installation = True
        if not self.blames_installation:
            return None
        for failure in self._pending:
            self._record(replace(failure, retry=True))
        count, reason = len(self._pending), self._pending[-1].reason
        result = "in a row failed" if self._succeeded else "failed, and none was extracted,"
        return InternalError(
            f"{count} video{'s' if count > 1 else ''} {result} by the same internal error: "
            f"{reason}. The fault is flowkit's or its installation's, not the videos': `flowkit "
            f"doctor` checks the installation, the tracebacks are in {root / 'failures.jsonl'}. "
            "The same command tries these videos again"
        )

    def _record_pending(self) -> None:
        if self.blames_installation:  # a late success does not change that
            return
        for failure in self._pending:
            self._record(failure)
        self._pending = []

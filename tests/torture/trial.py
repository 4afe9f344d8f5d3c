"""What a trial is, and processes in which one can be run and ended."""

import json
import os
import random
import re
import signal
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from flowkit.errors import FlowkitError

TRACEBACK = 76
"""Exit code of a forked process that ended by an exception which is no `FlowkitError`."""
INTERRUPTED = 130
"""Exit code of a command that was interrupted."""
REFUSED = 75
"""Exit code of a forked process that ended by a `FlowkitError`."""
IGNORED = re.compile(r"^Exception ignored in:.*?^KeyboardInterrupt: ?$", re.DOTALL | re.MULTILINE)
"""What Python prints of a signal that came in a destructor, from which no exception is raised."""


class Unavailable(Exception):
    """This machine, or this copy of the project, lacks what a kind of trials needs."""


@dataclass
class Outcome:
    """What a trial did and found."""

    what: str = ""
    """What was done."""
    problems: list[str] = field(default_factory=list)
    """Invariants that did not hold."""
    counts: Counter[str] = field(default_factory=Counter)
    """How many kills, mutations and faults there were."""


@dataclass(frozen=True)
class Kind:
    """A kind of trials."""

    name: str
    """Name on the command line and in the table."""
    invariant: str
    """What must hold."""
    run: Callable[[Any, Path, random.Random, Outcome], None]
    """``run(shared, folder, rng, outcome)``: one trial in an empty folder."""
    prepare: Callable[[Any], Any] = lambda shared: None
    """Makes what all trials share, once."""
    weight: float = 1.0
    """Share of the time of a long run."""
    short: int = 3
    """Trials of a short run."""
    limit: float = 60.0
    """Seconds after which a trial counts as hanging."""


def fork(work: Callable[[], Any], log: Path) -> int:
    """Run a function in a forked process; return the id of the process.

    Its output goes to ``log``. It ends with `REFUSED` or `TRACEBACK` after an exception, which is
    written to the log too.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    # Signals wait until Python has renewed its locks after the fork, and the handlers are set.
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    process = os.fork()
    if process:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        return process
    code = TRACEBACK
    try:
        os.setpgid(0, 0)
        descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(descriptor, 1)
        os.dup2(descriptor, 2)
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.default_int_handler if number == signal.SIGINT else 0)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        code = work() or 0
    except FlowkitError as error:
        os.write(2, f"refused: {error}\n".encode(errors="replace"))
        code = REFUSED
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else 1
    except KeyboardInterrupt:  # as the command line does, also before the work has begun
        code = INTERRUPTED
    except BaseException:  # noqa: BLE001
        os.write(2, traceback.format_exc().encode(errors="replace"))
    finally:
        os._exit(code)


def wait(process: int, seconds: float = 30.0) -> int | None:
    """Wait for a process; return its exit code (−n after signal n), None if it had to be killed."""
    deadline = time.monotonic() + seconds
    pause = 0.0005
    while time.monotonic() < deadline:
        ended, status = os.waitpid(process, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        time.sleep(pause)
        pause = min(0.02, pause * 1.5)
    os.kill(process, signal.SIGKILL)
    os.waitpid(process, 0)
    return None


def describe_end(code: int | None, log: Path, allowed: set[int]) -> str | None:
    """Describe how a process ended that must end in one of some ways; None if it did."""
    text = log.read_text(errors="replace").strip() if log.exists() else ""
    text = IGNORED.sub("", text)
    if "Traceback (most recent call last)" in text:
        return f"traceback: {text[-600:]}"
    if code is None:
        return f"hang: {text[-200:]}"
    return None if code in allowed else f"ended with {code}: {text[-300:]}"


def to_json(outcome: Outcome) -> str:
    """Encode an outcome as one line."""
    return json.dumps([outcome.what, outcome.problems, outcome.counts])


def from_json(text: str) -> Outcome:
    """Decode `to_json`."""
    what, problems, counts = json.loads(text)
    return Outcome(what, problems, Counter(counts))

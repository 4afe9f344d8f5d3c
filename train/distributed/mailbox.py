"""What training processes tell the process that started them: lines for the user, and failures.

Only the first process sends lines, so they are those that a single process would print. Several
failures follow each other quickly, because the processes wait for each other; the first to arrive
is the cause.
"""

import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from flowkit.errors import FlowkitError

POLL_SECONDS = 0.2
"""How often new lines are fetched."""
ANSWER_SECONDS = 30.0
"""How long to wait for the mailbox to answer."""
MESSAGE_CHARACTERS = 300
"""Largest number of characters of an unexpected exception that are shown."""


@dataclass(frozen=True, kw_only=True)
class Failure:
    """Why a training process failed."""

    rank: int
    """Index of the process."""
    node: str
    """Name of its machine."""
    message: str
    """The exception in one line."""
    traceback: str
    """Its traceback, for the log file."""
    is_expected: bool
    """Whether it is a FlowkitError, whose message says all that the user needs."""
    exit_code: int = 1
    """Exit code of the command."""


def describe_failure(error: BaseException, rank: int, node: str) -> Failure:
    """Describe the exception that is being handled in a training process."""
    text = " ".join(str(error).split())
    is_expected = isinstance(error, FlowkitError)
    if not is_expected:
        text = f"{type(error).__name__}: {text}"[:MESSAGE_CHARACTERS]
    return Failure(
        rank=rank,
        node=node,
        message=text,
        traceback="".join(traceback.format_exception(error)),
        is_expected=is_expected,
        exit_code=getattr(error, "exit_code", 1),
    )


class Mailbox:
    """The actor between the training processes and the process that started them."""

    def __init__(self) -> None:
        self._lines: list[str] = []
        self._failures: list[Failure] = []

    def put_line(self, text: str) -> None:
        """Keep a line for the user."""
        self._lines.append(text)

    def put_failure(self, failure: Failure) -> None:
        """Keep a failure."""
        self._failures.append(failure)

    def take_lines(self) -> list[str]:
        """Return the lines that have come since the last call."""
        lines, self._lines = self._lines, []
        return lines

    def list_failures(self) -> list[Failure]:
        """List all failures in the order in which they came."""
        return self._failures


def make_mailbox(ray: Any) -> Any:
    """Make a mailbox on this node, so that it outlives every other node of the cluster."""
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    node = ray.get_runtime_context().get_node_id()
    strategy = NodeAffinitySchedulingStrategy(node_id=node, soft=False)
    return ray.remote(num_cpus=0, scheduling_strategy=strategy)(Mailbox).remote()


@contextmanager
def show_lines(ray: Any, mailbox: Any, log: Callable[[str], None]) -> Iterator[None]:
    """Show the lines of a mailbox as they come, until the context closes."""
    is_closing = threading.Event()

    def show() -> None:
        is_last = False
        # An error of Ray ends only this display: the call that trains raises it too.
        with suppress(ray.exceptions.RayError):
            while not is_last:
                is_last = is_closing.wait(POLL_SECONDS)
                for line in ray.get(mailbox.take_lines.remote(), timeout=ANSWER_SECONDS):
                    log(line)

    thread = threading.Thread(target=show, daemon=True)
    thread.start()
    try:
        yield
    finally:
        is_closing.set()
        thread.join()

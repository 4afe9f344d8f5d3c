"""Define what the executors of a run, on Ray or in this process, call while they work."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from flowkit.extraction.interrupt import Interrupt


@dataclass(frozen=True)
class RunCallbacks:
    """Functions that an executor calls in the thread that started it."""

    start: Callable[[int, str], None]
    """Called once, with the number of workers and the backend, when the first worker is ready."""
    count: Callable[[Any], None]
    """Called with each outcome."""
    log: Callable[[str], None]
    """Called with each line to print."""
    interrupt: Interrupt
    """Tells whether the run is requested to stop."""

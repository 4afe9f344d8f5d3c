"""Define the callbacks of a run, which report its progress and tell whether it must stop.

The Ray driver (driver.py) and the executor without Ray (in_process.py) call them.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

from flowkit.extraction.interrupt import Interrupt


@dataclass(frozen=True)
class RunCallbacks:
    """What an executor calls or reads; all but ``on_progress`` in the thread that started it."""

    on_start: Callable[[int, str], None]
    """Called once, with the number of workers and the backend, when the first worker is ready."""
    on_outcome: Callable[[Any], None]
    """Called with the outcome of each task."""
    on_progress: Callable[[str, float], None]
    """Called every few seconds, perhaps in another thread, with the id of a video in progress and
    the share of it that is done.
    """
    log: Callable[[str], None]
    """Called with each line to print."""
    interrupt: Interrupt
    """Its ``is_requested`` tells whether the user asked the run to stop."""
    recover: Callable[[], Collection[str]]
    """Called when a worker has died, to recover what it left; returns the ids of the videos that it
    had completed.
    """

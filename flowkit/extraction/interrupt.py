"""Handle Ctrl-C and SIGTERM: the first signal lets a run commit and stop, the second ends it."""

import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any, Self

from rich.console import Console


class Interrupt:
    """A context manager in which SIGINT and SIGTERM request the run to stop.

    They set :attr:`is_requested` and call ``on_request``.

    A second signal raises KeyboardInterrupt. Complete videos then stay in unfinished shards, from
    which the next run recovers them. Outside the main thread, where Python handles no signals, the
    context manager does nothing.
    """

    def __init__(self, console: Console) -> None:
        self.is_requested = False
        self.on_request: Callable[[], None] = lambda: None
        self._console = console
        self._previous_handlers: dict[int, Any] = {}
        self._announcement: threading.Thread | None = None

    def __enter__(self) -> Self:
        self.install_handlers()
        return self

    def install_handlers(self) -> None:
        """Install the signal handlers, again if a library such as Ray has replaced them."""
        if threading.current_thread() is threading.main_thread():
            for signal_number in (signal.SIGINT, signal.SIGTERM):
                handler = signal.signal(signal_number, self._handle_signal)
                self._previous_handlers.setdefault(signal_number, handler)

    def __exit__(self, *exception: object) -> None:
        for signal_number, handler in self._previous_handlers.items():
            signal.signal(signal_number, handler)
        if self._announcement is not None:
            self._announcement.join()

    def request_stop(self) -> None:
        """Request the run to commit what is complete and stop, as the first signal does."""
        self.is_requested = True
        self.on_request()

    def _handle_signal(self, signal_number: int, frame: FrameType | None) -> None:
        if self.is_requested:
            raise KeyboardInterrupt
        message = "stopping: committing what is complete (again to stop at once)"
        # In a thread: the signal may have come in the middle of rich's own imports or printing.
        self._announcement = threading.Thread(target=self._console.print, args=(message,))
        self._announcement.start()
        self.request_stop()

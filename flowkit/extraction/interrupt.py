"""Handle Ctrl-C and SIGTERM: the first signal ends a run in good order, the second at once."""

import signal
import threading
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any, Self

from rich.console import Console


class Interrupt:
    """A context manager in which SIGINT and SIGTERM set :attr:`asked` and call ``on_ask``.

    A second signal raises KeyboardInterrupt. Complete videos then stay in unfinished shards, from
    which the next run recovers them. Outside the main thread, where Python handles no signals, the
    context manager does nothing.
    """

    def __init__(self, console: Console) -> None:
        self.asked = False
        self.on_ask: Callable[[], None] = lambda: None
        self._console = console
        self._former: dict[int, Any] = {}
        self._announcement: threading.Thread | None = None

    def __enter__(self) -> Self:
        self.take()
        return self

    def take(self) -> None:
        """Install the signal handlers, again if a library such as Ray has replaced them."""
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                former = signal.signal(number, self._handle)
                self._former.setdefault(number, former)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for number, handler in self._former.items():
            signal.signal(number, handler)
        if self._announcement is not None:
            self._announcement.join()

    def ask(self) -> None:
        """Ask the run to end in good order, as the first signal does."""
        self.asked = True
        self.on_ask()

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.asked:
            raise KeyboardInterrupt
        message = "stopping: committing what is complete (again to stop at once)"
        # In a thread: the signal may have come in the middle of rich's own imports or printing.
        self._announcement = threading.Thread(target=self._console.print, args=(message,))
        self._announcement.start()
        self.ask()

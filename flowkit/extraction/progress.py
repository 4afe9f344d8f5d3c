"""How far a run is: a bar with rate and ETA on a terminal, a line now and then elsewhere."""

import time
from collections.abc import Mapping
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from flowkit.extraction.summary import describe_failure
from flowkit.extraction.tasks import Outcome

LINE_SECONDS = 15.0


class Meter:
    """Counts videos, and what is made of them, on stderr, as a context manager.

    The ETA goes by the videos' ``weights``, since they differ in length: bytes of source, say.
    ``what`` is made: ``pairs``, or ``frames``, by their names in an outcome.
    """

    def __init__(
        self, weights: Mapping[str, int], console: Console | None = None, what: str = "pairs"
    ) -> None:
        self.console = console or Console(stderr=True)
        self._weights = {id: max(1, weight) for id, weight in weights.items()}
        self._what = what
        self._finished = self._failed = self._made = 0
        self._weight = 0
        self._started = self._spoke = time.monotonic()
        self._bar = Progress(
            BarColumn(),
            TextColumn("{task.fields[line]}"),
            TextColumn("ETA"),
            TimeRemainingColumn(),
            console=self.console,
            disable=not self.console.is_terminal,
        )
        self._task = self._bar.add_task("", total=sum(self._weights.values()), line=self._line())

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bar.stop()

    def begin(self) -> None:
        """The first video starts: rates count from here."""
        self._started = time.monotonic()

    def count(self, outcome: Outcome) -> None:
        """One video is finished, well or badly."""
        self._finished += 1
        self._failed += outcome.status == "failed"
        self._made += getattr(outcome, self._what)
        self._weight += self._weights.get(outcome.id, 1)
        self._bar.update(self._task, completed=self._weight, line=self._line())
        if outcome.status == "failed":
            self.log(f"failed: {describe_failure(outcome.id, outcome.reason)}")
        now = time.monotonic()
        if not self.console.is_terminal and now - self._spoke >= LINE_SECONDS:
            self._spoke = now
            share = self._weight / sum(self._weights.values())
            left = (now - self._started) * (1 - share) / share if share else 0.0
            self.log(f"{self._line()}, ETA {left / 60:.0f} min")

    def log(self, text: str) -> None:
        """One line beside the bar."""
        self.console.print(text, markup=False, highlight=False, soft_wrap=True)

    def _line(self) -> str:
        seconds = max(1e-9, time.monotonic() - self._started)
        failed = f" ({self._failed} failed)" if self._failed else ""
        rate = f", {self._made / seconds:.1f} {self._what}/s" if self._made else ""
        return f"{self._finished}/{len(self._weights)} videos{failed}{rate}"

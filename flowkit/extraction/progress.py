"""Show the progress of a run: a bar on terminals that can draw one, else a line now and then."""

import time
from collections.abc import Mapping
from threading import Lock
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from flowkit.extraction.summary import describe_failure
from flowkit.extraction.tasks import Outcome

MAX_SHARE = 0.99
"""Largest share of a video that is not finished: its number of frames is an estimate."""
LINE_SECONDS = 15.0
"""Seconds between lines where there is no bar."""


class Meter:
    """A context manager that shows how many videos are done, the rate and the remaining time.

    Args:
        weights: Weight of each video by its id, such as its size in bytes, for the remaining time.
        console: Where progress is shown; None for stderr.
        counted: Field of an outcome that the rate counts: ``pairs``, ``frames`` or ``features``.
    """

    def __init__(
        self, weights: Mapping[str, int], console: Console | None = None, counted: str = "pairs"
    ) -> None:
        self.console = console or Console(stderr=True)
        self._weights = {id: max(1, weight) for id, weight in weights.items()}
        self._counted = counted
        self._finished = self._failed = self._count = self._weight = 0
        self._shares: dict[str, float] = {}  # of the videos in progress
        self._ended: set[str] = set()
        self._lock = Lock()
        self._started = self._line_printed = time.monotonic()
        # On a dumb terminal, rich draws no bar.
        self._has_bar = self.console.is_terminal and not self.console.is_dumb_terminal
        self._bar = Progress(
            BarColumn(),
            TextColumn("{task.fields[line]}"),
            TextColumn("ETA"),
            TimeRemainingColumn(),
            console=self.console,
            disable=not self._has_bar,
        )
        self._task = self._bar.add_task(
            "", total=sum(self._weights.values()), line=self._describe()
        )

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._bar.stop()

    def start_clock(self) -> None:
        """Start the clock that rates are computed from, when the first video starts."""
        self._started = time.monotonic()

    def count(self, outcome: Outcome) -> None:
        """Count one video that is done or has failed."""
        self._finished += 1
        self._failed += outcome.status == "failed"
        self._count += getattr(outcome, self._counted)
        self._weight += self._weights.get(outcome.id, 1)
        with self._lock:
            self._shares.pop(outcome.id, None)
            self._ended.add(outcome.id)
        if outcome.status == "failed":
            self.log(f"failed: {describe_failure(outcome.id, outcome.reason)}")
        self._show()

    def show_share(self, id: str, share: float) -> None:
        """Show how much of a video in progress is done; it may be called in any thread.

        Args:
            id: The video.
            share: The share of it that is done; 1 and more counts as nearly all.
        """
        with self._lock:
            if id in self._ended:  # meanwhile, in another thread
                return
            self._shares[id] = min(share, MAX_SHARE)
        self._show()

    def _show(self) -> None:
        with self._lock:
            begun = sum(share * self._weights.get(id, 1) for id, share in self._shares.items())
        weight = self._weight + begun
        self._bar.update(self._task, completed=weight, line=self._describe())
        now = time.monotonic()
        if not self._has_bar and now - self._line_printed >= LINE_SECONDS:
            self._line_printed = now
            share = weight / sum(self._weights.values())
            seconds = (now - self._started) * (1 - share) / share if share else 0.0
            self.log(f"{self._describe()}, ETA {seconds / 60:.0f} min")

    def log(self, text: str) -> None:
        """Print one line above the progress bar."""
        self.console.print(text, markup=False, highlight=False, soft_wrap=True)

    def _describe(self) -> str:
        seconds = max(1e-9, time.monotonic() - self._started)
        failed = f" ({self._failed} failed)" if self._failed else ""
        rate = f", {self._count / seconds:.1f} {self._counted}/s" if self._count else ""
        return f"{self._finished}/{len(self._weights)} videos{failed}{rate}"

"""Summary of a feature extraction run: counts, and the reasons why videos have no features."""

from dataclasses import dataclass, field
from typing import Any

from rich.console import Group, RenderableType

from flowkit.extraction.summary import (
    RunSummary,
    count_kinds,
    draw_counts,
    list_failures,
    list_first_lines,
)
from flowkit.store import Failure


@dataclass(kw_only=True)
class Summary(RunSummary):
    """What a run computed, skipped and could not compute."""

    name: str
    """Name of the feature set."""
    network: str
    """Name of the network that computes the features."""
    device: str = "cpu"
    """Device that computed the features."""
    computed: int = 0
    """Videos that this run committed."""
    rows: int = 0
    """Features that this run computed, one row each."""
    lacking: list[Failure] = field(default_factory=list)
    """Videos that lack the input stream, have no image, or are shorter than a window in a strict
    run."""
    padded: list[str] = field(default_factory=list)
    """Videos shorter than a window, whose last image is repeated."""
    work_seconds: float = 0.0
    """Seconds of computation, without the `start_seconds`."""

    @property
    def rows_per_second(self) -> float:
        """Return the features computed per second, or 0 if no time was spent."""
        return self.rows / self.work_seconds if self.work_seconds > 0 else 0.0

    @property
    def without_features(self) -> int:
        """Count the videos that have no features, which a strict run does not accept."""
        return len(self.failed) + len(self.quarantined) + len(self.lacking)

    @property
    def is_failure(self) -> bool:
        """Return whether videos failed and none has features.

        Videos that lack the stream have not failed: a part of a store may have no others.
        """
        return bool(self.failed or self.quarantined) and not (
            self.computed or self.done_before or self.left or self.interrupted
        )

    def to_dict(self) -> dict[str, Any]:
        """Convert the whole summary to JSON values."""
        return super().to_dict() | {"rows_per_second": round(self.rows_per_second, 2)}

    def render(self) -> RenderableType:
        """Format the summary for the terminal."""
        return Group(
            draw_counts(self._rows()),
            *list_first_lines("shorter than a window (the last image is repeated)", self.padded),
            *list_failures("failed", self.failed),
            *list_failures("quarantined before (retry with --retry-failed)", self.quarantined),
            *list_failures("cannot be computed", self.lacking),
        )

    def _rows(self) -> list[tuple[str, str]]:
        lacking = (len(self.lacking), f"cannot be computed ({count_kinds(self.lacking)})")
        text = f"wall time, {self.start_seconds:.1f} s of it to start workers"
        if self.rows:
            text += f"; {self.rows_per_second:.1f} features/s on {self.device}"
        return [
            (f"{self.computed:,}", f"videos computed, {self.rows:,} features"),
            *self.list_counts(lacking),
            (f"{self.wall_seconds:.1f} s", text),
        ]

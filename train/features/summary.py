"""Summary of a feature extraction run: counts, and the reasons why videos have no features."""

from dataclasses import dataclass, field
from typing import Any

from rich.text import Text

from flowkit.extraction.summary import RunSummary, count_kinds, list_failures
from flowkit.store import Failure


@dataclass(kw_only=True)
class Summary(RunSummary):
    """What a run computed, skipped and could not compute."""

    name: str
    """Name of the feature set."""
    network: str = ""
    """Name of the network that computes the features."""
    device: str = "cpu"
    """Device that computed the features."""
    computed: int = 0
    """Number of videos that this run committed."""
    rows: int = 0
    """Number of features that this run computed."""
    lacking: list[Failure] = field(default_factory=list)
    """Videos without the input stream, or too short."""
    work_seconds: float = 0.0
    """Time after `start_seconds`."""

    @property
    def rows_per_second(self) -> float:
        """Return the features computed per second, or 0 if no time was spent."""
        return self.rows / self.work_seconds if self.work_seconds > 0 else 0.0

    @property
    def faults(self) -> int:
        """Count the videos that have no features for a reason that lies with the video."""
        return len(self.failed) + len(self.quarantined) + len(self.lacking)

    def to_dict(self) -> dict[str, Any]:
        """Return the whole summary as JSON values."""
        return super().to_dict() | {"rows_per_second": round(self.rows_per_second, 2)}

    def list_results(self) -> list[tuple[str, str]]:
        """See `RunSummary`."""
        return [(f"{self.computed:,}", f"videos computed, {self.rows:,} features")]

    def count_left_out(self) -> list[tuple[int, str]]:
        """See `RunSummary`."""
        return [(len(self.lacking), f"not to be computed ({count_kinds(self.lacking)})")]

    def list_left_out(self) -> list[Text]:
        """See `RunSummary`."""
        return list_failures("not to be computed", self.lacking)

    def list_times(self) -> list[tuple[str, str]]:
        """See `RunSummary`."""
        text = f"wall time, {self.start_seconds:.1f} s of it to start workers"
        if self.rows:
            text += f"; {self.rows_per_second:.1f} features/s on {self.device}"
        return [(f"{self.wall_seconds:.1f} s", text)]

"""Summary of a feature extraction run: counts, and the reasons why videos have no features."""

from dataclasses import asdict, dataclass, field
from typing import Any

from rich.console import Group, RenderableType

from flowkit.extraction.summary import count_kinds, draw_counts, list_failures
from flowkit.store import Failure


@dataclass(kw_only=True)
class Summary:
    """What a run computed, skipped and could not compute."""

    store: str
    """Path of the store."""
    name: str
    """Name of the feature set."""
    network: str
    """Name of the network that computes the features."""
    device: str = "cpu"
    """Device that computed the features."""
    workers: int = 0
    """Number of workers."""
    computed: int = 0
    """Videos that this run committed."""
    done_before: int = 0
    """Videos that had their features before this run."""
    salvaged: int = 0
    """Videos of `done_before` that a killed run had completed and this run kept."""
    rows: int = 0
    """Features that this run computed."""
    failed: list[Failure] = field(default_factory=list)
    """Videos that this run quarantined."""
    quarantined: list[Failure] = field(default_factory=list)
    """Videos that earlier runs quarantined."""
    lacking: list[Failure] = field(default_factory=list)
    """Videos without the input stream, or too short."""
    left: int = 0
    """Videos that were planned but not done when the run ended."""
    beyond: int = 0
    """Videos left out by ``--limit``."""
    interrupted: bool = False
    """Whether the run was interrupted."""
    wall_seconds: float = 0.0
    """Duration of the run."""
    start_seconds: float = 0.0
    """Time until the first worker had its first share."""
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

    @property
    def complete(self) -> bool:
        """Return whether every video has its features or is known to be unable to have them."""
        return not (self.left or self.beyond or self.interrupted)

    def to_dict(self) -> dict[str, Any]:
        """Convert the whole summary to JSON values."""
        values = asdict(self)
        values["rows_per_second"] = round(self.rows_per_second, 2)
        values["complete"] = self.complete
        return values

    def render(self) -> RenderableType:
        """Format the summary for the terminal."""
        return Group(
            draw_counts(self._rows()),
            *list_failures("failed", self.failed),
            *list_failures("failed before (again with --retry-failed)", self.quarantined),
            *list_failures("not to be computed", self.lacking),
        )

    def _rows(self) -> list[tuple[str, str]]:
        rows = [(f"{self.computed:,}", f"videos computed, {self.rows:,} features")]
        optional = [
            (self.done_before, "videos done before"),
            (self.salvaged, "of them completed by a run that was killed, kept now"),
            (len(self.failed), f"failed and quarantined ({count_kinds(self.failed)})"),
            (len(self.quarantined), "quarantined by earlier runs"),
            (len(self.lacking), f"not to be computed ({count_kinds(self.lacking)})"),
            (self.left, "not done: the same command goes on"),
            (self.beyond, "beyond --limit"),
        ]
        rows += [(f"{count:,}", text) for count, text in optional if count]
        text = f"wall time, {self.start_seconds:.1f} s of it to start workers"
        if self.rows:
            text += f"; {self.rows_per_second:.1f} features/s on {self.device}"
        return [*rows, (f"{self.wall_seconds:.1f} s", text)]

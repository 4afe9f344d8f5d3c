"""The outcome of a run: counts, and why videos have no features."""

from dataclasses import asdict, dataclass, field
from typing import Any

from rich.console import Group, RenderableType

from flowkit.extraction.summary import count_kinds, draw_counts, list_failures
from flowkit.store import Failure


@dataclass(kw_only=True)
class Summary:
    """What a run found, did, and could not do."""

    store: str
    name: str
    network: str
    device: str = "cpu"
    workers: int = 0
    computed: int = 0  # videos that this run committed
    done_before: int = 0
    salvaged: int = 0  # of done_before: completed by a killed run, kept by this one
    rows: int = 0  # features of this run
    failed: list[Failure] = field(default_factory=list)  # quarantined by this run
    quarantined: list[Failure] = field(default_factory=list)  # by earlier runs
    lacking: list[Failure] = field(default_factory=list)  # without the stream, or too short
    left: int = 0  # planned, but not done when the run ended
    beyond: int = 0  # left out by --limit
    interrupted: bool = False
    wall_seconds: float = 0.0
    start_seconds: float = 0.0  # until the first worker had its first share
    work_seconds: float = 0.0  # after that

    @property
    def rows_per_second(self) -> float:
        return self.rows / self.work_seconds if self.work_seconds > 0 else 0.0

    @property
    def faults(self) -> int:
        """Videos of which there are no features, for whatever reason that lies with them."""
        return len(self.failed) + len(self.quarantined) + len(self.lacking)

    @property
    def complete(self) -> bool:
        """Whether every video has its features, or is known to be unable to."""
        return not (self.left or self.beyond or self.interrupted)

    def to_dict(self) -> dict[str, Any]:
        """The summary as JSON values, nothing left out."""
        values = asdict(self)
        values["rows_per_second"] = round(self.rows_per_second, 2)
        values["complete"] = self.complete
        return values

    def render(self) -> RenderableType:
        """The summary as people read it."""
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

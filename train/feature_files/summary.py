"""Summary of a run that computes feature files."""

from dataclasses import dataclass, field
from typing import Any

from rich.console import Group, RenderableType

from flowkit.extraction.gpu_timer import GpuTimes
from flowkit.extraction.summary import (
    RunSummary,
    count_kinds,
    describe_failure,
    draw_counts,
    list_failures,
    list_first_lines,
)
from flowkit.extraction.tasks import Outcome, Seconds
from flowkit.store import Failure


@dataclass(kw_only=True)
class Summary(RunSummary):
    """What a run computed, skipped and could not compute."""

    networks: dict[str, str] = field(default_factory=dict)
    """Name of the network of each stream."""
    device: str = "cpu"
    """Device of the networks."""
    backend: str = ""
    """Name of the optical-flow backend; empty if no flow is computed."""
    computed: int = 0
    """Videos whose files this run wrote."""
    frames: int = 0
    """Frames that this run read."""
    rows: int = 0
    """Rows that this run computed."""
    bytes: int = 0
    """Size of these rows in bytes."""
    changed: list[str] = field(default_factory=list)
    """Ids of the videos whose source has changed since their features were computed."""
    missing: list[str] = field(default_factory=list)
    """Videos that are annotated, but missing on disk."""
    unannotated: list[str] = field(default_factory=list)
    """Videos that are on disk, but have no annotation."""
    padded: list[Failure] = field(default_factory=list)
    """Videos that an earlier run padded, although they are shorter than a window and this run is
    strict."""
    lacking: list[Failure] = field(default_factory=list)
    """Videos of a store that lack a stream that a network reads."""
    warned: list[str] = field(default_factory=list)
    """Warnings, as ``id: warning``."""
    work_seconds: float = 0.0
    """Seconds of computation, without the `start_seconds`."""
    seconds: Seconds = field(default_factory=Seconds)
    """Time by stage, summed over workers."""
    gpu: GpuTimes | None = None
    """Busy and idle time of the GPUs; None without one."""

    @property
    def without_features(self) -> int:
        """Count the videos that have no features, or none that a strict run accepts."""
        lists = (self.failed, self.quarantined, self.lacking, self.padded)
        return sum(map(len, lists))

    @property
    def is_failure(self) -> bool:
        """Return whether videos failed and none has features."""
        failures = self.failed or self.quarantined or self.lacking
        return bool(failures) and not (
            self.computed or self.done_before or self.changed or self.left or self.interrupted
        )

    def add(self, outcome: Outcome) -> None:
        """Add a video that is done."""
        self.frames += outcome.frames
        self.rows += outcome.features
        self.bytes += outcome.bytes
        self.seconds += outcome.seconds
        if self.gpu is not None:
            self.gpu += outcome.gpu
        self.warned += [describe_failure(outcome.id, warning) for warning in outcome.warnings]

    def to_dict(self) -> dict[str, Any]:
        """Convert the whole summary to JSON values."""
        rate = self.frames / self.work_seconds if self.work_seconds > 0 else 0.0
        return super().to_dict() | {"frames_per_second": round(rate, 2)}

    def render(self) -> RenderableType:
        """Format the summary for the terminal."""
        return Group(
            draw_counts(self._list_lines()),
            *list_first_lines("warnings", self.warned),
            *list_first_lines("source changed since (--update computes them again)", self.changed),
            *list_first_lines("annotated, but missing on disk", self.missing),
            *list_first_lines("on disk without annotation", self.unannotated),
            *list_failures("failed", self.failed),
            *list_failures("quarantined before (retry with --retry-failed)", self.quarantined),
            *list_failures("cannot be computed", self.lacking),
            *list_failures("padded before (remove their .json to refuse them)", self.padded),
        )

    def _list_lines(self) -> list[tuple[str, str]]:
        """List the lines of the table of counts: a number, and what it counts."""
        text = f"wall time, {self.start_seconds:.1f} s of it to start workers"
        if self.rows and self.work_seconds > 0:
            names = f"{self.backend} and {self.device}" if self.backend else self.device
            text += f"; {self.frames / self.work_seconds:.1f} frames/s on {names}"
        spent = self.seconds
        stages = f"flow {spent.flow:.1f} s, networks {spent.network:.1f} s"
        return [
            (
                f"{self.computed:,}",
                f"videos computed: {self.rows:,} rows of {self.frames:,} frames",
            ),
            *self.list_counts(
                (len(self.changed), "source changed since"),
                (len(self.missing), "annotated but missing on disk"),
                (len(self.unannotated), "on disk without annotation"),
                (len(self.padded), "videos done before that are shorter than a window"),
                (len(self.lacking), f"cannot be computed ({count_kinds(self.lacking)})"),
            ),
            (f"{self.wall_seconds:.1f} s", text),
            *([("", f"work of all workers: {stages}")] if self.rows else []),
        ]

"""Count the results of a run and its time by stage, and render them for the terminal."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from flowkit.extraction.gpu_timer import GpuTimes
from flowkit.extraction.tasks import Outcome, Seconds
from flowkit.store.failures import Failure

MAX_LINES = 10
"""Lines printed of each list, such as failures; ``--json`` has all."""


@dataclass(kw_only=True)
class RunSummary:
    """The results that all kinds of runs over a store count."""

    store: str
    """Folder of the store."""
    workers: int = 0
    """Number of workers; 0 for one worker in this process."""
    done_before: int = 0
    """Number of videos that were complete before."""
    salvaged: int = 0
    """Number of the videos done before that this run recovered from a killed run."""
    failed: list[Failure] = field(default_factory=list)
    """Videos that failed in this run."""
    quarantined: list[Failure] = field(default_factory=list)
    """Videos that failed in earlier runs and were not tried again."""
    left: int = 0
    """Number of planned videos that were not done when the run ended."""
    beyond: int = 0
    """Number of videos left out by ``--limit``."""
    interrupted: bool = False
    """Whether the user asked the run to end."""
    wall_seconds: float = 0.0
    """Duration of the run in seconds."""
    start_seconds: float = 0.0
    """Seconds until the workers had started."""

    @property
    def complete(self) -> bool:
        """Return whether every video is in the store or has failed."""
        return not (self.left or self.beyond or self.interrupted)

    def to_dict(self) -> dict[str, Any]:
        """Return the whole summary as JSON values."""
        return asdict(self) | {"complete": self.complete}

    def list_counts(self, *counts: tuple[int, str]) -> list[tuple[str, str]]:
        """List what was not extracted by this run, as rows of a table.

        Args:
            *counts: Further counts and what they count.
        """
        return format_counts(
            (self.done_before, "videos done before"),
            (self.salvaged, "videos of these, recovered from a killed run"),
            (len(self.failed), f"failed and quarantined ({count_kinds(self.failed)})"),
            (len(self.quarantined), "quarantined by earlier runs"),
            *counts,
            (self.left, "not done: run the same command again"),
            (self.beyond, "beyond --limit"),
        )


@dataclass(kw_only=True)
class Summary(RunSummary):
    """The results of an extraction run."""

    backend: str = ""
    """Name of the optical-flow backend."""
    extracted: int = 0
    """Number of videos that this run committed."""
    frames: int = 0
    """Number of frames extracted."""
    pairs: int = 0
    """Number of flow fields computed."""
    bytes: int = 0
    """Size of the extracted data in bytes."""
    source_bytes: int = 0
    """Size of the sources of the extracted videos in bytes."""
    non_square: int = 0
    """Number of extracted videos whose pixels are not square."""
    changed: list[str] = field(default_factory=list)
    """Ids of the videos whose source has changed since it was extracted."""
    missing: list[str] = field(default_factory=list)
    """Videos that are annotated, but missing on disk."""
    unannotated: list[str] = field(default_factory=list)
    """Videos that are on disk, but have no annotation."""
    without_rgb: list[str] = field(default_factory=list)
    """Ids of the videos that have no RGB in the store, so that no flow is computed for them."""
    warned: list[str] = field(default_factory=list)
    """Warnings of the decoder, as ``id: warning``."""
    seconds: Seconds = field(default_factory=Seconds)
    """Time by stage, summed over workers."""
    gpu: GpuTimes | None = None
    """Busy and idle time of the GPUs; None if flow was computed on CPUs."""

    def add(self, outcome: Outcome) -> None:
        """Add a video that was extracted to the counts.

        `extracted` counts videos when they are committed, and `source_bytes` is left to the caller.
        """
        self.frames += outcome.frames
        self.pairs += outcome.pairs
        self.bytes += outcome.bytes
        self.non_square += not outcome.has_square_pixels
        self.seconds += outcome.seconds
        if self.gpu is not None:
            self.gpu += outcome.gpu
        self.warned += [describe_failure(outcome.id, warning) for warning in outcome.warnings]

    @property
    def pairs_per_second(self) -> float:
        """Return the flow fields computed per second of wall clock, start-up excluded."""
        working = self.wall_seconds - self.start_seconds
        return self.pairs / working if working > 0 else 0.0

    @property
    def is_failure(self) -> bool:
        """Return whether videos failed and none was extracted.

        If no video failed in this run, failures of earlier runs count, provided that the store
        has no video yet. A run that was interrupted or that left videos is no failure.
        """
        failures = self.failed or (not self.done_before and self.quarantined)
        return bool(failures) and not (self.extracted or self.left or self.interrupted)

    def to_dict(self) -> dict[str, Any]:
        """Return the whole summary as JSON values."""
        return super().to_dict() | {"pairs_per_second": round(self.pairs_per_second, 2)}

    def render(self) -> RenderableType:
        """Return the summary for the terminal."""
        return Group(
            draw_counts(self._rows()),
            *list_failures("failed", self.failed),
            *list_failures("quarantined before (retry with --retry-failed)", self.quarantined),
            *list_first_lines("changed since extracted (redo with --update)", self.changed),
            *list_first_lines("missing on disk", self.missing),
            *list_first_lines("on disk without annotation", self.unannotated),
            *list_first_lines("without RGB in the store", self.without_rgb),
            *list_first_lines("extracted with warnings", self.warned),
        )

    def _rows(self) -> list[tuple[str, str]]:
        return [
            (f"{self.extracted:,}", "videos extracted"),
            *format_counts((self.non_square, "extracted videos with non-square pixels")),
            (f"{self.frames:,}", f"frames, {self.pairs:,} flow fields, {format_bytes(self.bytes)}"),
            *self.list_counts(
                (len(self.changed), "changed since they were extracted"),
                (len(self.missing), "annotated but missing on disk"),
                (len(self.unannotated), "on disk without annotation"),
                (len(self.without_rgb), "without RGB in the store"),
            ),
            (f"{self.wall_seconds:.1f} s", self._describe_times()),
        ]

    def _describe_times(self) -> str:
        text = f"wall time, {self.start_seconds:.1f} s of it start-up"
        if self.pairs:
            text += f"; {self.pairs_per_second:.1f} pairs/s with {self.backend}"
        spent = {name: value for name, value in asdict(self.seconds).items() if value >= 0.05}
        if spent:
            shares = ", ".join(f"{name} {value:.1f} s" for name, value in spent.items())
            text += f"\n{self.workers or 1} worker{'s' if self.workers > 1 else ''}: {shares}"
        if self.gpu is not None and self.gpu.wall_seconds:
            text += f"\nGPU: {self.gpu.describe()}"
        return text


def format_counts(*counts: tuple[int, str]) -> list[tuple[str, str]]:
    """Format numbers and what they count as rows of a table, without those that are 0."""
    return [(f"{count:,}", text) for count, text in counts if count]


def draw_counts(rows: Iterable[tuple[str, str]]) -> Table:
    """Make a table of numbers and what they count."""
    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    table.add_column(justify="right", style="bold")
    table.add_column()
    for count, text in rows:
        table.add_row(count, text)
    return table


def count_kinds(failures: Sequence[Failure]) -> str:
    """Count failures by kind, such as ``3 no-flow, 1 corrupt``."""
    kinds = Counter(failure.kind for failure in failures)
    return ", ".join(f"{count} {kind}" for kind, count in kinds.most_common())


def list_failures(title: str, failures: Sequence[Failure]) -> list[Text]:
    """List the first failures, each with its reason, under a title."""
    return list_first_lines(title, [describe_failure(f.id, f.reason) for f in failures])


def list_first_lines(title: str, lines: Sequence[str]) -> list[Text]:
    """List the first lines under a title; return nothing if there are none."""
    if not lines:
        return []
    shown = [Text(f"\n{title}:", style="bold")]
    shown += [Text(f"  {line}") for line in lines[:MAX_LINES]]
    if len(lines) > MAX_LINES:
        shown.append(Text(f"  … and {len(lines) - MAX_LINES:,} more (all with --json)"))
    return shown


def describe_failure(id: str, reason: str) -> str:
    """Return ``id: reason`` in one printable line, without repeating the name of the file."""
    shown = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in id)
    reason = " ".join(reason.splitlines())
    return f"{shown}: {reason.removeprefix(shown.rpartition('/')[2] + ': ')}"


def format_bytes(count: float) -> str:
    """Format a number of bytes, such as ``1.5 GiB``."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"

"""The outcome of a run: counts, failures by reason, and where the time went."""

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

LISTED = 10  # failures, missing videos and the like that are named; --json names all


@dataclass(kw_only=True)
class Summary:
    """What a run found, did, and could not do. Seconds are summed over workers."""

    store: str
    workers: int = 0
    backend: str = ""
    extracted: int = 0  # videos that this run committed
    done_before: int = 0
    salvaged: int = 0  # of done_before: completed by a killed run, kept by this one
    frames: int = 0
    pairs: int = 0
    bytes: int = 0
    source_bytes: int = 0  # of the videos extracted
    failed: list[Failure] = field(default_factory=list)  # quarantined by this run
    quarantined: list[Failure] = field(default_factory=list)  # by earlier runs
    changed: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    unannotated: list[str] = field(default_factory=list)
    warned: list[str] = field(default_factory=list)  # "id: warning"
    left: int = 0  # planned, but not done when the run ended
    beyond: int = 0  # left out by --limit
    interrupted: bool = False
    seconds: Seconds = field(default_factory=Seconds)
    gpu: GpuTimes | None = None  # what the GPUs did and waited for; None where flow ran on CPUs
    wall_seconds: float = 0.0
    start_seconds: float = 0.0  # until the first worker had its first video

    def add(self, outcome: Outcome) -> None:
        """Count one outcome that is done."""
        self.frames += outcome.frames
        self.pairs += outcome.pairs
        self.bytes += outcome.bytes
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
    def complete(self) -> bool:
        """Whether every video that was found is in the store, or known to be unusable."""
        return not (self.left or self.beyond or self.interrupted)

    @property
    def fruitless(self) -> bool:
        """Whether videos failed and none was extracted, now or, if none was new, ever."""
        new = self.failed or (not self.done_before and self.quarantined)
        return bool(new) and not (self.extracted or self.left or self.interrupted)

    def to_dict(self) -> dict[str, Any]:
        """The summary as JSON values, nothing left out."""
        values = asdict(self)
        values["pairs_per_second"] = round(self.pairs_per_second, 2)
        values["complete"] = self.complete
        return values

    def render(self) -> RenderableType:
        """The summary as people read it."""
        return Group(
            draw_counts(self._rows()),
            *list_failures("failed", self.failed),
            *list_failures("quarantined before (again with --retry-failed)", self.quarantined),
            *list_some("changed since extracted (redo with --update)", self.changed),
            *list_some("missing on disk", self.missing),
            *list_some("on disk without annotation", self.unannotated),
            *list_some("extracted with warnings", self.warned),
        )

    def _rows(self) -> list[tuple[str, str]]:
        rows = [
            (f"{self.extracted:,}", "videos extracted"),
            (f"{self.frames:,}", f"frames, {self.pairs:,} flow fields, {format_bytes(self.bytes)}"),
        ]
        optional = [
            (self.done_before, "videos done before"),
            (self.salvaged, "of them completed by a run that was killed, kept now"),
            (len(self.failed), f"failed and quarantined ({count_kinds(self.failed)})"),
            (len(self.quarantined), "quarantined by earlier runs"),
            (len(self.changed), "changed since they were extracted"),
            (len(self.missing), "annotated but missing on disk"),
            (len(self.unannotated), "on disk without annotation"),
            (self.left, "not done: the same command goes on"),
            (self.beyond, "beyond --limit"),
        ]
        rows += [(f"{count:,}", text) for count, text in optional if count]
        rows.append((f"{self.wall_seconds:.1f} s", self._times()))
        return rows

    def _times(self) -> str:
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


# --- words that summaries of all kinds of runs are made of ----------------------------------------


def draw_counts(rows: Iterable[tuple[str, str]]) -> Table:
    """Numbers, and what they count."""
    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    table.add_column(justify="right", style="bold")
    table.add_column()
    for number, text in rows:
        table.add_row(number, text)
    return table


def count_kinds(failures: Sequence[Failure]) -> str:
    """``3 no-flow, 1 corrupt``."""
    kinds = Counter(failure.kind for failure in failures)
    return ", ".join(f"{count} {kind}" for kind, count in kinds.most_common())


def list_failures(title: str, failures: Sequence[Failure]) -> list[Text]:
    """The first of them by name, with their reasons."""
    return list_some(title, [describe_failure(f.id, f.reason) for f in failures])


def list_some(title: str, lines: Sequence[str]) -> list[Text]:
    """The first lines under a title; nothing where there is none."""
    if not lines:
        return []
    shown = [Text(f"\n{title}:", style="bold")]
    shown += [Text(f"  {line}") for line in lines[:LISTED]]
    if len(lines) > LISTED:
        shown.append(Text(f"  … and {len(lines) - LISTED:,} more (all with --json)"))
    return shown


def describe_failure(id: str, reason: str) -> str:
    """``id: reason`` in one printable line, with the file's name said once."""
    shown = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in id)
    return f"{shown}: {reason.removeprefix(shown.rpartition('/')[2] + ': ')}"


def format_bytes(count: float) -> str:
    """Bytes as people read them: ``1.5 GiB``."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"

"""What was measured, kept in ``gpu.json`` after every step.

    {"steps": {NAME: {"status", "seconds", "failures": [...], "time", "tables": {TABLE: [row, …]}}},
     "notes": [...]}

``status`` is ``done``, ``partly`` (some measurements failed), ``failed``, or ``stopped`` (at its
limit of time). A step that is repeated and measures nothing does not take away what is there.
"""

import json
import os
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

FILE = "gpu.json"


@dataclass
class StepResult:
    """What one run of a step gave."""

    status: str
    seconds: float
    failures: list[str] = field(default_factory=list)
    tables: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    time: str = field(default_factory=lambda: time.strftime("%d %B %Y, %H:%M UTC", time.gmtime()))

    @property
    def rows(self) -> int:
        """How many rows were measured."""
        return sum(map(len, self.tables.values()))


@dataclass
class Results:
    """The results of all steps, and the file they are kept in."""

    folder: Path
    steps: dict[str, StepResult] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    """One line each about what went wrong outside of steps."""

    def add(self, name: str, result: StepResult) -> None:
        """Keep the result of a step, and the rows of an earlier run where it has none."""
        earlier = self.steps.get(name)
        if earlier is not None and earlier.rows and not result.rows:
            earlier.failures = result.failures
            return
        self.steps[name] = result

    def write(self) -> str | None:
        """Write the file, at once or not at all; returns one line where that fails."""
        path = self.folder / FILE
        part = path.with_name(f".{FILE}.{os.getpid()}")
        text = json.dumps(self.to_dict(), indent=1, ensure_ascii=False)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            part.write_text(text, encoding="utf-8")
            part.replace(path)
        except OSError as error:
            with suppress(OSError):  # of the same folder, which the line below is about
                part.unlink(missing_ok=True)
            return f"cannot write {path}: {error.strerror or error}; going on without"
        return None

    def to_dict(self) -> dict[str, Any]:
        """Return all of it as JSON values."""
        return {"steps": {name: vars(r) for name, r in self.steps.items()}, "notes": self.notes}


def read_results(folder: Path) -> Results:
    """Read what was measured before; ValueError where the file is not what `write` makes."""
    path = folder / FILE
    if not path.is_file():
        return Results(folder)
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        steps = {name: StepResult(**step) for name, step in values["steps"].items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            f"{path} is damaged ({type(error).__name__}): move it away, or repair it"
        ) from error
    return Results(folder, steps)

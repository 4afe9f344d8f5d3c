"""What a step hands to the process that started it: rows of tables, as lines on its output.

Each row is sent when it is measured, so that a step that is killed at its limit of time keeps
what it has. A measurement that fails is a line too, and the step goes on with the next.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

MARK = "@gpu "  # begins a line that is a message; other lines are for people


class Recorder:
    """Sends rows and failures of one step to the runner."""

    def __init__(self) -> None:
        self.failures: list[str] = []

    def add(self, table: str, **row: Any) -> None:
        """Send one row of a table; values are JSON numbers, strings or None."""
        print(MARK + json.dumps({"table": table, "row": row}), flush=True)

    @contextmanager
    def attempt(self, name: str) -> Iterator[None]:
        """Send an error raised within as one line, and go on after it.

        Running out of the GPU's memory is one, and what was allocated is given back.
        """
        try:
            yield
        except Exception as error:  # noqa: BLE001 (of any kind: the next measurement is worth it)
            self.fail(f"{name}: {describe_error(error)}")
            free_memory()

    def fail(self, message: str) -> None:
        """Send one line about what could not be measured."""
        self.failures.append(message)
        print(MARK + json.dumps({"failure": message}), flush=True)


def describe_error(error: BaseException) -> str:
    """Return the kind and message of an error in one line."""
    text = " ".join(str(error).split())[:300]
    if type(error).__name__ == "OutOfMemoryError":
        return f"the GPU's memory is too small: {text}"
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def free_memory() -> None:
    """Give the GPU memory that nothing uses any more back to the driver."""
    import gc
    import sys

    gc.collect()
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_available():
        return
    try:
        torch.cuda.empty_cache()
    except RuntimeError as error:  # the GPU failed: the step's other measurements will say so
        print(f"cannot give memory back: {describe_error(error)}", flush=True)


def parse_message(line: str) -> dict[str, Any] | None:
    """Return the message that a line of a step's output is, or None for a line for people."""
    if not line.startswith(MARK):
        return None
    message: dict[str, Any] = json.loads(line.removeprefix(MARK))
    return message

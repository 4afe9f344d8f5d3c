"""What commands print: tables, JSON, and a progress bar (on a terminal only)."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from flowkit.path_text import repair_text

if TYPE_CHECKING:
    from rich.console import RenderableType

PIPE_WIDTH = 1_000_000  # columns where nothing is to be cut: a file or a pipe has no width


def print_table(*parts: "RenderableType") -> None:
    """Print what rich renders. Off a terminal no line is wrapped, so that names stay whole."""
    from rich.console import Console

    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=PIPE_WIDTH)
    console.print(*parts, soft_wrap=True)


def print_json(values: Any, indent: int | None = None) -> None:
    """Print JSON that every encoding of the output can hold, and every parser reads."""
    click.echo(json.dumps(repair_values(values), indent=indent))


def repair_values(values: Any) -> Any:
    """JSON values with all texts as :func:`flowkit.path_text.repair_text` makes them."""
    if isinstance(values, str):
        return repair_text(values)
    if isinstance(values, dict):
        return {repair_values(key): repair_values(value) for key, value in values.items()}
    if isinstance(values, list | tuple):
        return [repair_values(value) for value in values]
    return values


@contextmanager
def count_progress(what: str, *, size: bool = False) -> Iterator[Callable[[int, int], None]]:
    """Yield ``progress(done, total)``; ``size`` shows bytes instead of counts."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    console = Console(stderr=True)
    amount = DownloadColumn() if size else MofNCompleteColumn()
    with Progress(
        TextColumn("{task.description}"), BarColumn(), amount, TimeRemainingColumn(),
        console=console, transient=True, disable=not console.is_terminal,
    ) as bar:  # fmt: skip
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)

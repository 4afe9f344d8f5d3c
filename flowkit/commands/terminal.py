"""Print tables and JSON from commands, and show progress bars on terminals."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from flowkit.path_text import replace_surrogates

if TYPE_CHECKING:
    from rich.console import RenderableType

PIPE_WIDTH = 1_000_000
"""Columns of a file or a pipe: enough that nothing is truncated."""


def print_table(*parts: "RenderableType") -> None:
    """Print rich renderables; no line is wrapped unless the output is a terminal.

    Args:
        parts: Tables, texts or other renderables.
    """
    from rich.console import Console

    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=PIPE_WIDTH)
    console.print(*parts, soft_wrap=True)


def print_json(values: Any, indent: int | None = None) -> None:
    """Print JSON that every output encoding can represent and every parser can read.

    Args:
        values: JSON values, in which any text may occur.
        indent: Spaces of indentation; None prints one line.
    """
    click.echo(json.dumps(repair_values(values), indent=indent))


def repair_values(values: Any) -> Any:
    """Apply `flowkit.path_text.replace_surrogates` to all texts in JSON values.

    Args:
        values: JSON values.

    Returns:
        A copy with repaired texts.
    """
    if isinstance(values, str):
        return replace_surrogates(values)
    if isinstance(values, dict):
        return {repair_values(key): repair_values(value) for key, value in values.items()}
    if isinstance(values, list | tuple):
        return [repair_values(value) for value in values]
    return values


@contextmanager
def count_progress(description: str, *, size: bool = False) -> Iterator[Callable[[int, int], None]]:
    """Show a progress bar on stderr if it is a terminal.

    Args:
        description: Text beside the bar.
        size: Whether the numbers are bytes instead of counts.

    Yields:
        A function ``progress(done, total)`` that updates the bar.
    """
    from rich import progress
    from rich.console import Console

    console = Console(stderr=True)
    columns = [
        progress.TextColumn("{task.description}"),
        progress.BarColumn(),
        progress.DownloadColumn() if size else progress.MofNCompleteColumn(),
        progress.TimeRemainingColumn(),
    ]
    is_hidden = not console.is_terminal
    with progress.Progress(*columns, console=console, transient=True, disable=is_hidden) as bar:
        task = bar.add_task(description, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)

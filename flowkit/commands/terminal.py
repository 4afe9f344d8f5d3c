"""Print tables and JSON from commands, and show progress bars on terminals."""

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from flowkit.path_text import replace_surrogates, replace_surrogates_in_json

if TYPE_CHECKING:
    from rich.console import RenderableType

PIPE_WIDTH = 1_000_000
"""Width of the output in a file or a pipe: enough that nothing is truncated."""


def print_table(*parts: "RenderableType") -> None:
    """Print tables; in a file or a pipe, columns are as wide as their content.

    Args:
        parts: Tables or other renderables of rich.
    """
    from rich.console import Console

    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=PIPE_WIDTH)
    # With soft_wrap, rich leaves long lines to the terminal, which wraps them.
    console.print(*parts, soft_wrap=True)


def print_lines(lines: Sequence[str]) -> None:
    """Print lines of text on stderr, so that they do not mix with the results of a command.

    Args:
        lines: The lines.
    """
    for line in lines:
        click.echo(replace_surrogates(line), err=True)


def print_json(values: Any, indent: int | None = None) -> None:
    """Print JSON that every output encoding can represent and every parser can read.

    Args:
        values: JSON values, whose strings may hold any characters.
        indent: Spaces of indentation; None prints one line.
    """
    click.echo(json.dumps(replace_surrogates_in_json(values), indent=indent))


@contextmanager
def progress_bar(
    description: str, *, in_bytes: bool = False
) -> Iterator[Callable[[int, int], None]]:
    """Show a progress bar on stderr while the context is open, if stderr is a terminal.

    Args:
        description: Text beside the bar.
        in_bytes: Whether progress is measured in bytes instead of a count.

    Yields:
        A function ``progress(done, total)`` that updates the bar.
    """
    from rich import progress
    from rich.console import Console

    console = Console(stderr=True)
    columns = [
        progress.TextColumn("{task.description}"),
        progress.BarColumn(),
        progress.DownloadColumn() if in_bytes else progress.MofNCompleteColumn(),
        progress.TimeRemainingColumn(),
    ]
    is_hidden = not console.is_terminal
    with progress.Progress(*columns, console=console, transient=True, disable=is_hidden) as bar:
        task = bar.add_task(description, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)

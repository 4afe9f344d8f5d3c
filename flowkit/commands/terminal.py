"""A progress bar for commands: drawn on a terminal, silent elsewhere."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager


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

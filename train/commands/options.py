"""Options that the training commands share, and their conversion."""

from collections.abc import Callable
from typing import Any

import click


def machine_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options --device, --workers and --threads to a command."""
    for option in (
        click.option(
            "--threads", type=click.IntRange(1),
            help="CPU threads per process for PyTorch. [default: cores not used by loader workers]",
        ),
        click.option(
            "--workers", type=click.IntRange(0),
            help="Data-loading processes. [default: half of the cores on CPU, all but one on GPU]",
        ),
        click.option(
            "--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto",
            show_default=True, help="Device to compute on; auto takes a GPU if PyTorch sees one.",
        ),
    ):  # fmt: skip
        command = option(command)
    return command


def parse_changes(changes: tuple[str, ...], what: str) -> dict[str, str]:
    """Parse ``NAME=VALUE`` texts into a dict.

    Raises:
        UsageError: A text has another form.
    """
    from flowkit.errors import UsageError

    pairs = [change.partition("=") for change in changes]
    for name, sign, _ in pairs:
        if not name or not sign:
            raise UsageError(f"{what} takes NAME=VALUE, got {name!r}")
    return {name: value for name, _, value in pairs}

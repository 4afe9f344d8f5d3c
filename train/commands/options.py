"""Define the arguments and options that the training commands share, and parse their values."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

PATH = click.Path(path_type=Path)
"""A path; click does not check whether it exists."""

run_argument = click.argument("run", type=PATH)
device_option = click.option(
    "--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True,
    help="Device to compute on; auto uses a GPU if PyTorch finds one.",
)  # fmt: skip
precision_option = click.option(
    "--precision", type=click.Choice(["float32", "bfloat16", "float16"]), default="float32",
    show_default=True, help="Number format of the network.",
)  # fmt: skip
workers_option = click.option(
    "--workers", type=click.IntRange(0),
    help="Data-loading processes. [default: half of the cores on CPU, all but one on GPU; 0 where "
         "the input is feature sets]",
)  # fmt: skip
threads_option = click.option(
    "--threads", type=click.IntRange(1),
    help="CPU threads per process for PyTorch. [default: cores not used by loader workers]",
)  # fmt: skip

test_batch_option = click.option(
    "--batch", "test_batch", type=click.IntRange(1), metavar="VIDEOS",
    help="Videos that the network scores at once; more use more memory. [default: 1; 256 where "
         "the input is feature sets]",
)  # fmt: skip
test_processes_option = click.option(
    "--processes", type=click.IntRange(1), default=1, show_default=True,
    help="Processes that divide the test videos, started with Ray: one for each GPU, or on CPU "
         "cores.",
)  # fmt: skip


def scoring_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add --processes, --precision and --batch to a command that scores test videos."""
    return test_processes_option(precision_option(test_batch_option(command)))


def machine_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options --device, --workers and --threads to a command."""
    return device_option(workers_option(threads_option(command)))


def parse_changes(changes: tuple[str, ...], option: str) -> dict[str, str]:
    """Parse strings ``NAME=VALUE`` into a dictionary.

    Args:
        changes: The strings.
        option: Name of their option, for the error message.

    Raises:
        UsageError: A string is not of the form NAME=VALUE, or a name has two values.
    """
    from flowkit.errors import UsageError

    values: dict[str, str] = {}
    for change in changes:
        name, sign, value = change.partition("=")
        if not name or not sign:
            raise UsageError(f"{option} expects NAME=VALUE, got {change!r}")
        if values.setdefault(name, value) != value:
            raise UsageError(f"{option} {name} is given twice, with different values")
    return values

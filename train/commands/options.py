"""Options that the commands share, and what they become."""

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from train.runs.run import Settings


def machine_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """--device, --workers, --threads."""
    for option in (
        click.option(
            "--threads", type=click.IntRange(1),
            help="Of torch, in a process. Default: the cores that no loader worker takes.",
        ),
        click.option(
            "--workers", type=click.IntRange(0),
            help="Processes that load data. Default: half of the cores (CPU), all but one (GPU).",
        ),
        click.option(
            "--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto",
            show_default=True, help="auto: the GPU where torch sees one.",
        ),
    ):  # fmt: skip
        command = option(command)
    return command


def make_settings(
    device: str, workers: int | None, threads: int | None, processes: int = 1, **more: Any
) -> "Settings":
    """Settings with the defaults of this machine filled in."""
    import torch

    from train.runs.run import Settings

    chosen: Any = device
    if device == "auto":
        chosen = "cuda" if torch.cuda.is_available() else "cpu"
    cores = max(1, len(os.sched_getaffinity(0)) // processes)
    if workers is None:
        workers = max(1, cores - 1) if chosen == "cuda" else cores // 2
    if threads is None:
        threads = max(1, cores - workers)
    return Settings(
        device=chosen, processes=processes, workers=workers, threads=threads, **more
    )  # fmt: skip


def parse_changes(changes: tuple[str, ...], what: str) -> dict[str, str]:
    """``NAME=VALUE`` texts as a dict; UsageError for others."""
    from flowkit.errors import UsageError

    pairs = [change.partition("=") for change in changes]
    for name, sign, _ in pairs:
        if not name or not sign:
            raise UsageError(f"{what} takes NAME=VALUE, got {name!r}")
    return {name: value for name, _, value in pairs}

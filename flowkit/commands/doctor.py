"""Define `flowkit doctor`, which checks whether extraction and training can run on this machine."""

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from flowkit.commands.options import PATH, catalog_option, variant_option

if TYPE_CHECKING:
    from flowkit.doctor import Finding


@click.command()
@click.option("--dataset", "dataset_name", metavar="NAME", help="Also check that the videos of "
              "this dataset are on this machine, and that its store will fit on disk.")  # fmt: skip
@variant_option
@click.option("--store", type=PATH, default=Path(), show_default=True,
              help="Folder where the store is, or will be.")  # fmt: skip
@catalog_option
@click.option("--address", metavar="HOST:PORT", help="Also check the Ray cluster at this address: "
              "that it answers and takes this user's token. [default: RAY_ADDRESS]")  # fmt: skip
@click.option("--quick", is_flag=True, help="Skip the slow checks: starting a Ray worker, and a "
              "training step.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print the findings as JSON.")
def doctor(
    dataset_name: str | None, variant: str | None, store: Path, catalog: Path | None,
    address: str | None, quick: bool, as_json: bool,
) -> None:  # fmt: skip
    """Check this machine, and suggest how to solve each problem.

    Tiny videos are extracted, verified and read, a Ray worker is started, and a network is trained
    for a step; all files are removed afterwards. The exit code is 1 if anything fails.

    \b
    flowkit doctor
    flowkit doctor --dataset ucf101 --store /data/stores/ucf101
    flowkit doctor --address ray-head:6379
    """
    from dataclasses import asdict

    from flowkit.commands.terminal import print_json
    from flowkit.doctor import diagnose

    dataset = None
    if dataset_name is not None:
        from flowkit.catalog import find_dataset, load_catalog

        dataset = find_dataset(dataset_name, variant, load_catalog(catalog))
    is_terminal = sys.stderr.isatty()

    def show_topic(topic: str) -> None:
        if is_terminal:
            click.echo(f"\r\x1b[K{topic} …", err=True, nl=False)

    with interrupt_on_signals():
        findings = diagnose(store, dataset, address=address, quick=quick, progress=show_topic)
    if is_terminal:
        click.echo("\r\x1b[K", err=True, nl=False)
    if as_json:
        print_json([asdict(finding) for finding in findings], indent=2)
    else:
        print_findings(findings)
    if any(finding.status == "fail" for finding in findings):
        click.get_current_context().exit(1)


def print_findings(findings: "list[Finding]") -> None:
    """Print a line for each finding, and one for its advice."""
    colours = {"ok": "green", "warn": "yellow", "fail": "red", "skip": "yellow"}
    width = max(len(finding.topic) for finding in findings)
    message_column = len("skip  ") + width + len("  ")
    for finding in findings:
        status = click.style(f"{finding.status:4}", fg=colours[finding.status])
        click.echo(f"{status}  {finding.topic:{width}}  {finding.message}")
        if finding.advice:
            click.echo(f"{'':{message_column}}→ {finding.advice}")


@contextmanager
def interrupt_on_signals() -> Iterator[None]:
    """Turn SIGTERM and SIGHUP into KeyboardInterrupt, so that temporary files are removed.

    Yields:
        None. The earlier handlers are restored when the context closes.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # Python delivers signals to the main thread only
        return
    signals = (signal.SIGTERM, signal.SIGHUP)
    previous_handlers = {s: signal.signal(s, signal.default_int_handler) for s in signals}
    try:
        yield
    finally:
        for signal_number, handler in previous_handlers.items():
            signal.signal(signal_number, handler)

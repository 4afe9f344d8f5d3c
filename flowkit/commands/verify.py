"""Define `flowkit verify`, which checks a store for damage and repairs it."""

from pathlib import Path

import click

from flowkit.commands.options import store_argument


@click.command()
@store_argument
@click.option("--deep", is_flag=True, help="Also decode every image and check its size.")
@click.option(
    "--repair", is_flag=True,
    help="Move damaged shards to quarantine/, keep their intact videos, and rebuild the index.",
)  # fmt: skip
@click.option("--workers", type=click.IntRange(1), help="Decoding threads. [default: all cores]")
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
def verify(store: Path, deep: bool, repair: bool, workers: int | None, as_json: bool) -> None:
    """Check every byte of STORE against its commit records; exits with 1 if any is wrong.

    \b
    flowkit verify S
    flowkit verify S --deep --repair
    """
    from dataclasses import asdict

    from flowkit.commands.terminal import print_json, progress_bar
    from flowkit.errors import StoreError
    from flowkit.store.format.location import find_url
    from flowkit.store.integrity.outcome import record_outcome
    from flowkit.store.integrity.verify import verify as verify_store

    with progress_bar("verify", in_bytes=True) as progress:
        report = verify_store(store, deep=deep, repair=repair, progress=progress, workers=workers)
    try:
        if find_url(store) is None:
            record_outcome(store, report, deep)
    except StoreError as error:  # a store that can only be read is verified all the same
        click.echo(f"the outcome is not recorded in the store: {error}", err=True)
    if as_json:
        print_json(asdict(report), indent=1)
    else:
        for problem in report.problems:
            click.echo(f"bad: {problem}", err=True)
        for note in report.notes:
            click.echo(f"note: {note}")
        for line in report.repaired:
            click.echo(f"repair: {line}")
        if report.lost_videos:
            more = ", …" if report.lost_videos[10:] else ""
            ids = ", ".join(report.lost_videos[:10]) + more
            click.echo(f"{len(report.lost_videos)} videos are lost; extract them again: {ids}")
        click.echo(
            f"{report.shards} shards, {report.videos} videos, {report.bytes / 1e9:.3f} GB: "
            + ("all good" if report.clean else f"{len(report.problems)} problems")
        )
    if not report.clean:
        raise SystemExit(1)

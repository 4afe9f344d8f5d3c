"""Define `flowkit copy`, which copies stores between folders and object storage."""

from pathlib import Path

import click

from flowkit.commands.options import PATH


@click.command()
@click.argument("source", metavar="A", type=PATH)
@click.argument("target", metavar="B", type=PATH)
@click.option(
    "--delete",
    is_flag=True,
    help="Delete shards of B that A has no more, such as removed features.",
)
@click.option("--json", "as_json", is_flag=True, help="Print what was copied as JSON.")
def copy(source: Path, target: Path, delete: bool, as_json: bool) -> None:
    """Copy store A to B: folders, or URLs such as s3://bucket/store; run it again to continue.

    Each shard is checked by its commit record. Shards that B has already are not copied again, so
    the same command also brings an older copy up to date.

    \b
    flowkit copy stores/mine s3://bucket/mine
    flowkit copy s3://bucket/mine /local/mine
    """
    from dataclasses import asdict

    from flowkit.commands.terminal import print_json, progress_bar
    from flowkit.store.remote.copying import copy_store

    with progress_bar("copy", in_bytes=True) as progress:
        report = copy_store(source, target, delete=delete, progress=progress)
    if as_json:
        print_json(asdict(report), indent=1)
        return
    deleted = f"; {report.deleted} shards of B deleted" if report.deleted else ""
    click.echo(
        f"{report.shards} shards, {report.copied} of them copied now "
        f"({report.copied_bytes / 1e9:.3f} GB){deleted}"
    )

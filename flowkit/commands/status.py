"""Define `flowkit status`, which shows what a store holds."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from flowkit.commands.options import store_argument

if TYPE_CHECKING:
    from flowkit.store.status import Status


@click.command()
@store_argument
@click.option(
    "--failures", "shows_failures", is_flag=True,
    help="List every video that failed and has not been extracted since, and why.",
)  # fmt: skip
@click.option(
    "--json", "as_json", is_flag=True, help="Print the status as JSON, with --failures also those."
)
def status(store: Path, shows_failures: bool, as_json: bool) -> None:
    """Show what STORE holds: videos by stream, what is missing, failures by kind.

    \b
    flowkit status S --failures
    """
    from dataclasses import asdict

    from flowkit.commands.terminal import print_json
    from flowkit.store.remote.mirror import find_store_folder
    from flowkit.store.status import list_failures, open_index_view, read_status

    report = read_status(store)
    root = find_store_folder(store)
    failures = list_failures(root, open_index_view(root)) if shows_failures else []
    if as_json:
        values = asdict(report)
        if shows_failures:
            values["failed"] = [asdict(failure) for failure in failures]
        print_json(values, indent=1)
        return
    print_status(report)
    for failure in failures:
        stream = f"{failure.stream}: " if failure.stream else ""
        reason = f"{stream}{failure.reason} (attempt {failure.attempts})"
        click.echo(f"{failure.kind}\t{failure.id}\t{reason}")


def print_status(report: "Status") -> None:
    """Print the status of a store as a table."""
    from rich import box
    from rich.markup import escape
    from rich.table import Table

    from flowkit.commands.terminal import print_table
    from flowkit.recipe import FEATURES, StoreRecipe
    from flowkit.store.split_summary import SplitRecord
    from flowkit.store.status import describe_features, describe_recipe

    recipe = StoreRecipe.from_dict(report.recipe)
    rows = {
        "store": f"{report.path}  ({report.dataset or 'no dataset'}, made by {report.creator})",
        "recipe": describe_recipe(recipe),
        "videos": f"{report.videos:,} with {report.frames:,} frames",
    }
    for name in dict.fromkeys([*recipe.streams, *report.streams]):
        description = ""
        if name.startswith(FEATURES) and name.removeprefix(FEATURES) in recipe.features:
            description = f"  {describe_features(recipe.features[name.removeprefix(FEATURES)])}"
        rows[f"  {name}"] = f"{report.streams.get(name, 0):,}{description}"
    if report.annotated is not None:
        missing = f"{report.missing:,} of them not in the store" if report.missing else ""
        rows["annotated"] = ", ".join(
            filter(None, (f"{report.annotated:,} in {report.classes:,} classes", missing))
        )
    if report.subsets:
        rows["subsets"] = ", ".join(f"{name} {count:,}" for name, count in report.subsets.items())
    if report.splits:
        made = " and ".join(SplitRecord(**record).describe() for record in report.splits)
        rows["subsets"] = rows.get("subsets", "no videos") + f"  (by flowkit split: {made})"
    for folder, count in report.shards.items():
        rows[f"shards of {folder}"] = f"{count:,}, {report.bytes[folder] / 1e9:.3f} GB"
    if report.running or report.writing:
        parts = ", ".join(report.running) or "?"
        rows["running"] = f"part {parts} of the videos, writing {len(report.writing)} shards"
    if report.leftover:
        rows["leftover"] = (
            f"{len(report.leftover)} shards of a killed extraction; the next `flowkit extract` "
            "recovers their complete videos"
        )
    if report.mixed:
        rows["mixed sources"] = (
            f"{report.mixed:,} videos have frames of one file and audio of another; extract with "
            "--update"
        )
    if report.stale:
        rows["not indexed"] = f"{report.stale} shards are not in the index yet; run `flowkit index`"
    kinds = ", ".join(f"{kind} {count:,}" for kind, count in report.failures.items())
    rows["failures"] = f"{sum(report.failures.values()):,}" + (f": {kinds}" if kinds else "")
    table = Table(box=box.SIMPLE_HEAD, show_header=False)
    for name, text in rows.items():
        table.add_row(escape(name), escape(text))
    print_table(table)

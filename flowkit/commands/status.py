"""`flowkit status`: what a store holds."""

from pathlib import Path

import click


@click.command()
@click.argument("store", type=click.Path(path_type=Path))
@click.option("--failures", "listing", is_flag=True, help="List every video that failed, and why.")
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON.")
def status(store: Path, listing: bool, as_json: bool) -> None:
    """Show what STORE holds: videos by stream, what is missing, failures by kind.

    \b
    flowkit status S --failures
    """
    from dataclasses import asdict

    from flowkit.commands.terminal import print_json
    from flowkit.store.failures import read_failures
    from flowkit.store.status import read_status

    found = read_status(store)
    failures = read_failures(store) if listing else {}
    if as_json:
        listed = {"failed": [asdict(failure) for failure in failures.values()]} if listing else {}
        print_json(found.to_dict() | listed, indent=1)
        return
    show(found)
    for id, failure in sorted(failures.items()):
        click.echo(f"{failure.kind}\t{id}\t{failure.reason} (attempt {failure.attempts})")


def show(found: "object") -> None:
    """Print the numbers as a table."""
    from rich import box
    from rich.markup import escape
    from rich.table import Table

    from flowkit.commands.terminal import print_table
    from flowkit.recipe import FEATURES, Recipe
    from flowkit.store.status import Status, describe_features, describe_recipe

    assert isinstance(found, Status)
    recipe = Recipe.from_dict(found.recipe)
    rows = {
        "store": f"{found.path}  ({found.dataset or 'no dataset'}, {found.creator})",
        "recipe": describe_recipe(recipe),
        "videos": f"{found.videos:,} with {found.frames:,} frames",
    }
    for name in dict.fromkeys([*recipe.streams, *found.streams]):
        made = ""
        if name.startswith(FEATURES) and name.removeprefix(FEATURES) in recipe.features:
            made = f"  {describe_features(recipe.features[name.removeprefix(FEATURES)])}"
        rows[f"  {name}"] = f"{found.streams.get(name, 0):,}{made}"
    if found.annotated is not None:
        rows["annotated"] = (
            f"{found.annotated:,} in {found.classes:,} classes, of which {found.missing:,} "
            "are not in the store"
        )
    if found.subsets:
        rows["subsets"] = ", ".join(f"{name} {count:,}" for name, count in found.subsets.items())
    for folder, count in found.shards.items():
        rows[f"shards of {folder}"] = f"{count:,}, {found.bytes[folder] / 1e9:.3f} GB"
    if found.running or found.writing:
        parts = ", ".join(found.running) or "?"
        rows["running"] = f"part {parts}, writing {len(found.writing)} shards"
    if found.leftover:
        rows["leftover"] = f"{len(found.leftover)} shards of a killed run; extract again to salvage"
    if found.stale:
        rows["not indexed"] = f"{found.stale} shards are newer than the index; run `flowkit index`"
    kinds = ", ".join(f"{kind} {count:,}" for kind, count in found.failures.items())
    rows["failures"] = f"{sum(found.failures.values()):,}" + (f": {kinds}" if kinds else "")
    table = Table(box=box.SIMPLE_HEAD, show_header=False)
    for name, text in rows.items():
        table.add_row(escape(name), escape(text))
    print_table(table)

"""Define `flowkit datasets`, which lists the datasets of the catalogue."""

from pathlib import Path

import click

from flowkit.commands.options import catalog_option
from flowkit.commands.terminal import print_json, print_table
from flowkit.path_text import argument_to_text


@click.command()
@click.argument("names", nargs=-1, metavar="[NAME]...", type=argument_to_text)
@catalog_option
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON.")
def datasets(names: tuple[str, ...], catalog: Path | None, as_json: bool) -> None:
    """List the datasets of the catalogue, and count their videos on this machine.

    With NAMEs, list only those datasets, and print how to obtain them. Videos and annotations
    are searched for below $FLOWKIT_DATA (default: data).

    \b
    flowkit datasets
    flowkit datasets ucf101 kinetics-600
    """
    from flowkit.catalog import find_dataset, load_catalog

    by_name = load_catalog(catalog)
    chosen = [find_dataset(name, None, by_name) for name in names] or list(by_name.values())
    rows = [dataset.describe() for dataset in chosen]
    if as_json:
        print_json(rows, indent=2)
        return
    print_datasets(rows, bool(names))


def print_datasets(rows: list[dict[str, object]], details: bool) -> None:
    """Print a table of datasets.

    Args:
        rows: Descriptions of the datasets, as `Dataset.describe` returns them. ``found``,
            ``annotated``, ``missing`` and ``unannotated`` are numbers of videos.
        details: Whether to print also the title, the licence and how to obtain each dataset.
    """
    from rich.table import Table
    from rich.text import Text

    table = Table("dataset", "variant", box=None, padding=(0, 2, 0, 0))
    for name in ("found", "annotated", "missing", "unannotated"):
        table.add_column(name, justify="right")
    table.add_column("where", overflow="fold")
    for row in rows:
        counts = (str(row[name]) for name in ("found", "annotated", "missing", "unannotated"))
        where = row["videos"] or f"not in {row['looked_in']}"
        table.add_row(str(row["name"]), str(row["variant"] or ""), *counts, str(where))
    print_table(table)
    for row in rows:
        if details:
            lines = (f"\n{row['title']}: {row['homepage']}", f"licence: {row['licence']}")
            click.echo("\n".join((*lines, str(row["obtain"]))))
        if row["problem"] and (details or row["videos"] or row["annotations"]):
            print_table(Text(str(row["problem"]), style="yellow"))
    if not details:
        click.echo('\n"flowkit datasets NAME" shows how to obtain a dataset.')

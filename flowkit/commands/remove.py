"""Define `flowkit remove`, which removes features from a store."""

from pathlib import Path

import click

from flowkit.commands.options import store_argument


@click.command()
@store_argument
@click.argument("name")
@click.option("--yes", is_flag=True, help="Remove without asking.")
def remove(store: Path, name: str, yes: bool) -> None:
    """Remove the features NAME from STORE, so that others can be computed with that name.

    \b
    flowkit remove S tsn_rgb

    Frames, flow and audio cannot be removed.
    """
    from flowkit.extraction.summary import format_bytes
    from flowkit.recipe import FEATURES
    from flowkit.store.format.header import read_header
    from flowkit.store.removal import remove_features

    features = read_header(store).recipe.features.get(name)
    question = f"remove features/{name} of {features.model} from {store}?" if features else ""
    if question and not yes and not click.confirm(question):
        click.echo("nothing was removed", err=True)
        raise SystemExit(1)
    freed_bytes = remove_features(store, name)
    click.echo(f"removed {FEATURES}{name}: {format_bytes(freed_bytes)}")

"""Define `flowkit recipes`, which lists the recipes and what they need that is on this machine."""

import json as json_text
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from train.recipe.recipe import Recipe


@click.command()
@click.argument("name", required=False)
@click.option("--json", is_flag=True, help="Print the list as JSON, one object per recipe.")
@click.option("--explain", is_flag=True, help="With NAME: say above each key what it means.")
def recipes(name: str | None, json: bool, explain: bool) -> None:
    """List the recipes: paper, what it reports, what is needed, and whether that is here.

    A store is looked for in stores/<dataset>, weights where `flowkit train` would find them. With
    NAME, print a recipe whole.
    """
    from train.recipe.explanation import explain_recipe
    from train.recipe.recipe import list_recipes, read_recipe, write_recipe

    if name is not None:
        recipe = read_recipe(name)
        click.echo(explain_recipe(recipe) if explain else write_recipe(recipe), nl=not explain)
        return
    if explain:
        raise click.UsageError("--explain needs the NAME of a recipe: `flowkit recipes` lists them")
    found = {one: read_recipe(one) for one in list_recipes()}
    if json:
        rows = [
            {"name": one, "title": r.title, "paper": r.paper, "dataset": r.dataset,
             "reported": r.reported, "needs": r.needs, "here": look_around(r)}
            for one, r in found.items()
        ]  # fmt: skip
        click.echo(json_text.dumps(rows))
        return
    for one, recipe in found.items():
        click.echo(f"{click.style(one, bold=True)}  {recipe.title}")
        click.echo(f"    {recipe.paper}; dataset {recipe.dataset}")
        if recipe.reported:
            values = (f"{k} {'/'.join(map(str, v))}" for k, v in recipe.reported.items())
            click.echo(f"    reported: {', '.join(values)}")
        if recipe.needs:
            click.echo(f"    needs {recipe.needs}")
        here = look_around(recipe)
        there = ", ".join(f"{what} ({path})" for what, path in here.items() if path)
        absent = ", ".join(what for what, path in here.items() if not path)
        click.echo(f"    here: {there or 'nothing'}" + (f"; not here: {absent}" if absent else ""))


def look_around(recipe: "Recipe") -> dict[str, str | None]:
    """Find what a recipe trains on and starts from, with its place on this machine, or None."""
    from flowkit.errors import FlowkitError
    from flowkit.store import Store
    from train.recipe.recipe import of_split
    from train.tasks.weights import find_weights

    folder = Path("stores") / recipe.dataset
    found: dict[str, str | None] = {}
    try:
        found["store"] = str(Store(folder).path)
    except FlowkitError:
        found["store"] = None
    made = Store(folder).recipe.features if found["store"] else {}
    for split in recipe.splits or (None,):
        for name in of_split(recipe, split).feature_names:
            found[f"features {name}"] = str(folder / "features" / name) if name in made else None
    for name in dict.fromkeys(recipe.weight_files):
        try:
            found[f"weights {name}"] = str(find_weights(name))
        except FlowkitError:
            found[f"weights {name}"] = None
    return found

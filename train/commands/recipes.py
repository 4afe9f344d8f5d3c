"""Define `flowkit recipes`, which lists the training recipes, or prints one of them."""

import json as json_text
from collections.abc import Container
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from train.recipe.recipe import Recipe


@click.command()
@click.argument("name", required=False)
@click.option("--json", is_flag=True, help="Print the list as JSON, one object per recipe.")
@click.option("--explain", is_flag=True, help="With NAME: explain each key in a comment above it.")
def recipes(name: str | None, json: bool, explain: bool) -> None:
    """List the training recipes, or print the recipe NAME with all its values.

    The list shows the paper, its results, what is needed, and which of that is on this machine:
    stores are looked for in stores/<dataset>, and weights where `flowkit train` finds them.
    """
    from train.recipe.explanation import explain_recipe
    from train.recipe.recipe import list_recipes, read_recipe, write_recipe

    if name is not None:
        recipe = read_recipe(name)
        click.echo(explain_recipe(recipe) if explain else write_recipe(recipe), nl=not explain)
        return
    if explain:
        raise click.UsageError("--explain needs the NAME of a recipe: `flowkit recipes` lists them")
    all_recipes = {name: read_recipe(name) for name in list_recipes()}
    if json:
        keys = ("title", "paper", "dataset", "reported", "needs")
        rows = [
            {
                "name": name,
                **{key: getattr(recipe, key) for key in keys},
                "here": find_needs(recipe),
            }
            for name, recipe in all_recipes.items()
        ]
        click.echo(json_text.dumps(rows))
        return
    for name, recipe in all_recipes.items():
        click.echo(f"{click.style(name, bold=True)}  {recipe.title}")
        click.echo(f"    {recipe.paper}; dataset {recipe.dataset}")
        if recipe.reported:
            values = (f"{k} {'/'.join(map(str, v))}" for k, v in recipe.reported.items())
            click.echo(f"    reported: {', '.join(values)}")
        if recipe.needs:
            click.echo(f"    needs {recipe.needs}")
        paths = find_needs(recipe)
        present = ", ".join(f"{need} ({path})" for need, path in paths.items() if path)
        absent = ", ".join(need for need, path in paths.items() if not path)
        click.echo(
            f"    here: {present or 'nothing'}" + (f"; not here: {absent}" if absent else "")
        )


def find_needs(recipe: "Recipe") -> dict[str, str | None]:
    """Find the store, the features and the weight files that a recipe needs.

    Returns:
        Their paths on this machine, or None, by a name such as ``weights resnet50``.
    """
    from flowkit.errors import FlowkitError
    from flowkit.store import Store
    from train.tasks.weights import find_weight_file

    folder = Path("stores") / recipe.dataset
    paths: dict[str, str | None] = {"store": None}
    stored_features: Container[str] = ()
    with suppress(FlowkitError):
        store = Store(folder)
        paths["store"], stored_features = str(store.path), store.recipe.features
    for split_recipe in recipe.list_split_recipes():
        for name in split_recipe.feature_names:
            path = str(folder / "features" / name)
            paths[f"features {name}"] = path if name in stored_features else None
    for name in recipe.weight_files:
        paths[f"weights {name}"] = None
        with suppress(FlowkitError):
            paths[f"weights {name}"] = str(find_weight_file(name))
    return paths

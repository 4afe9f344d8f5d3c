"""Define `flowkit recipes`, which lists the training recipes, or prints one of them."""

import json as json_text
from collections.abc import Container, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from train.recipe.recipe import Recipe, RecipeDraft


@click.command()
@click.argument("name", required=False)
@click.option("--json", is_flag=True, help="Print the list as JSON, one object per recipe.")
@click.option("--explain", is_flag=True, help="With NAME: explain each key in a comment above it.")
def recipes(name: str | None, json: bool, explain: bool) -> None:
    """List the training recipes, or print the recipe NAME with all its values.

    General recipes, for any store, come first. For the others, the list shows the paper, its
    results, what is needed, and which of that is on this machine: stores are looked for in
    stores/<dataset>, and weights where `flowkit train` finds them.
    """
    from train.recipe.explanation import explain_recipe
    from train.recipe.recipe import list_recipes, read_draft, write_recipe

    if name is not None:
        draft = read_draft(name)
        click.echo(explain_recipe(draft) if explain else write_recipe(draft), nl=not explain)
        return
    if explain:
        raise click.UsageError("--explain needs the NAME of a recipe: `flowkit recipes` lists them")
    drafts = {name: read_draft(name) for name in list_recipes()}
    drafts = dict(sorted(drafts.items(), key=lambda item: item[1].is_complete))
    if json:
        keys = ("title", "paper", "dataset", "reported", "needs")
        rows = [
            {"name": name, **{key: draft.values[key] for key in keys}, "here": find_paths(draft)}
            for name, draft in drafts.items()
        ]
        click.echo(json_text.dumps(rows))
        return
    for name, draft in drafts.items():
        click.echo(f"{click.style(name, bold=True)}  {draft.values['title']}")
        for line in describe_draft(draft):
            click.echo(f"    {line}")


def describe_draft(draft: "RecipeDraft") -> Iterator[str]:
    """Yield the lines of the list about one recipe, after its title."""
    values, paths = draft.values, find_paths(draft)
    dataset = f"dataset {values['dataset']}" if draft.is_complete else "for any store"
    yield f"{values['paper']}; {dataset}"
    if values["reported"]:
        scores = (f"{k} {'/'.join(map(str, v))}" for k, v in values["reported"].items())
        yield f"reported: {', '.join(scores)}"
    if values["needs"]:
        yield f"needs {values['needs']}"
    present = ", ".join(f"{need} ({path})" for need, path in paths.items() if path)
    absent = ", ".join(need for need, path in paths.items() if not path)
    if absent and not draft.is_complete:
        yield f"starts from random weights, or from {absent} (not here)"
    elif paths:
        yield f"here: {present or 'nothing'}" + (f"; not here: {absent}" if absent else "")


def find_paths(draft: "RecipeDraft") -> dict[str, str | None]:
    """Find what a recipe needs, or could use, on this machine.

    Returns:
        The paths by the name of what is needed, or None for what is not here. For a general recipe
        these are its weight files, without which it starts from random weights.
    """
    from flowkit.errors import FlowkitError
    from train.tasks.weights import find_weight_file

    if draft.is_complete:
        return find_needs(draft.complete())
    paths: dict[str, str | None] = {}
    for name in draft.optional_weights.values():
        paths[f"weights {name}"] = None
        with suppress(FlowkitError):
            paths[f"weights {name}"] = str(find_weight_file(name))
    return paths


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

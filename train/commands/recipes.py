"""Define `flowkit recipes`, which lists the training recipes, or prints one of them."""

import json as json_text
import shlex
import textwrap
from collections.abc import Container, Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from train.recipe.recipe import Recipe, RecipeDraft


@click.command()
@click.argument("name", required=False)
@click.option("--json", is_flag=True,
              help="Print the list as JSON, one object per recipe; with NAME, its values too."
              )  # fmt: skip
@click.option("--explain", is_flag=True, help="With NAME: explain each key in a comment above it.")
def recipes(name: str | None, json: bool, explain: bool) -> None:
    """List the training recipes, or print the recipe NAME with all its values.

    General recipes, for any store, come first. For the others, the list shows the paper, its
    results, what is needed, and which of that is on this machine: stores are looked for in
    stores/<dataset>, and weights where `flowkit train` finds them.

    A printed recipe has under `choices` what the paper leaves open, and what is chosen. Comments at
    its end have the commands that train the other rows of the paper's tables, with the paper's
    results. What is printed is a recipe itself, which can be saved and changed.
    """
    from train.recipe.explanation import explain_recipe
    from train.recipe.recipe import dump_draft, format_recipe, list_recipes, read_draft

    if name is not None:
        draft = read_draft(name)
        if json:
            values = dump_draft(draft)
            click.echo(json_text.dumps({**describe_as_json(name, draft), "values": values}))
            return
        click.echo(explain_recipe(draft) if explain else format_recipe(draft), nl=False)
        for line in list_commands(name, draft.values):
            click.echo(f"# {line}".rstrip())
        return
    if explain:
        raise click.UsageError("--explain needs the NAME of a recipe: `flowkit recipes` lists them")
    drafts = {name: read_draft(name) for name in list_recipes()}
    drafts = dict(sorted(drafts.items(), key=lambda item: item[1].is_complete))
    if json:
        described = [describe_as_json(name, draft) for name, draft in drafts.items()]
        click.echo(json_text.dumps(described))
        return
    for name, draft in drafts.items():
        click.echo(f"{click.style(name, bold=True)}  {draft.values['title']}")
        for line in describe_draft(draft):
            click.echo(f"    {line}")


def describe_as_json(name: str, draft: "RecipeDraft") -> dict[str, Any]:
    """Describe a recipe as a JSON value, with the commands of its rows."""
    keys = ("title", "paper", "dataset", "reported", "needs", "choices")
    rows = [
        {
            "name": row_name,
            **{key: row[key] for key in ("table", "set", "reported", "note")},
            "command": write_command(name, row_name),
        }
        for row_name, row in draft.values["rows"].items()
    ]
    texts = {key: draft.values[key] for key in keys}
    return {"name": name, **texts, "rows": rows, "here": find_paths(draft)}


def write_command(name: str, row: str | None = None) -> str:
    """Return the command that trains a recipe, or one of its rows."""
    command = f"flowkit train {shlex.quote(name)} --store S --run R"
    return command if row is None else f"{command} --row {shlex.quote(row)}"


def list_commands(name: str, values: Mapping[str, Any]) -> Iterator[str]:
    """Yield lines with the command of each row of a recipe, and the paper's results.

    Args:
        name: Name of the recipe, or path of its file.
        values: Its values.
    """
    from train.recipe.reported import name_table

    if not values["rows"]:
        return
    yield ""
    yield f"Commands for S, a store of {values['dataset']}; R is the folder of a new run."
    yield "Numbers are the paper's, in percent."
    yield ""
    yield write_command(name)
    yield f"    {values['paper']}: {format_reported(values['reported'])}"
    for row_name, row in values["rows"].items():
        yield write_command(name, row_name)
        source = name_table(row["table"]) if row["table"] else "not in the paper"
        reported = f": {format_reported(row['reported'])}" if row["reported"] else ""
        for line in textwrap.wrap(f"{source}{reported}. {row['note']}".rstrip(), 92):
            yield f"    {line}"


def format_reported(reported: Mapping[str, Any]) -> str:
    """Format the results of a paper in percent, by name of score."""
    scores = (f"{name} {'/'.join(map(str, values))}" for name, values in reported.items())
    return ", ".join(scores) or "no results in the paper"


def describe_draft(draft: "RecipeDraft") -> Iterator[str]:
    """Yield the lines of the list about one recipe, after its title."""
    values, paths = draft.values, find_paths(draft)
    dataset = f"dataset {values['dataset']}" if draft.is_complete else "for any store"
    yield f"{values['paper']}; {dataset}"
    if values["reported"]:
        yield f"reported: {format_reported(values['reported'])}"
    if values["rows"]:
        yield f"{len(values['rows'])} other rows: flowkit recipes {draft.name}"
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
    if draft.is_complete:
        return find_needs(draft.complete())
    return find_weights(draft.optional_weights.values())


def find_needs(recipe: "Recipe") -> dict[str, str | None]:
    """Find the store, the features and the weight files that a recipe needs.

    Returns:
        Their paths on this machine, or None, by a name such as ``weights resnet50``.
    """
    from flowkit.errors import FlowkitError
    from flowkit.store import Store

    folder = Path("stores") / recipe.dataset
    paths: dict[str, str | None] = {"store": None}
    stored_features: Container[str] = ()
    with suppress(FlowkitError):
        store = Store(folder)
        paths["store"], stored_features = store.location, store.recipe.features
    for split_recipe in recipe.list_split_recipes():
        for name in split_recipe.feature_names:
            path = str(folder / "features" / name)
            paths[f"features {name}"] = path if name in stored_features else None
    return paths | find_weights(recipe.weight_files)


def find_weights(names: Iterable[str]) -> dict[str, str | None]:
    """Find weight files, as `find_needs` returns them."""
    from flowkit.errors import FlowkitError
    from train.tasks.weight_search import find_weight_file

    paths: dict[str, str | None] = {}
    for name in names:
        paths[f"weights {name}"] = None
        with suppress(FlowkitError):
            paths[f"weights {name}"] = str(find_weight_file(name))
    return paths

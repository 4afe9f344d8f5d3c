"""Decide which of a paper's results belong to the values of a recipe.

The results of a paper are shown only beside a training with the paper's settings. If a value is
changed that decides them, the recipe has the results of the row whose settings it then has, or
none. All values decide, also those without effect on this network, except:

- texts (title, paper, needs, choices), and the seed;
- where initial weights come from: the file of a branch, as in ``--weights rgb=FILE``. Which
  branches have initial weights does decide;
- ``testing.controls``, which are scored besides, and ``sets.made_with``, a check of the features.

Device, precision, threads and processes are no values of recipes, and do not matter either. The
name of a feature stream (``sets.streams``) does: other features have other names. A store of
another dataset has no results of the paper (`drop_reported`).

A run keeps those rows that differ from it in test settings alone (`keep_testing_rows`), since
nothing else can be changed after training.
"""

import copy
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from train.recipe.recipe_file import Recipe, RecipeT, list_values
from train.recipe.rows import Row
from train.recipe.values import set_value

TEXTS = ("title", "paper", "needs", "choices", "reported", "rows")
"""Keys that describe a recipe. They change no training, and recipes that differ in them alone are
equal."""
UNDECISIVE = ("seed",)
"""Keys, besides the texts, that do not decide which results belong to a recipe."""
OWN_ROW = "the recipe without changes"
"""The row with the recipe's own settings, which changed recipes have besides the others."""
BY_MODALITY = ("dimensions", "sample", "test", "units")
"""Keys of the section ``sets`` that have one value for all modalities, or one for each."""


def update_reported(
    before: Mapping[str, Any], after: Mapping[str, Any], taken: str | None = None
) -> dict[str, Any]:
    """Return changed values with the results, the rows and the paper that belong to them.

    Args:
        before: The values of a recipe.
        after: The same after some were changed.
        taken: Name of the row whose values these are, if it is known.

    Returns:
        The values ``after``, in which ``reported`` and ``paper`` are those of the row whose
        settings these are. The ``set`` of each row is computed again, as what differs from the new
        values; unless these are the settings of the recipe's file, those are the row `OWN_ROW`.
    """
    values = dict(after)
    if not before["reported"] and not before["rows"]:
        return values
    rows = dict(before["rows"])
    if OWN_ROW not in rows:
        own = {"table": "", "set": {}, "reported": before["reported"], "note": ""}
        rows = {OWN_ROW: {**own, "paper": before["paper"]}, **rows}
    for name, row in rows.items():
        settings = after if name == taken else apply_row(before, row)
        rows[name] = {**row, "set": list_differences(values, settings)}
    matching = [name for name in (taken, *rows) if name is not None and not rows[name]["set"]]
    paper = rows[OWN_ROW]["paper"]
    values |= {"reported": {}, "paper": paper}
    if matching:
        row = rows[matching[0]]
        source = row["paper"]  # that of OWN_ROW is the recipe's, and may be empty
        if not source and matching[0] != OWN_ROW:
            source = name_source(paper, row["table"], matching[0])
        values |= {"reported": row["reported"], "paper": source}
        if matching[0] == OWN_ROW:
            del rows[OWN_ROW]
    return {**values, "rows": rows}


def apply_row(values: Mapping[str, Any], row: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of a recipe with those of a row."""
    touched = {key.partition(".")[0] for key in row["set"]}
    changed = {
        key: copy.deepcopy(value) if key in touched else value
        for key, value in values.items()
        if key not in TEXTS
    }
    for key, value in row["set"].items():
        set_value(changed, key, copy.deepcopy(value))
    return changed


def name_source(paper: str, table: str, row_name: str) -> str:
    """Return the paper, the table and the name of a row, for captions.

    Args:
        paper: The recipe's ``paper``, which names the paper first; empty if it names none.
        table: The row's table; empty if the paper does not have this row.
        row_name: The row's name.
    """
    stem = re.split(r", (?:the \w+ of )?(?:Tables?|Figs?\.|§)", paper)[0]
    if not stem:
        return f"{name_table(table)} ({row_name})" if table else row_name
    return f"{stem}, {name_table(table)} ({row_name})" if table else f"{stem} ({row_name})"


def name_table(table: str) -> str:
    """Return the name of a row's table, such as ``Tables 1 and 4`` or ``Fig. 3(a)``."""
    if table.startswith("Fig"):
        return table
    return f"Table{'s' if ',' in table or ' and ' in table else ''} {table}"


def list_differences(values: Mapping[str, Any], settings: Mapping[str, Any]) -> dict[str, Any]:
    """List the deciding values in which other settings differ.

    Args:
        values: The values of a recipe.
        settings: The values of another.

    Returns:
        The other values by dotted key, to be set in the first ones.
    """
    aligned = align(settings, values)
    return dict(compare(values, aligned, ""))


def compare(
    old: Mapping[str, Any], new: Mapping[str, Any], prefix: str
) -> Iterator[tuple[str, Any]]:
    """Yield the dotted key and the new value of each difference.

    Mappings with other keys are replaced as a whole.
    """
    for key, value in new.items():
        former = old[key]
        if former == value:
            continue
        if isinstance(value, dict) and isinstance(former, dict) and {*value} == {*former}:
            yield from compare(former, value, f"{prefix}{key}.")
        elif make_lists(former) != make_lists(value):
            yield f"{prefix}{key}", value


def make_lists(value: Any) -> Any:
    """Return a value with lists in place of tuples, since both are the same in YAML."""
    if isinstance(value, list | tuple):
        return [make_lists(item) for item in value]
    if isinstance(value, dict):
        return {key: make_lists(item) for key, item in value.items()}
    return value


def align(settings: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings in which everything that decides nothing is as in other values.

    Args:
        settings: Values of a recipe, with or without texts.
        values: The other values.
    """
    aligned = {key: settings[key] for key in settings if key not in (*TEXTS, *UNDECISIVE)}
    aligned["testing"] = {**settings["testing"], "controls": values["testing"]["controls"]}
    network, other = dict(settings["network"]), values["network"]
    if {*network["weights"]} == {*other["weights"]}:
        network["weights"] = other["weights"]
    if expand(network["dropout"], settings["streams"]) == expand(
        other["dropout"], values["streams"]
    ):
        network["dropout"] = other["dropout"]
    aligned["network"] = network
    if settings["sets"] is None or values["sets"] is None:
        return aligned
    sets, other = dict(settings["sets"]), values["sets"]
    sets["made_with"] = other["made_with"]
    if bool(sets["weights"]) == bool(other["weights"]):
        sets["weights"] = other["weights"]
    for name in BY_MODALITY:
        if expand(sets[name], sets["streams"]) == expand(other[name], other["streams"]):
            sets[name] = other[name]
    aligned["sets"] = sets
    return aligned


def expand(value: Any, names: Any) -> Any:
    """Return a value for each name, where one value can stand for all of them.

    A text in place of the names stands for those of the store, which are not known yet.
    """
    if isinstance(value, Mapping) or isinstance(names, str):
        return value
    return dict.fromkeys(names, value)


def list_compared_values(recipe: Recipe) -> dict[str, Any]:
    """Return the values of a recipe without its texts: those that recipes are compared by."""
    return {key: value for key, value in list_values(recipe).items() if key not in TEXTS}


def drop_reported(recipe: RecipeT) -> RecipeT:
    """Return a recipe without the results of its paper, also those of its rows."""
    return replace(recipe, reported={}, rows={})


def keep_testing_rows(recipe: RecipeT) -> RecipeT:
    """Return a recipe with those rows alone that differ from it in test settings at most."""
    rows: dict[str, Row] = {
        name: row
        for name, row in recipe.rows.items()
        if all(key.startswith("testing.") for key in row.set)
    }
    return replace(recipe, rows=rows)

"""Read, change and write training recipes.

A training recipe has all settings that decide the result of a training. (The settings that decide
the bytes of a store are another recipe, `flowkit.recipe.StoreRecipe`.) Settings that decide where a
training runs and how fast are in `Settings` (runs/run.py). sections.py defines the sections of a
recipe, and recipe_file.py the kinds of recipes.

Recipe files can build on others (inheritance.py), and leave values to the store (draft.py). They
have the results of a paper, also for other settings (rows.py); reported.py decides which results
are shown.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from train.recipe.audio import AudioRecipe
from train.recipe.draft import RecipeDraft, draft_of, dump_draft, make_draft
from train.recipe.feature_sets import FeatureSetRecipe
from train.recipe.images import ImageRecipe
from train.recipe.inheritance import list_recipes, read_content
from train.recipe.recipe_file import Recipe, RecipeT, list_values
from train.recipe.reported import drop_reported, keep_testing_rows, list_compared_values
from train.recipe.rows import Row
from train.recipe.sections import Branch, Family, Network, Training
from train.recipe.set_section import Sets


def read_draft(name: str | Path) -> RecipeDraft:
    """Read a recipe, of which values may be left to the store.

    Args:
        name: Name of a recipe of this package, or path of a YAML file.

    Raises:
        UsageError: There is no such recipe, or it is invalid.
    """
    return make_draft(*read_content(name))


def read_recipe(name: str | Path) -> Recipe:
    """Read a complete recipe.

    Args:
        name: Name of a recipe of this package, or path of a YAML file.

    Raises:
        UsageError: There is no such recipe, it is invalid, or it leaves values to the store, as
            general recipes do. Give the names of those to `train.fit`.
    """
    return read_draft(name).complete()


def change_recipe(recipe: Recipe, changes: Mapping[str, Any]) -> Recipe:
    """Change values of a recipe.

    Args:
        recipe: The recipe, which is not changed.
        changes: New values by dotted key, such as ``training.epochs`` → ``2``: YAML text, or Python
            values.

    Returns:
        The changed recipe. It is of another kind if the changes of ``sets`` or ``streams`` require
        that.

    Raises:
        UsageError: A key is unknown, or the new values are wrong.
    """
    return draft_of(recipe).change(changes).complete()


def format_recipe(recipe: Recipe | RecipeDraft) -> str:
    """Return the recipe as YAML with all its values, which `read_draft` reads."""
    draft = recipe if isinstance(recipe, RecipeDraft) else draft_of(recipe)
    values = dump_draft(draft)
    rows = {"rows": values.pop("rows")}
    options: dict[str, Any] = {"sort_keys": False, "allow_unicode": True, "width": 100}
    text: str = yaml.safe_dump(values, **options)
    # Rows are many and short.
    return text + (yaml.safe_dump(rows, default_flow_style=None, **options) if rows["rows"] else "")


__all__ = [
    "AudioRecipe", "Branch", "Family", "FeatureSetRecipe", "ImageRecipe", "Network", "Recipe",
    "RecipeDraft", "RecipeT", "Row", "Sets", "Training", "change_recipe", "draft_of",
    "drop_reported", "dump_draft", "format_recipe", "keep_testing_rows", "list_compared_values",
    "list_recipes", "list_values", "read_draft", "read_recipe",
]  # fmt: skip

"""Read and write training recipes: YAML files, one dataclass for each kind of training.

A training recipe has all settings that decide the result of a training. (The settings that decide
the bytes of a store are another recipe, `flowkit.recipe.Recipe`.) Settings that decide where a
training runs and how fast are in `Settings` (runs/run.py). sections.py defines the sections of a
recipe.

A recipe file has the keys of `RecipeFile`. Its kind depends on which of them are set:

    sets                  FeatureSetRecipe
    streams with audio    AudioRecipe
    otherwise             ImageRecipe

A key that the kind does not use must be left out or have its default.
"""

from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import Field, TypeAdapter
from pydantic.dataclasses import dataclass

from flowkit.catalog import UniqueKeyLoader
from flowkit.errors import UsageError
from flowkit.streams import StreamName
from train.recipe.audio import AudioRecipe, refuse_image_settings
from train.recipe.base import BaseRecipe, CommonFields
from train.recipe.feature_sets import FeatureSetRecipe
from train.recipe.images import ImageRecipe
from train.recipe.parsing import parse, suggest
from train.recipe.sections import STRICT, Branch, Data, Family, Network, Sets, Training

FOLDER = Path(__file__).parents[1] / "recipes"

Recipe = ImageRecipe | AudioRecipe | FeatureSetRecipe
RecipeT = TypeVar("RecipeT", bound=BaseRecipe)


@dataclass(frozen=True, kw_only=True, config=STRICT)
class RecipeFile(CommonFields):
    """All keys that a recipe file can have. The recipe classes describe them."""

    streams: tuple[StreamName, ...] = ("rgb", "flow")
    iterations: int = Field(default=0, ge=0)
    data: Data = Data()
    network: Network = Network()
    sets: Sets | None = None


def choose_class(file: RecipeFile) -> type[Recipe]:
    """Return the recipe class of a recipe file.

    Args:
        file: The content of the file.

    Raises:
        UsageError: The file names audio beside other streams, or sets a key that its kind of
            training does not have.
    """
    if file.sets is not None:
        for name, default in (("data", Data()), ("network", Network()), ("iterations", 0)):
            if getattr(file, name) != default:
                raise UsageError(f"{name} is for images: leave it out with sets")
        return FeatureSetRecipe
    if "audio" not in file.streams:
        return ImageRecipe
    if file.streams != ("audio",):
        raise UsageError(
            f"streams: audio is trained alone, got {', '.join(file.streams)}. To combine audio "
            "with other streams, extract its features and train on them with sets"
        )
    if file.iterations:
        refuse_image_settings()
    return AudioRecipe


def make_recipe(values: Any, recipe_name: str) -> Recipe:
    """Make a recipe of plain values and check it.

    Args:
        values: The keys and values of a recipe file.
        recipe_name: Name of the recipe, with which each message starts.

    Raises:
        UsageError: A key is unknown or missing, a value is invalid, or values are not compatible.
    """
    file: RecipeFile = parse(RecipeFile, values, recipe_name)
    try:
        kind = choose_class(file)
        recipe = kind(**{field.name: getattr(file, field.name) for field in fields(kind)})
        recipe.check()
    except UsageError as error:
        raise UsageError(f"{recipe_name}: {error}") from error
    return recipe


def list_values(recipe: Recipe) -> dict[str, Any]:
    """Return the values of all keys of a recipe file, in its order, without dataclasses."""
    values = {field.name: getattr(recipe, field.name) for field in fields(recipe)}
    return asdict(RecipeFile(**values))


def read_recipe(name: str | Path) -> Recipe:
    """Read a recipe.

    Args:
        name: Name of a recipe of this package, or path of a YAML file.

    Raises:
        UsageError: There is no such recipe, or it is invalid.
    """
    path = Path(name)
    if path.suffix not in (".yaml", ".yml"):
        path = FOLDER / f"{name}.yaml"
        if not path.is_file():
            raise UsageError(f"no recipe {str(name)!r}{suggest(str(name), list_recipes())}")
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), Loader=UniqueKeyLoader)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        raise UsageError(f"cannot read the recipe {path}: {reason}") from error
    return make_recipe(content, str(path))


def list_recipes() -> list[str]:
    """Return the names of this package's recipes."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


def change_recipe(recipe: Recipe, changes: dict[str, str]) -> Recipe:
    """Change values of a recipe.

    Args:
        recipe: The recipe, which is not changed.
        changes: YAML values by dotted key, such as ``training.epochs`` → ``2``.

    Returns:
        The changed recipe. It is of another kind if the changes of ``sets`` or ``streams`` require
        that.

    Raises:
        UsageError: A key is unknown, or the new values are wrong.
    """
    content = list_values(recipe)
    for name, text in changes.items():
        *sections, last = name.split(".")
        values = content
        for depth, section in enumerate(sections):
            if depth and sections[0] == "phases":
                values.setdefault(section, {})
            if not isinstance(values.get(section), dict):
                raise UsageError(
                    f"recipe: no key {section!r} in {name!r}{suggest(section, values)}"
                )
            values = values[section]
        values[last] = yaml.safe_load(text)
    return make_recipe(content, "recipe")


def write_recipe(recipe: Recipe) -> str:
    """Return the recipe as YAML with all its values, which `read_recipe` reads."""
    content = TypeAdapter(RecipeFile).dump_python(RecipeFile(**list_values(recipe)), mode="json")
    return yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=100)


__all__ = [
    "AudioRecipe", "Branch", "Family", "FeatureSetRecipe", "ImageRecipe", "Network", "Recipe",
    "RecipeT", "Sets", "Training", "change_recipe", "list_recipes", "list_values",
    "read_recipe", "write_recipe",
]  # fmt: skip

"""Make recipes from the content of recipe files: one dataclass for each kind of training.

The keys of a recipe file are those of `RecipeFile`. Its kind depends on which of them are set:

    sets                  FeatureSetRecipe
    streams with audio    AudioRecipe
    otherwise             ImageRecipe

A key of the file that the kind does not use must be left out or have its default.
"""

from dataclasses import asdict, fields
from typing import Any, TypeVar

from pydantic import Field, TypeAdapter
from pydantic.dataclasses import dataclass

from flowkit.errors import UsageError
from flowkit.streams import StreamName
from train.recipe.audio import AudioRecipe, refuse_image_setting
from train.recipe.base import BaseRecipe, CommonFields
from train.recipe.feature_sets import FeatureSetRecipe
from train.recipe.images import ImageRecipe
from train.recipe.parsing import parse
from train.recipe.sections import STRICT, Data, Network
from train.recipe.set_section import Sets

Recipe = ImageRecipe | AudioRecipe | FeatureSetRecipe
RecipeT = TypeVar("RecipeT", bound=BaseRecipe)


@dataclass(frozen=True, kw_only=True, config=STRICT)
class RecipeFile(CommonFields):
    """All keys that a complete recipe can have. The recipe classes describe them."""

    streams: tuple[StreamName, ...] = ("rgb", "flow")
    iterations: int = Field(default=0, ge=0)
    """Number of phases iter_1, iter_2, …, see `ImageRecipe`; not of optimizer steps."""
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
        if file.streams != RecipeFile.streams:
            raise UsageError(
                "streams is for images and audio: leave it out with sets, and choose features "
                "with sets.streams"
            )
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
        refuse_image_setting("iterations")
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
        # Keys that are left out have the default of the kind.
        names = [field.name for field in fields(kind) if field.name in values]
        recipe = kind(**{name: getattr(file, name) for name in names})
        recipe.check()
    except UsageError as error:
        raise UsageError(f"{recipe_name}: {error}") from error
    return recipe


def list_values(recipe: Recipe) -> dict[str, Any]:
    """Return the values of all keys of a recipe file, in its order, without dataclasses."""
    return asdict(make_file(recipe))


def dump_values(recipe: Recipe) -> dict[str, Any]:
    """Return the same values as `list_values`, as YAML can write them (lists, not tuples)."""
    values: dict[str, Any] = TypeAdapter(RecipeFile).dump_python(make_file(recipe), mode="json")
    return values


def make_file(recipe: Recipe) -> RecipeFile:
    """Return the content of a recipe file that has all values of a recipe."""
    return RecipeFile(**{field.name: getattr(recipe, field.name) for field in fields(recipe)})

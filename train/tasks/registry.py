"""Register the task of each class of recipe."""

from train.recipe.recipe import AudioRecipe, FeatureSetRecipe, ImageRecipe, Recipe
from train.tasks.audio import AudioTask
from train.tasks.images import ImageTask
from train.tasks.sets import FeatureSetTask
from train.tasks.task import AnyTask

TASKS: dict[type[Recipe], type[AnyTask]] = {
    ImageRecipe: ImageTask,
    AudioRecipe: AudioTask,
    FeatureSetRecipe: FeatureSetTask,
}


def find_task(recipe: Recipe) -> AnyTask:
    """Make the task of a recipe.

    Args:
        recipe: Any valid recipe.

    Returns:
        The task that trains this kind of recipe. It keeps the recipe.
    """
    return TASKS[type(recipe)](recipe)

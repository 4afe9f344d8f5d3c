"""Complete a recipe with values from the store that it is trained on.

A general recipe leaves values to the store, each written as ``from store`` (train/recipe/draft.py).
`complete_recipe` finds them in this order; a value that the recipe or the user states is kept.

    dataset, classes        those of the store
    labels                  many if any video has more than one label, else one
    streams                 rgb and flow, as far as the store has them
    subsets                 see `choose_subsets`
    data.short_side         the most common shorter side of the stored frames, in pixels
    data.size               7/8 of data.short_side, rounded down to a multiple of 8
    data.mirror             off if a class is named for a direction, such as "left"
    training.batch          a quarter of the training videos, at least 2
    sets.streams            all features of the store, and their dimensions
    sets.may_be_empty       features of sound, which a video may lack
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from flowkit.datasets.subsets import find_rows
from flowkit.errors import UsageError
from flowkit.store import Store
from train.recipe.recipe import Recipe, RecipeDraft, list_values
from train.runs.journal import Log
from train.runs.run import Run, find_short_side
from train.tasks.weights import find_weight_file

DIRECTION = re.compile(r"\b(left|right|(counter|anti)?-?clockwise)(wards?)?\b", re.IGNORECASE)
"""Names of directions that a mirror image reverses."""
HELD_OUT = 10
"""Percent of the training videos that validate, in a store without validation videos."""


def complete_recipe(draft: RecipeDraft, store: Store, log: Log) -> Recipe:
    """Find the values that a recipe leaves to the store.

    Args:
        draft: The recipe.
        store: The store to train on, whose videos are in subsets.
        log: Called with a line about what was found.

    Returns:
        The complete recipe. It has no results of a paper if the store is of another dataset.

    Raises:
        UsageError: The store lacks a stream that the recipe needs, or has too few classes or
            videos.
    """
    check_streams(draft, store)
    found: dict[str, Any] = {}
    for key, find in FINDERS.items():
        if key in draft.store_limits:
            found[key] = find(StoreValues(draft, store, found))
    for key, name in draft.optional_weights.items():
        found[key] = find_optional_weights(key, name, log)
    recipe = leave_out_reported(draft.complete(found), store, log)
    if draft.store_limits:
        for line in describe(recipe, store, found):
            log(line)
    return recipe


def complete_like(draft: RecipeDraft, run: Run, store: Store) -> Recipe:
    """Complete a recipe with the values that an existing run has found in its store.

    Args:
        draft: The recipe.
        run: The run, which may have another recipe.
        store: The store that the run was created on.
    """
    found: dict[str, Any] = {}
    for key in (*draft.store_limits, *draft.optional_weights):
        value: Any = list_values(run.recipe)
        for name in key.split("."):
            value = value.get(name) if isinstance(value, dict) else None
        found[key] = value or None if key in draft.optional_weights else value
    return leave_out_reported(draft.complete(found), store, lambda line: None)


def leave_out_reported(recipe: Recipe, store: Store, log: Log) -> Recipe:
    """Return a recipe without the results of its paper if a store is of another dataset."""
    dataset = store.header.dataset
    if not recipe.reported or dataset == recipe.dataset:
        return recipe
    log(
        f"the paper's results are for {recipe.dataset}, the store holds {dataset or 'other videos'}"
        ": they will not be shown beside yours"
    )
    return replace(recipe, reported={})


class StoreValues:
    """Finds single values for a recipe in a store.

    Args:
        draft: The recipe.
        store: The store.
        found: The values that were found before.
    """

    def __init__(self, draft: RecipeDraft, store: Store, found: Mapping[str, Any]) -> None:
        self.draft, self.store, self.found = draft, store, found

    def get(self, key: str) -> Any:
        """Return a value that was found before, or that the recipe states."""
        if key in self.found:
            return self.found[key]
        value: Any = self.draft.values
        for name in key.split("."):
            value = value[name]
        return value

    def limit(self, key: str, value: int) -> int:
        """Return a value, or the recipe's limit for it if that is smaller."""
        limit = self.draft.store_limits[key]
        return value if limit is None else min(limit, value)

    def find_classes(self) -> int:
        """Count the classes."""
        check_classes(self.store)
        return len(self.store.classes)

    def find_labels(self) -> str:
        """Find out whether videos have one label or many."""
        counts = self.store.index.batch.column("labels").value_lengths().to_numpy()
        return "many" if len(counts) and counts.max() > 1 else "one"

    def find_streams(self) -> tuple[str, ...]:
        """List the streams of images that the store has."""
        recipe = self.store.recipe
        return tuple(name for name in ("rgb", "flow") if getattr(recipe, name) is not None)

    def find_size(self) -> int:
        """Choose the side of the network's input, somewhat below that of the stored frames."""
        return self.limit("data.size", max(8, self.get("data.short_side") * 7 // 8 // 8 * 8))

    def find_batch(self) -> int:
        """Choose a batch that divides the training videos into at least four steps."""
        name = self.get("subsets")["train"]
        videos = len(find_rows(self.store, name))
        if videos < 2:
            raise UsageError(
                f"{self.store.path}: the subset {name!r} has {videos} video, and training needs at "
                "least 2; extract more videos"
            )
        return self.limit("training.batch", max(2, videos // 4))

    def find_features(self) -> dict[str, str]:
        """Name a modality for each of the store's features."""
        names = sorted(self.store.recipe.features)
        return {re.sub(r"\W|^(?=\d)", "_", name): name for name in names}

    def find_dimensions(self) -> dict[str, int]:
        """Return the dimension of the features of each modality."""
        features = self.store.recipe.features
        streams: dict[str, str] = self.get("sets.streams")
        return {m: features[name].dimension for m, name in streams.items() if name in features}

    def find_silent(self) -> tuple[str, ...]:
        """List the modalities of sound, which some videos lack."""
        features = self.store.recipe.features
        streams: dict[str, str] = self.get("sets.streams")
        return tuple(
            m for m, n in streams.items() if n in features and features[n].source == "audio"
        )


FINDERS: dict[str, Callable[[StoreValues], Any]] = {
    "dataset": lambda values: values.store.header.dataset or values.store.path.name,
    "classes": StoreValues.find_classes,
    "labels": StoreValues.find_labels,
    "streams": StoreValues.find_streams,
    "subsets": lambda values: choose_subsets(values.store),
    "data.short_side": lambda values: find_short_side(values.store),
    "data.size": StoreValues.find_size,
    "data.mirror": lambda values: not list_directions(values.store.classes),
    "training.batch": StoreValues.find_batch,
    "sets.streams": StoreValues.find_features,
    "sets.dimensions": StoreValues.find_dimensions,
    "sets.may_be_empty": StoreValues.find_silent,
}

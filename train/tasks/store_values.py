"""Find the values in a store that a general recipe leaves to it.

A value that the recipe or the user states is kept. The others are found in this order:

    dataset, classes        those of the store
    labels                  many if any video has more than one label, else one
    streams                 rgb and flow, as far as the store has them
    subsets                 see `choose_subsets`
    data.short_side         the most common shorter side of the stored frames, in pixels
    data.size               7/8 of data.short_side, rounded down to a multiple of 8
    data.mirror             off if a class is named for a direction, such as "left"
    training.batch          a quarter of the training videos, at least 2
    training.rate           the limit, less where the batch is below its limit, in proportion
    sets.streams            all features of the store, and their dimensions
    sets.may_be_empty       features of sound, which a video may lack
"""

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from flowkit.datasets.subsets import find_rows
from flowkit.errors import UsageError
from flowkit.store import Store
from train.recipe.recipe import RecipeDraft
from train.recipe.values import get_value
from train.runs.run import find_short_side

DIRECTION = re.compile(r"\b(left|right|(counter|anti)?-?clockwise)(wards?)?\b", re.IGNORECASE)
"""Names of directions that a mirror image reverses."""
VALIDATION = ("val", "valid", "validation", "dev")
"""Names of the subset for validation."""
HELD_OUT = 10
"""Percent of the training videos that validate, in a store without validation videos."""


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
        return get_value(self.draft.values, key)

    def limit(self, key: str, value: int) -> int:
        """Return a value, or the recipe's limit for it if that is smaller."""
        limit = self.draft.store_keys[key]
        return value if limit is None else min(int(limit), value)

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
                f"{self.store.location}: the subset {name!r} has {videos} video, and training "
                "needs at least 2; extract more videos"
            )
        return self.limit("training.batch", max(2, videos // 4))

    def find_rate(self) -> float:
        """Choose the learning rate: the limit, times the batch as a fraction of its own limit."""
        limits = self.draft.store_keys
        rate, batch_limit = limits["training.rate"], limits.get("training.batch")
        if rate is None:
            raise UsageError("training.rate: expected 'from store, at most N', got no limit")
        if batch_limit is None:
            return float(rate)
        return float(rate * self.get("training.batch") / batch_limit)

    def find_features(self) -> dict[str, str]:
        """Name a modality for each of the store's features."""
        features: dict[str, str] = {}
        for name in sorted(self.store.recipe.features):
            key = re.sub(r"\W|^(?=\d)", "_", name)
            if key in features:
                raise UsageError(
                    f"{self.store.location}: the features {features[key]!r} and {name!r} would "
                    f"both be the modality {key!r}; name them with --set sets.streams={{...}}"
                )
            features[key] = name
        return features

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
    "training.rate": StoreValues.find_rate,
    "sets.streams": StoreValues.find_features,
    "sets.dimensions": StoreValues.find_dimensions,
    "sets.may_be_empty": StoreValues.find_silent,
}


def choose_subsets(store: Store) -> dict[str, str]:
    """Choose the subsets for training, validation and testing.

    - Training: ``train``, or ``train1`` of a store with official splits.
    - Testing: ``test`` (``test1``); without one whose videos have labels, those for validation.
    - Validation: ``val``; without one whose videos have labels, the last 10 % of the training
      videos, which are then not trained on. Test videos never validate, because the validation may
      decide about the training.

    Args:
        store: A store with subsets.

    Returns:
        The names, by ``train``, ``validate`` and ``test``, as in the section ``subsets``.

    Raises:
        UsageError: No subset is for training.
    """
    subsets = store.subsets()
    split = "1" if "train" not in subsets and "train1" in subsets else ""
    train, test = f"train{split}", f"test{split}"
    if train not in subsets:
        raise UsageError(
            f"{store.location}: expected a subset train, found {', '.join(subsets) or 'none'}; "
            "name the subsets (--set subsets.train=NAME, and also subsets.validate and "
            "subsets.test)"
        )
    names = (name for name in VALIDATION if name in subsets and not split)
    validate = next((n for n in names if len(list_classes(store, store.subset(n)))), None)
    if validate is None:
        validate = f"last {HELD_OUT}% of {train}"
        train = f"first {100 - HELD_OUT}% of {train}"
    has_test = test in subsets and len(list_classes(store, store.subset(test)))
    return {"train": train, "validate": validate, "test": test if has_test else validate}


def list_classes(store: Store, rows: npt.NDArray[np.int64] | None = None) -> npt.NDArray[np.int64]:
    """List the class ids that occur in some rows of a store, ascending; None for all rows."""
    labels = store.index.batch.column("labels")
    classes: npt.NDArray[np.int64] = labels.flatten().field("class").to_numpy()
    if rows is not None:
        parents = np.repeat(np.arange(len(store)), labels.value_lengths().to_numpy())
        classes = classes[np.isin(parents, rows)]
    return np.unique(classes)


def check_classes(store: Store, subset: str | None = None) -> None:
    """Raise a UsageError if videos have fewer than two classes.

    Args:
        store: The store.
        subset: The subset for training. Default: all videos of the store.
    """
    classes = list_classes(store, None if subset is None else find_rows(store, subset))
    videos = "all videos" if subset is None else f"the training videos ({subset})"
    if len(classes) >= 2:
        return
    if not len(classes):
        problem = "no video has a label" if subset is None else f"none of {videos} has a label"
        raise UsageError(
            f"{store.location}: {problem}; give the labels (flowkit index {store.location} "
            "--labels FILE)"
        )
    raise UsageError(
        f"{store.location}: {videos} are of one class, {store.classes[int(classes[0])]!r}, so "
        "there is nothing to tell apart; add videos of other classes, and their labels"
    )


def list_directions(classes: Iterable[str]) -> list[str]:
    """List the classes that are named for a direction that a mirror image reverses."""

    def split_words(name: str) -> str:
        return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).replace("_", " ")

    return [name for name in classes if DIRECTION.search(split_words(name))]

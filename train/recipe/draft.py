"""Recipes whose values come in part from the store that they are trained on.

A general recipe, such as ``cma``, is for any store. Values that depend on the store are written in
one of these ways:

    classes: from store                        the value is found in the store
    data: {size: "from store, at most 224"}    the same, with a limit
    weights: {rgb: resnet50 or random}         the file if this machine has it, else random weights

A *draft* holds the values of a recipe file, of which some are still to be found.
`train.tasks.completion` finds them when a run is created, and the run folder has the complete
recipe. A recipe without such values is a complete draft.
"""

import copy
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Self

import yaml

from flowkit.errors import UsageError
from train.recipe.parsing import suggest
from train.recipe.recipe_file import Recipe, dump_values, list_values, make_recipe

# A value from the store, with an optional limit.
FROM_STORE = re.compile(r"from store(?:, at most (\d+(?:\.\d+)?))?")
OR_RANDOM = " or random"
"""The end of the name of a weight file without which training starts from random weights."""
# The keys that can come from the store, each with a value for checks of an incomplete recipe.
# None stands for the default of the key.
PLACEHOLDERS: dict[str, Any] = {
    "dataset": "store",
    "classes": 2,
    "labels": None,
    "subsets": None,
    "streams": None,
    "data.short_side": None,
    "data.size": None,
    "data.mirror": None,
    "training.batch": None,
    "training.rate": None,
    "sets.streams": {"features": "features"},
    "sets.dimensions": 1,
    "sets.may_be_empty": None,
}
WITH_LIMIT = ("data.size", "training.batch", "training.rate")


@dataclass(frozen=True)
class RecipeDraft:
    """The values of a recipe file, of which some may be left to the store. Made by `make_draft`."""

    name: str
    """Name of the recipe, with which messages start."""

    values: dict[str, Any]
    """Values of all keys of a recipe file, defaults included."""

    quick: dict[str, Any] = field(default_factory=dict)
    """Values for a quick training on a few CPU cores, by dotted key."""

    @property
    def store_keys(self) -> dict[str, int | float | None]:
        """The dotted keys whose values come from the store, each with its limit or None."""
        return dict(find_store_keys(self.values))

    @property
    def optional_weights(self) -> dict[str, str]:
        """The weight files that are used only where they exist, by dotted key."""
        named = {
            f"network.weights.{branch}": file
            for branch, file in self.values["network"]["weights"].items()
        }
        if self.values["sets"] is not None:
            named["sets.weights"] = self.values["sets"]["weights"]
        return {k: f.removesuffix(OR_RANDOM) for k, f in named.items() if f.endswith(OR_RANDOM)}

    @property
    def is_complete(self) -> bool:
        """Whether no value is left to the store or to the weight files of this machine."""
        return not self.store_keys and not self.optional_weights

    def set_values(self, changes: Mapping[str, Any]) -> Self:
        """Return the draft with other values.

        Args:
            changes: New values by dotted key, such as ``training.epochs``. A mapping is replaced,
                not merged.

        Raises:
            UsageError: A key is unknown, or the new values are invalid.
        """
        values = copy.deepcopy(self.values)
        for name, value in changes.items():
            set_value(values, name, value)
        return replace(self, values=complete_defaults(values, self.name))

    def change(self, changes: Mapping[str, str]) -> Self:
        """Return the draft with other values, which are given as YAML text by dotted key."""
        return self.set_values({name: yaml.safe_load(text) for name, text in changes.items()})

    def make_quick(self) -> Self:
        """Return the draft with the values of its section ``quick``.

        A paper's results are left out, since the quick network is another one.

        Raises:
            UsageError: The recipe has no section ``quick``.
        """
        if not self.quick:
            raise UsageError(f"{self.name}: the recipe has no section quick, which --quick needs")
        return self.set_values({**self.quick, "reported": {}})

    def complete(self, found: Mapping[str, Any] | None = None) -> Recipe:
        """Return the recipe.

        Args:
            found: A value for each of `store_keys`, and for each of `optional_weights`: the name
                of the file, or None for random weights.

        Raises:
            UsageError: A value is still missing, or the values are not compatible.
        """
        found = found or {}
        missing = [key for key in (*self.store_keys, *self.optional_weights) if key not in found]
        if missing:
            raise UsageError(
                f"{self.name}: the recipe takes {', '.join(missing)} from the store; give its name "
                "to flowkit train or train.fit, which complete it, or give values for these keys"
            )
        values = copy.deepcopy(self.values)
        for path, value in found.items():
            if path.startswith("network.weights.") and value is None:
                del values["network"]["weights"][path.rpartition(".")[2]]
            else:
                set_value(values, path, "" if value is None else value)
        return make_recipe(values, self.name)

    def make_example(self) -> Recipe:
        """Return a recipe in which an arbitrary valid value replaces each from the store."""
        return make_recipe(fill_placeholders(self.values), self.name)


def make_draft(content: Mapping[str, Any], name: str) -> RecipeDraft:
    """Make a draft of the content of a recipe file.

    Args:
        content: Its keys and values, which may include ``quick``.
        name: Name of the recipe, with which messages start.

    Raises:
        UsageError: A key is unknown, a value is invalid, or a value cannot come from the store.
    """
    content = dict(content)
    quick = content.pop("quick", None) or {}
    if not isinstance(quick, dict):
        raise UsageError(f"{name}: quick: expected values by dotted key, got {quick!r}")
    return RecipeDraft(name, complete_defaults(content, name), quick)


def draft_of(recipe: Recipe, name: str = "recipe") -> RecipeDraft:
    """Return the draft of a complete recipe."""
    return RecipeDraft(name, list_values(recipe))


def dump_draft(draft: RecipeDraft) -> dict[str, Any]:
    """Return the values of a draft, as YAML can write them, with ``quick`` if it has any."""
    values = restore_store_keys(dump_values(draft.make_example()), draft.values)
    return {**values, "quick": draft.quick} if draft.quick else values


def complete_defaults(content: dict[str, Any], name: str) -> dict[str, Any]:
    """Check the values of a recipe file, and return the values of all keys."""
    check_spelling(content, name)
    for path, limit in find_store_keys(content):
        if path not in PLACEHOLDERS:
            raise UsageError(
                f"{name}: {path} cannot come from the store{suggest(path, PLACEHOLDERS)}"
            )
        if limit is not None and path not in WITH_LIMIT:
            raise UsageError(f"{name}: {path}: expected 'from store', without a limit")
    example = make_recipe(fill_placeholders(content), name)
    return restore_store_keys(list_values(example), content)


def check_spelling(content: Mapping[str, Any], name: str) -> None:
    """Raise a UsageError if a value that can come from the store is almost ``from store``."""
    for path in PLACEHOLDERS:
        value: Any = content
        for key in path.split("."):
            value = value.get(key) if isinstance(value, Mapping) else None
        is_similar = isinstance(value, str) and value.strip().lower().startswith("from ")
        if is_similar and not FROM_STORE.fullmatch(value):
            limited = " or 'from store, at most N'" if path in WITH_LIMIT else ""
            raise UsageError(f"{name}: {path}: expected 'from store'{limited}, got {value!r}")


def fill_placeholders(content: Mapping[str, Any]) -> dict[str, Any]:
    """Replace each value that comes from the store by its placeholder."""
    values = copy.deepcopy(dict(content))
    for path, _ in find_store_keys(content):
        *sections, last = path.split(".")
        section = values
        for name in sections:
            section = section[name]
        if PLACEHOLDERS[path] is None:
            del section[last]
        else:
            section[last] = PLACEHOLDERS[path]
    return values


def restore_store_keys(values: dict[str, Any], content: Mapping[str, Any]) -> dict[str, Any]:
    """Return values in which those that come from the store are written as in another mapping."""
    restored = copy.deepcopy(values)
    for path, _ in find_store_keys(content):
        source: Any = content
        for name in path.split("."):
            source = source[name]
        set_value(restored, path, source)
    return restored


def find_store_keys(values: Any, prefix: str = "") -> Iterator[tuple[str, int | float | None]]:
    """Yield the dotted key and the limit of each value that comes from the store."""
    for key, value in values.items() if isinstance(values, Mapping) else ():
        path = f"{prefix}{key}"
        if isinstance(value, Mapping):
            yield from find_store_keys(value, f"{path}.")
        elif isinstance(value, str) and (match := FROM_STORE.fullmatch(value)):
            yield path, None if match[1] is None else yaml.safe_load(match[1])


def set_value(values: dict[str, Any], name: str, value: Any) -> None:
    """Set the value of a dotted key in nested mappings.

    Raises:
        UsageError: A section of the key does not exist.
    """
    *sections, last = name.split(".")
    for depth, section in enumerate(sections):
        inner = values.get(section)
        from_store = isinstance(inner, str) and FROM_STORE.fullmatch(inner)
        if from_store or (inner is None and depth and sections[0] == "phases"):
            values[section] = {}
        if not isinstance(values.get(section), dict):
            raise UsageError(f"recipe: no key {section!r} in {name!r}{suggest(section, values)}")
        values = values[section]
    values[last] = value

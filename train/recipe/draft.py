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
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Self

from flowkit.errors import UsageError
from train.recipe.recipe_file import Recipe, dump_values, list_values, make_recipe
from train.recipe.reported import drop_reported, update_reported
from train.recipe.rows import find_row
from train.recipe.values import (
    OR_RANDOM,
    complete_defaults,
    fill_placeholders,
    find_store_keys,
    parse_value,
    restore_store_keys,
    set_value,
)


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

        The results of the paper are then those of the row whose settings these are, or none
        (reported.py). If ``reported`` is given, these are the results, and there are no rows.

        Args:
            changes: New values by dotted key, such as ``training.epochs``. A mapping is replaced,
                not merged.

        Raises:
            UsageError: A key is unknown, or the new values are invalid.
        """
        sections = {name.partition(".")[0] for name in changes}
        if "rows" in sections:
            raise UsageError(
                f"{self.name}: rows belong to the file of a recipe and cannot be set; take one "
                "with --row"
            )
        values = self._set(changes)
        if "reported" in sections:
            return replace(self, values={**values, "rows": {}})
        return replace(self, values=update_reported(self.values, values))

    def take_row(self, name: str) -> Self:
        """Return the draft with the values and the results of one of its rows.

        Raises:
            UsageError: There is no such row, or its values are invalid.
        """
        row = find_row(self.values["rows"], name, self.name)
        try:
            values = self._set(row["set"])
        except UsageError as error:
            raise UsageError(f"{self.name}: row {name!r}: {error}") from error
        return replace(self, values=update_reported(self.values, values, name))

    def _set(self, changes: Mapping[str, Any]) -> dict[str, Any]:
        rows = self.values["rows"]  # are many and do not change here
        values = copy.deepcopy({**self.values, "rows": {}})
        for name, value in changes.items():
            set_value(values, name, copy.deepcopy(value))
        return {**complete_defaults(values, self.name), "rows": rows}

    def change(self, changes: Mapping[str, Any]) -> Self:
        """Return the draft with other values by dotted key: YAML text, or Python values.

        Raises:
            UsageError: A text is not valid YAML, a key is unknown, or the new values are invalid.
        """
        return self.set_values({name: parse_value(name, value) for name, value in changes.items()})

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
        recipe = make_recipe(values, self.name)
        from_scratch = any(found.get(key) is None for key in self.optional_weights)
        return drop_reported(recipe) if from_scratch else recipe

    def make_example(self) -> Recipe:
        """Make a complete recipe, in which each value from the store is some valid value.

        It serves to check the other values, and to show the kind and the sections of the recipe.
        """
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


def draft_of(recipe: Recipe) -> RecipeDraft:
    """Return the draft of a complete recipe."""
    return RecipeDraft("recipe", list_values(recipe))


def dump_draft(draft: RecipeDraft) -> dict[str, Any]:
    """Return the values of a draft, as YAML can write them, with ``quick`` if it has any.

    Fields of rows that are empty are left out.
    """
    values = restore_store_keys(dump_values(draft.make_example()), draft.values)
    values["rows"] = {
        name: {key: value for key, value in row.items() if value}
        for name, row in values["rows"].items()
    }
    return {**values, "quick": draft.quick} if draft.quick else values

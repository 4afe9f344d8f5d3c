"""Read and check the entries of a catalogue file, and name the key that is wrong."""

import difflib
from collections.abc import Hashable, Mapping
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

import yaml

from flowkit.annotations import FORMATS, LIST, ListSettings
from flowkit.catalog.dataset import Dataset
from flowkit.errors import CatalogError, UsageError
from flowkit.recipe import StoreRecipe


class UniqueKeyLoader(yaml.SafeLoader):
    """A safe YAML loader that rejects repeated keys, whereas PyYAML's uses the last one."""

    def compose_mapping_node(self, anchor: Any) -> Any:
        """Compose the node of a mapping, and check its keys as they are written in the file.

        Merges (``<<``) are resolved later, in the node itself: its keys may then be repeated.

        Args:
            anchor: Anchor of the node; None if it has none.

        Returns:
            The node.

        Raises:
            yaml.MarkedYAMLError: A key is repeated, or is no plain value; the error has its line.
        """
        node = super().compose_mapping_node(anchor)
        keys: set[Any] = set()
        for key_node, _ in node.value:
            if key_node.tag == "tag:yaml.org,2002:merge":  # <<, which the base class resolves
                continue
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, Hashable):
                problem = "a key is a list or a mapping"
                raise yaml.MarkedYAMLError(problem=problem, problem_mark=key_node.start_mark)
            if key in keys:
                problem = f"the key {key!r} is given twice"
                raise yaml.MarkedYAMLError(problem=problem, problem_mark=key_node.start_mark)
            keys.add(key)
        return node


def read_entry(path: Path, name: str, entry: Any) -> list[Dataset]:
    """Read the datasets of one entry: the entry itself, and its variants.

    Args:
        path: The catalogue, for error messages.
        name: Name of the entry.
        entry: Its value in the YAML file.

    Returns:
        The datasets.

    Raises:
        CatalogError: The entry is malformed.
    """
    location = f"{path}: {name}"
    values = check_mapping(location, entry, "an entry")
    variants = check_mapping(f"{location}: variants", values.pop("variants", {}), "variants")
    if variants and "variant" not in values:
        raise CatalogError(
            f"{location}: the key 'variant' is required: it names the variant that the entry "
            "itself describes, and 'variants' has the others"
        )
    datasets = [build_dataset(location, path, name, values)]
    for variant, overrides in variants.items():
        variant_location = f"{location}: variants: {variant}"
        overrides = check_mapping(variant_location, overrides, "a variant")
        if "variants" in overrides:
            raise CatalogError(
                f"{variant_location}: a variant has no variants; list them beside {variant!r}"
            )
        variant_values = {**values, **overrides, "variant": variant}
        datasets.append(build_dataset(variant_location, path, name, variant_values))
    return datasets


def build_dataset(location: str, path: Path, name: str, values: Mapping[str, Any]) -> Dataset:
    """Build one dataset from the keys of its entry, and check each of them.

    Args:
        location: File and entry, for error messages.
        path: The catalogue.
        name: Name of the entry.
        values: Values by key.

    Returns:
        The dataset.

    Raises:
        CatalogError: A key is unknown or missing, or a value has the wrong type.
    """
    known_keys = {
        field.name: field for field in fields(Dataset) if field.name not in ("name", "catalog")
    }
    checked: dict[str, Any] = {}
    for key, value in values.items():
        if key not in known_keys:
            suggestion = format_suggestion(key, [*known_keys, "variants"])
            raise CatalogError(f"{location}: unknown key {key!r}{suggestion}")
        checked[key] = check_value(f"{location}: {key}", known_keys[key].type, value)
    missing = [key for key, f in known_keys.items() if f.default is MISSING and key not in checked]
    if missing:
        raise CatalogError(f"{location}: the key {missing[0]!r} is required")
    if checked["format"] not in FORMATS:
        suggestion = format_suggestion(checked["format"], FORMATS)
        raise CatalogError(f"{location}: format: unknown format {checked['format']!r}{suggestion}")
    if "list" in checked and checked["format"] != LIST:
        raise CatalogError(f"{location}: the key 'list' needs 'format: list'")
    return Dataset(name=name, catalog=path, **checked)


def check_value(location: str, expected_type: Any, value: Any) -> Any:
    """Check a value against the type of its field, and convert it.

    Args:
        location: File, entry and key, for error messages.
        expected_type: Type of the field.
        value: The value in the YAML file.

    Returns:
        The value as the field's type.

    Raises:
        CatalogError: The value has another type.
    """
    if expected_type is StoreRecipe:
        try:
            return StoreRecipe.from_dict(check_mapping(location, value, "a recipe"))
        except (UsageError, TypeError) as error:
            raise CatalogError(f"{location}: {error}") from error
    if expected_type == (ListSettings | None):
        return read_list_settings(location, value)
    if expected_type == tuple[str, ...]:
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise CatalogError(f"{location}: expected a list of strings, got {value!r}")
        return tuple(value)
    if expected_type is int:
        if not isinstance(value, int) or isinstance(value, bool) or value < 0:
            raise CatalogError(f"{location}: expected a whole number, 0 or more, got {value!r}")
    elif not isinstance(value, str):
        hint = "" if value is None or isinstance(value, list | dict) else "; put it in quotes"
        raise CatalogError(f"{location}: expected a string, got {value!r}{hint}")
    return value


def read_list_settings(location: str, value: Any) -> ListSettings:
    """Read the key ``list`` of an entry.

    Args:
        location: File, entry and key, for error messages.
        value: The value in the YAML file.

    Returns:
        The settings.

    Raises:
        CatalogError: A key is unknown, or a value is wrong.
    """
    values = check_mapping(location, value, "files, columns, classes and file_template")
    known_keys = [field.name for field in fields(ListSettings)]
    for key in values.keys() - set(known_keys):
        raise CatalogError(f"{location}: unknown key {key!r}{format_suggestion(key, known_keys)}")
    if "files" in values:
        values["files"] = check_value(f"{location}: files", tuple[str, ...], values["files"])
    if "columns" in values:
        columns = check_mapping(f"{location}: columns", values["columns"], "columns by role")
        # YAML reads the number of a column as an integer.
        values["columns"] = {role: str(column) for role, column in columns.items()}
    for key in ("classes", "file_template"):
        if key in values:
            check_value(f"{location}: {key}", str, values[key])
    try:
        return ListSettings(**values)
    except UsageError as error:
        raise CatalogError(f"{location}: {error}") from error


def check_mapping(location: str, value: Any, description: str) -> dict[str, Any]:
    """Check that a value is a mapping whose keys are strings.

    Args:
        location: File and entry, for error messages.
        value: The value in the YAML file.
        description: What the value should be, for error messages.

    Returns:
        A copy of the mapping.

    Raises:
        CatalogError: The value is not a mapping, or a key is not a string.
    """
    if not isinstance(value, dict):
        raise CatalogError(f"{location}: expected {description} as a mapping, got {value!r}")
    for key in value:
        if not isinstance(key, str):
            raise CatalogError(f"{location}: key {key!r} must be a string; put it in quotes")
    return dict(value)


def format_suggestion(name: str, valid_names: Any) -> str:
    """Format the end of an error message: the most similar valid name, and all valid names.

    Args:
        name: The unknown name.
        valid_names: The valid names.

    Returns:
        The end of the message, which begins with a semicolon.
    """
    matches = difflib.get_close_matches(name.lower(), valid_names, n=1, cutoff=0.5)
    hint = f"did you mean {matches[0]!r}? " if matches else ""
    return f"; {hint}known: {', '.join(valid_names)}"

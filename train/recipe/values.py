"""Find and replace values of a recipe: those that come from the store, and those of dotted keys.

Values are nested mappings, as a YAML file has them. draft.py explains which values can come from
the store.
"""

import copy
import re
from collections.abc import Iterator, Mapping
from typing import Any

import yaml

from flowkit.errors import UsageError
from train.recipe.parsing import suggest
from train.recipe.recipe_file import list_values, make_recipe

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
        value = get_value(content, path)
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
        set_value(restored, path, get_value(content, path))
    return restored


def find_store_keys(values: Any, prefix: str = "") -> Iterator[tuple[str, int | float | None]]:
    """Yield the dotted key and the limit of each value that comes from the store."""
    for key, value in values.items() if isinstance(values, Mapping) else ():
        path = f"{prefix}{key}"
        if isinstance(value, Mapping):
            yield from find_store_keys(value, f"{path}.")
        elif isinstance(value, str) and (match := FROM_STORE.fullmatch(value)):
            yield path, None if match[1] is None else yaml.safe_load(match[1])


def parse_value(name: str, value: Any) -> Any:
    """Turn a new value of a recipe into what a YAML file would have.

    Args:
        name: The dotted key, for messages.
        value: YAML text, or a Python value. Text inside a Python value is not YAML.

    Returns:
        Text, a number, a boolean, None, or a list or dictionary of these.

    Raises:
        UsageError: The text is not valid YAML.
    """
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, float):
        return float(value)  # not the float64 of NumPy, which YAML cannot write
    if isinstance(value, Mapping):
        return {key: _parse_inner(name, inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_parse_inner(name, inner) for inner in value]
    try:
        return yaml.safe_load(str(value))  # also a number of NumPy, or a path
    except (yaml.YAMLError, ValueError) as error:  # ValueError: a date that there is not
        problem = getattr(error, "problem", None) or str(error).partition("\n")[0]
        raise UsageError(
            f"recipe: {name}: {str(value)!r} is not valid YAML ({problem}); text with special "
            "characters needs quotes of its own, such as '\"a: b\"'"
        ) from error


def _parse_inner(name: str, value: Any) -> Any:
    return value if isinstance(value, str) else parse_value(name, value)


def get_value(values: Any, name: str) -> Any:
    """Return the value of a dotted key in nested mappings; None if there is none."""
    for key in name.split("."):
        values = values.get(key) if isinstance(values, Mapping) else None
    return values


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
        if section in values and values[section] is None:
            key = ".".join(sections[: depth + 1])
            raise UsageError(
                f"recipe: {key} is not set, so {name} cannot be changed alone; give all of it, as "
                f"in {key}={{{'.'.join([*sections[depth + 1 :], last])}: …, …}}"
            )
        if section in values and not isinstance(values[section], dict):
            key = ".".join(sections[: depth + 1])
            raise UsageError(f"recipe: {key} is a value without keys, so there is no {name!r}")
        if section not in values:
            raise UsageError(f"recipe: no key {section!r} in {name!r}{suggest(section, values)}")
        values = values[section]
    values[last] = value

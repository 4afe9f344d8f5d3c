"""Parse the content of YAML files into dataclasses, with errors that name the key and a fix."""

import difflib
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from typing import Any, get_args

from pydantic import TypeAdapter, ValidationError

from flowkit.errors import UsageError

MANY = 20
"""Largest number of valid names that an error message lists; else it names the most similar one."""


def parse(kind: type[Any], content: Any, source_name: str) -> Any:
    """Build a dataclass from the content of a YAML file.

    Args:
        kind: The dataclass.
        content: Values of its fields by name: numbers, strings, lists and dictionaries.
        source_name: Name of the file or key, with which error messages start.

    Returns:
        The instance.

    Raises:
        UsageError: A value is invalid or a key unknown. The message names it and a similar key.
    """
    if not isinstance(content, dict):
        raise UsageError(f"{source_name}: expected keys and values, got {type(content).__name__}")
    try:
        return TypeAdapter(kind).validate_python(content)
    except ValidationError as error:
        raise UsageError(f"{source_name}: {'; '.join(explain(kind, content, error))}") from error


def explain(kind: type[Any], content: Any, error: ValidationError) -> Iterator[str]:
    """Yield a message for each value of a dataclass that is invalid, and each key.

    Args:
        kind: The dataclass.
        content: Its values, as they were given.
        error: The errors. Where a value may be of several types, there is one for each type.
    """
    wrong: dict[tuple[str, str], list[str]] = {}
    for fault in error.errors(include_url=False):
        path = find_path(fault["loc"], content)
        if fault["type"] == "missing":
            path.append(str(fault["loc"][-1]))
        if fault["type"] == "unexpected_keyword_argument":
            names = [f.name for f in fields(find_class(kind, path[:-1]))]
            yield f"unknown key {'.'.join(path)!r}{suggest(path[-1], names)}"
        elif fault["type"] == "missing":
            yield f"the key {'.'.join(path)!r} is missing"
        else:
            messages = wrong.setdefault((".".join(path), repr(fault["input"])), [])
            messages.append(fault["msg"].lower())
    for (name, value), messages in wrong.items():
        yield f"{name}: {', or '.join(messages)}, got {value}"


def find_path(location: tuple[int | str, ...], content: Any) -> list[str]:
    """Return the keys that lead to a value, without the names of types between them.

    Args:
        location: Keys, and the names of those types of a value that may be of several.
        content: The values that the keys lead into.
    """
    path = []
    for key in location:
        is_index = isinstance(content, list | tuple) and isinstance(key, int) and key < len(content)
        if is_index or (isinstance(content, dict) and key in content):
            path.append(str(key))
            content = content[key]
    return path


def find_class(kind: type[Any], path: list[str]) -> type[Any]:
    """Find the dataclass at a dotted path inside another."""
    for name in path:
        types = {f.name: f.type for f in fields(kind)}
        inner = types.get(name)
        candidates = (inner, *get_args(inner))
        kind = next((c for c in candidates if isinstance(c, type) and is_dataclass(c)), kind)
    return kind


def suggest(name: str, valid_names: Any) -> str:
    """Return the end of an error message: the most similar valid name, and the valid names.

    If there are more than `MANY`, they are listed only if none is similar.
    """
    similar = difflib.get_close_matches(name, list(valid_names), n=1, cutoff=0.4)
    if similar and len(valid_names) > MANY:
        return f"; did you mean {similar[0]!r}?"
    hint = f"; did you mean {similar[0]!r}?" if similar else ";"
    return f"{hint} valid names are {', '.join(valid_names)}"

"""Parse plain values into frozen dataclasses, with errors that name the key and suggest a fix."""

import difflib
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from typing import Any, get_args

from pydantic import TypeAdapter, ValidationError

from flowkit.errors import UsageError


def parse(kind: type[Any], content: Any, source_name: str) -> Any:
    """Build a dataclass from plain values.

    Args:
        kind: The dataclass.
        content: Plain values, such as the content of a YAML file.
        source_name: Name of the source, with which the message starts.

    Returns:
        The instance.

    Raises:
        UsageError: A value is invalid; it names the key and the nearest known one.
    """
    if not isinstance(content, dict):
        raise UsageError(f"{source_name}: expected keys and values, got {type(content).__name__}")
    try:
        return TypeAdapter(kind).validate_python(content)
    except ValidationError as error:
        raise UsageError(f"{source_name}: {'; '.join(explain(kind, error))}") from error


def explain(kind: type[Any], error: ValidationError) -> Iterator[str]:
    """Yield a description of each fault of a recipe."""
    for fault in error.errors(include_url=False):
        path = [str(part) for part in fault["loc"]]
        if fault["type"] == "unexpected_keyword_argument":
            known = [f.name for f in fields(find_class(kind, path[:-1]))]
            yield f"unknown key {'.'.join(path)!r}{suggest(path[-1], known)}"
        elif fault["type"] == "missing":
            yield f"the key {'.'.join(path)!r} is missing"
        else:
            yield f"{'.'.join(path)}: {fault['msg'].lower()}, got {fault['input']!r}"


def find_class(kind: type[Any], path: list[str]) -> type[Any]:
    """Find the dataclass at a dotted path inside another."""
    for name in path:
        types = {f.name: f.type for f in fields(kind)}
        inner = types.get(name)
        candidates = (inner, *get_args(inner))
        kind = next((c for c in candidates if isinstance(c, type) and is_dataclass(c)), kind)
    return kind


def suggest(name: str, known: Any) -> str:
    """Suggest the nearest known name and list the known ones, to end a message."""
    near = difflib.get_close_matches(name, list(known), n=1, cutoff=0.4)
    hint = f"; did you mean {near[0]!r}?" if near else ";"
    return f"{hint} there are {', '.join(known)}"

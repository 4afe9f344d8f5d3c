"""Format a training recipe as YAML with an explanation above each key.

`read_recipe` can read the result.
"""

import textwrap
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from typing import Any

import yaml
from pydantic import TypeAdapter

from train.recipe.recipe import Recipe

WIDTH = 100
INDENT = "  "


def explain_recipe(recipe: Recipe) -> str:
    """Return the recipe as YAML, in which a comment above each key explains it.

    Only keys that this kind of recipe uses are listed.
    """
    values = TypeAdapter(type(recipe)).dump_python(recipe, mode="json")
    return "\n".join(explain_section(recipe, values, "")) + "\n"


def explain_section(section: Any, values: dict[str, Any], indent: str) -> Iterator[str]:
    """Yield the lines of one section, and of the sections inside it.

    Args:
        section: The dataclass of the section.
        values: Its values by name, as numbers, strings, lists and dictionaries.
        indent: Spaces before each line.
    """
    comment = f"{indent}# "
    for field in fields(section):
        text = describe_field(type(section), field.name)
        yield from textwrap.wrap(
            text, WIDTH, initial_indent=comment, subsequent_indent=comment, break_on_hyphens=False
        )
        value = getattr(section, field.name)
        if is_dataclass(value):
            yield f"{indent}{field.name}:"
            yield from explain_section(value, values[field.name], indent + INDENT)
        else:
            yield from textwrap.indent(
                dump_key(field.name, values[field.name]), indent
            ).splitlines()


def dump_key(name: str, value: Any) -> str:
    """Return one key as YAML, with a list of numbers or names on one line."""
    style = None if isinstance(value, list | dict) else False
    return yaml.safe_dump(
        {name: value}, default_flow_style=style, sort_keys=False, allow_unicode=True, width=WIDTH
    )


def describe_field(section_class: type[Any], name: str) -> str:
    """Return the docstring of a field, from its class or the base class that declares it."""
    declared = (
        vars(base).get("__pydantic_fields__", {}).get(name) for base in section_class.__mro__
    )
    text = next(field.description for field in declared if field and field.description)
    return " ".join(text.replace("``", "").split())

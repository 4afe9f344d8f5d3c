"""Format a training recipe as YAML with an explanation above each key.

`read_draft` can read the result, and `read_recipe` if the recipe leaves no value to the store.
"""

import textwrap
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from typing import Any

import yaml

from train.recipe.draft import RecipeDraft, dump_draft
from train.recipe.recipe import Recipe, draft_of

WIDTH = 100
INDENT = "  "


QUICK = (
    "Values that replace those above with --quick, by dotted key: a smaller network and fewer "
    "epochs, for minutes on two CPU cores."
)


def explain_recipe(recipe: Recipe | RecipeDraft) -> str:
    """Return the recipe as YAML, in which a comment above each key explains it.

    Only keys that this kind of recipe uses are listed. A draft, in which values are left to the
    store, is shown with them as its file has them.
    """
    draft = recipe if isinstance(recipe, RecipeDraft) else draft_of(recipe)
    # The example has the sections and their texts; all values are those of the draft.
    lines = [*explain_section(draft.make_example(), dump_draft(draft), "")]
    if draft.quick:
        lines += [*comment_out(QUICK, ""), *dump_key("quick", draft.quick).splitlines()]
    return "\n".join(lines) + "\n"


def explain_section(section: Any, values: dict[str, Any], indent: str) -> Iterator[str]:
    """Yield the lines of one section, and of the sections inside it.

    Args:
        section: The dataclass of the section.
        values: Its values by name, as numbers, strings, lists and dictionaries. They are shown.
        indent: Spaces before each line.
    """
    for field in fields(section):
        text = describe_field(type(section), field.name)
        yield from comment_out(text, indent)
        value = getattr(section, field.name)
        if is_dataclass(value) and isinstance(values[field.name], dict):
            yield f"{indent}{field.name}:"
            yield from explain_section(value, values[field.name], indent + INDENT)
        else:
            yield from textwrap.indent(
                dump_key(field.name, values[field.name]), indent
            ).splitlines()


def comment_out(text: str, indent: str) -> list[str]:
    """Return the lines of a comment."""
    comment = f"{indent}# "
    return textwrap.wrap(
        text, WIDTH, initial_indent=comment, subsequent_indent=comment, break_on_hyphens=False
    )


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

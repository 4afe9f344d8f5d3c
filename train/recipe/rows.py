"""Rows of a recipe: the settings of the paper's tables that differ from the recipe's own.

A row states what it changes and which results the paper has for it. `train.recipe.reported` says
which results belong to changed values. ``flowkit train NAME --row ROW`` trains one.
"""

import difflib
from collections.abc import Mapping
from dataclasses import field
from typing import Any

from pydantic import Field
from pydantic.dataclasses import dataclass

from flowkit.errors import UsageError
from train.recipe.sections import STRICT


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Row:
    """One row, or one cell, of a table of the paper."""

    table: str = ""
    """The table of the paper, such as 2 or 1(b); empty for a row that the paper does not have."""

    set: dict[str, Any] = field(default_factory=dict)
    """The values that differ from the recipe's, by dotted key, as with ``--set``. Sections are set
    key by key: ``sets.units``, not ``sets``."""

    reported: dict[str, tuple[float, ...]] = Field(default_factory=dict)
    """The paper's results of this row in percent, by name of score; empty if it has none."""

    note: str = ""
    """What is special about this row, such as a choice that the paper leaves open."""

    paper: str = ""
    """The paper and its table, as they are named beside results. Default: the recipe's paper, with
    the row's table and name."""


def find_row(rows: Mapping[str, Any], name: str, recipe_name: str) -> Any:
    """Return a row by its name.

    Args:
        rows: The rows of the recipe, by name.
        name: The name.
        recipe_name: Name of the recipe, with which the message starts.

    Raises:
        UsageError: The recipe has no such row. The message has a similar name, and all names.
    """
    if name in rows:
        return rows[name]
    if not rows:
        raise UsageError(f"{recipe_name}: the recipe has no rows; leave out --row")
    similar = difflib.get_close_matches(name, rows, n=1, cutoff=0.4)
    hint = f"; did you mean {similar[0]!r}?" if similar else "."
    names = "; ".join(rows)  # names contain commas
    raise UsageError(f"{recipe_name}: no row {name!r}{hint} The rows are: {names}")

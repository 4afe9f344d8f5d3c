"""Parse conditions on the videos of a store, such as ``motion<0.1 and class='brush hair'``.

    conditions   condition and condition and …
    condition    COLUMN < > <= >= = == != VALUE
    VALUE        a number, a word, or text in single or double quotes

Nothing is evaluated as code.
"""

import math
import re
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Literal

from flowkit.errors import UsageError
from flowkit.path_text import replace_surrogates

NUMBERS = ("frames", "fps", "duration", "width", "height", "motion", "p95", "warnings")
"""Columns of numbers that a condition can name."""
TEXTS = ("id", "class", "subset")
"""Columns of text that a condition can name."""
COLUMNS = (*TEXTS, *NUMBERS)
TOKEN = re.compile(
    r"""\s*(?:(?P<operator><=|>=|==|!=|=|<|>)|(?P<quoted>'[^']*'|"[^"]*")|(?P<word>[^\s<>=!'"]+))"""
)
EXAMPLE = "motion<0.1 and class='brush hair'"

Operator = Literal["<", "<=", ">", ">=", "=", "!="]


@dataclass(frozen=True, slots=True)
class Condition:
    """A comparison of one column with a value."""

    column: str
    """One of `COLUMNS`."""
    operator: Operator
    """The comparison."""
    value: float | str
    """A number for one of `NUMBERS`, else text."""


def parse_conditions(text: str) -> list[Condition]:
    """Parse conditions that are joined by ``and``.

    Args:
        text: The conditions, at least one.

    Returns:
        The conditions; all of them must hold.

    Raises:
        UsageError: The text is not of this form, a column is unknown, or a value does not fit its
            column.
    """
    if replace_surrogates(text) != text:
        raise UsageError(f"expected UTF-8, as all ids and names are, got {text!r}")
    tokens = split_tokens(text)
    conditions = []
    while True:
        if len(tokens) < 3 or [kind for kind, _ in tokens[:2]] != ["word", "operator"]:
            rest = "".join(token for _, token in tokens[:3]) or "nothing"
            raise UsageError(
                f"expected a column, a comparison and a value, such as {EXAMPLE}, got {rest!r} in "
                f"{text!r}"
            )
        (_, column), (_, operator), value = tokens[:3]
        conditions.append(make_condition(column, operator, value))
        if len(tokens) == 3:
            return conditions
        kind, joint = tokens[3]
        if kind != "word" or joint.lower() != "and":
            raise UsageError(
                f"expected 'and' between two conditions, got {joint!r} in {text!r}; put quotes "
                f"around values with blanks: {EXAMPLE}"
            )
        tokens = tokens[4:]


def split_tokens(text: str) -> list[tuple[str, str]]:
    """Split a text into tokens, each with its kind: operator, quoted or word."""
    tokens = []
    position, text = 0, text.rstrip()
    while position < len(text):
        match = TOKEN.match(text, position)
        if match is None or match.lastgroup is None:
            raise UsageError(f"expected conditions such as {EXAMPLE}, got {text[position:]!r}")
        tokens.append((match.lastgroup, match[match.lastgroup]))
        position = match.end()
    return tokens


def make_condition(column: str, operator: str, value: tuple[str, str]) -> Condition:
    """Check the parts of a condition.

    Args:
        column: Name of the column.
        operator: The comparison.
        value: Kind and text of the token of the value.

    Raises:
        UsageError: The column is unknown, or operator or value do not fit it.
    """
    if column not in COLUMNS:
        matches = get_close_matches(column, COLUMNS, n=1)
        hint = f"did you mean {matches[0]}? " if matches else ""
        raise UsageError(f"no column {column!r}; {hint}there are {', '.join(COLUMNS)}")
    kind, text = value
    if kind == "operator":
        raise UsageError(f"expected a value after {column}{operator}, got {text!r}")
    checked_operator: Operator = "=" if operator == "==" else operator  # type: ignore[assignment]
    if column in TEXTS:
        if column != "id" and checked_operator not in ("=", "!="):
            raise UsageError(f"{column} can be compared by = and != only, got {column}{operator}")
        return Condition(column, checked_operator, text[1:-1] if kind == "quoted" else text)
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if kind != "word" or not math.isfinite(number):
        raise UsageError(f"{column} is a number: expected {column}{operator}NUMBER, got {text}")
    return Condition(column, checked_operator, number)

"""Define the rows of a label file as columns, before it is known what a column means."""

import json
import math
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from flowkit.errors import AnnotationError

KEY_COLUMN = "(key)"
"""Name of the column with the keys of a JSON object that has one entry for each video."""


@dataclass(kw_only=True, slots=True)
class FileRows:
    """The rows of one label file, column by column."""

    path: Path
    """The file."""
    kind: str
    """The format, to show to users, such as "CSV separated by ;"."""
    columns: dict[str, list[Any]]
    """Values by column name, one for each row: strings, or JSON values. Columns without a name are
    called "1", "2", ….
    """
    has_header: bool = True
    """Whether the file names its columns."""
    lines: Sequence[int] | None = None
    """The line of each row; None if the format has no lines."""
    roles: Mapping[str, str] = field(default_factory=dict)
    """Columns by role, where the format itself defines them."""
    class_names: Sequence[str] = ()
    """Class names by number, if the file itself has them, as Parquet files of Hugging Face do."""

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(next(iter(self.columns.values()), ()))

    def locate(self, row: int) -> str:
        """Return where a row is, for error messages: ``file:line``, or ``file: entry 3``."""
        if self.lines is not None:
            return f"{self.path}:{self.lines[row]}"
        if KEY_COLUMN in self.columns:
            return f"{self.path}: entry {self.columns[KEY_COLUMN][row]!r}"
        return f"{self.path}: entry {row + 1}"

    def describe_columns(self) -> str:
        """Return the names of the columns for messages, those of a headless file with an example.

        Such as ``a, b``, or ``1 ('x.mp4'), 2 ('jump')``.
        """
        if self.has_header:
            return ", ".join(self.columns)
        return ", ".join(
            f"{name} ({str(values[0])[:40]!r})" for name, values in self.columns.items()
        )


class ColumnBuilder:
    """Collects rows that are dictionaries into columns; absent values are None."""

    def __init__(self) -> None:
        self.columns: dict[str, list[Any]] = {}
        self.caches: dict[str, dict[str, str]] = {}
        self.count = 0

    def add(self, values: Mapping[str, Any]) -> None:
        """Add one row.

        Args:
            values: JSON values by column name.
        """
        columns, caches = self.columns, self.caches
        if values.keys() != columns.keys():
            for name in values.keys() - columns.keys():
                columns[name] = [None] * self.count
                caches[name] = {}
            for name in columns.keys() - values.keys():
                columns[name].append(None)
        for name, value in values.items():
            # One object for equal strings: a million rows have few different labels.
            columns[name].append(
                caches[name].setdefault(value, value) if type(value) is str else value
            )
        self.count += 1


class LineColumns:
    """Collects rows that are lists of strings into columns, with the line of each row."""

    def __init__(self, width: int) -> None:
        self.columns: list[list[str]] = [[] for _ in range(width)]
        self.caches: list[dict[str, str]] = [{} for _ in range(width)]
        self.lines = array("q")

    def extend(self, rows: Sequence[Sequence[str]]) -> None:
        """Add rows that all have one value for each column.

        Args:
            rows: The rows; white space around values is removed.
        """
        for column, cache, values in zip(self.columns, self.caches, zip(*rows), strict=False):
            column.extend([cache.setdefault(value, value) for value in map(str.strip, values)])

    def name(self, names: Sequence[str]) -> dict[str, list[Any]]:
        """Return the columns by name.

        Args:
            names: One name for each column.
        """
        return dict(zip(names, self.columns, strict=True))


def to_text(value: Any) -> str:
    """Convert a value of a label file to text.

    Args:
        value: A string or a JSON value. A list or an object is written as JSON.

    Returns:
        The text without surrounding white space. None and NaN are "", and 3.0 is "3".
    """
    if isinstance(value, str):
        return value.strip()
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        if math.isnan(value):
            return ""
        return str(int(value)) if value.is_integer() else repr(value)
    if isinstance(value, list | dict | tuple):
        return json.dumps(value, ensure_ascii=False)
    return str(value)


def to_texts(values: list[Any]) -> list[str]:
    """Convert a column to text; a column of strings without spaces around them is returned as is.

    Args:
        values: The values.

    Returns:
        The texts, one for each value.
    """
    return [
        value if type(value) is str and value == value.strip() else to_text(value)
        for value in values
    ]


def make_empty_error(path: Path) -> AnnotationError:
    """Make the error for a file without rows.

    Args:
        path: The file.

    Returns:
        The error, to be raised.
    """
    return AnnotationError(
        f"{path}: expected a row for each video, but the file is empty; check that it is complete"
    )

"""Define the rows of a label file as columns, before it is known what a column means."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

from flowkit.errors import AnnotationError

CHUNK_ROWS = 10_000
"""Rows that are read at once."""
MIN_CACHED = 5_000
KEY_COLUMN = "(key)"
"""Name of the column with the keys of a JSON object that has one entry for each video."""


@dataclass(kw_only=True, slots=True)
class FileRows:
    """The rows of one label file, column by column."""

    path: Path
    """The file."""
    kind: str
    """The format, to show to users, such as "CSV with semicolons"."""
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
    prefix: str = ""
    """What may stand before the id in the name of a video."""
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
    """Collects rows into columns; equal strings of a column become one object.

    A million rows have few different labels, so this saves most of the memory. Columns whose values
    are mostly different, such as ids, are kept as they are.
    """

    def __init__(self) -> None:
        self.columns: dict[str, list[Any]] = {}
        self.caches: dict[str, dict[str, str] | None] = {}
        self.count = 0

    def add_column_values(self, name: str, values: list[Any]) -> None:
        """Add values to a column, which is created if it does not exist.

        Args:
            name: Name of the column.
            values: The values; strings, or JSON values.
        """
        column, cache = self.columns.setdefault(name, []), self.caches.setdefault(name, {})
        if cache is not None and set(map(type, values)) == {str}:
            values = [cache.setdefault(value, value) for value in values]
            if len(cache) > MIN_CACHED and 2 * len(cache) > len(column):
                self.caches[name] = None
        column.extend(values)

    def add_objects(self, entries: Sequence[Mapping[str, Any]]) -> None:
        """Add rows that are objects; keys that a row does not have become None.

        Args:
            entries: JSON values by column name, for each row.
        """
        for name in dict.fromkeys(chain.from_iterable(entries)):
            if name not in self.columns:
                self.add_column_values(name, [None] * self.count)
        for name in self.columns:
            self.add_column_values(name, [entry.get(name) for entry in entries])
        self.count += len(entries)


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
    """Convert a column to text, as `to_text` does.

    Args:
        values: The values.

    Returns:
        The texts, one for each value.
    """
    if set(map(type, values)) == {str}:
        return list(map(str.strip, values))
    return list(map(to_text, values))


def make_empty_error(path: Path, expected: str = "a row for each video") -> AnnotationError:
    """Make the error for a file without rows.

    Args:
        path: The file.
        expected: What the file should hold.

    Returns:
        The error, to be raised.
    """
    return AnnotationError(
        f"{path}: expected {expected}, but the file is empty; check that it is complete"
    )

"""Read CSV and similar files; the delimiter and the header are recognized."""

import csv
from array import array
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import accumulate, islice
from pathlib import Path
from typing import NamedTuple

from flowkit.annotations.label_files.columns import find_usual_column, is_header
from flowkit.annotations.label_files.rows import (
    CHUNK_ROWS,
    ColumnBuilder,
    FileRows,
    make_empty_error,
)
from flowkit.annotations.label_files.text_files import open_text
from flowkit.errors import AnnotationError

DELIMITERS = {",": "comma", "\t": "tab", ";": "semicolon", "|": "vertical bar"}
"""The delimiters that are recognized, with their names."""
SHEET_HINT = "sep="
"""Beginning of a first line in which spreadsheets state the delimiter, such as ``sep=;``."""


def find_stated_delimiter(lines: Sequence[str]) -> str | None:
    """Return the delimiter that the first line states, as in ``sep=;``; None if it states none."""
    first = lines[0]
    is_hint = first[:4].lower() == SHEET_HINT and len(first) > 4 and not first[5:].strip()
    return first[4] if is_hint else None


def detect_delimiter(lines: Sequence[str], preferred: str | None = None) -> str | None:
    """Recognize the delimiter by the first lines of a file.

    It is the one with which most lines have as many fields as the first line, and at least two. Of
    several, it is the preferred one, else one that makes the first line a header, else the one
    that comes first in the lines: ``42;Put, take`` is the video 42.

    Args:
        lines: The first lines.
        preferred: The delimiter of files with this extension; None if there is none.

    Returns:
        The delimiter; None if none fits at least half of the lines.
    """
    candidates: list[tuple[tuple[float, bool, bool, int], str]] = []
    for delimiter in DELIMITERS:
        try:
            rows = [row for row in csv.reader(lines, delimiter=delimiter) if row]
        except csv.Error:
            continue
        if not rows or len(rows[0]) < 2:
            continue
        share = sum(len(row) == len(rows[0]) for row in rows) / len(rows)
        has_names = find_usual_column("id", [field.strip() for field in rows[0]]) is not None
        position = sum(len(row[0]) for row in rows)
        candidates.append(((share, delimiter == preferred, has_names, -position), delimiter))
    best, chosen = max(candidates, default=((0.0, False, False, 0), None))
    return chosen if best[0] >= 0.5 else None


def read_delimited(path: Path, delimiter: str | None, mapping: Mapping[str, str]) -> FileRows:
    """Read a file whose lines are fields with a delimiter.

    Args:
        path: The file.
        delimiter: The delimiter; None if each line is one field.
        mapping: Columns by role as the user gave them, by which a header is recognized.

    Returns:
        The rows.

    Raises:
        AnnotationError: The file is empty or cannot be read, a row has more or fewer fields than
            the first, a quote is not closed, or two columns have the same name.
    """
    rows = iterate_rows(path, delimiter) if delimiter else iterate_lines(path)
    block = next(rows, None)
    if block is None:
        raise make_empty_error(path)
    names = [field.strip() for field in block.rows[0]]
    has_header = is_header(names, block.rows[1:], mapping)
    if has_header:
        check_names(path, block.lines[0], names)
        block = RowBlock(block.lines[1:], block.rows[1:])
    else:
        names = [str(number) for number in range(1, len(names) + 1)]
    builder, lines = ColumnBuilder(), array("q")
    while block is not None:
        check_widths(path, block, len(names), has_header)
        for name, values in zip(names, zip(*block.rows, strict=True), strict=False):
            builder.add_column_values(name, list(map(str.strip, values)))
        lines.extend(block.lines)
        block = next(rows, None)
    if not lines:
        raise AnnotationError(f"{path}: expected rows below the header, got none; add them")
    kind = f"CSV with {DELIMITERS.get(delimiter, repr(delimiter))}s" if delimiter else "a list"
    return FileRows(
        path=path, kind=kind, columns=builder.columns, has_header=has_header, lines=lines
    )


class RowBlock(NamedTuple):
    """Some consecutive rows of a file, none of them blank."""

    lines: Sequence[int]
    """The number of the first line of each row."""
    rows: list[list[str]]
    """The fields of each row."""


def iterate_rows(path: Path, delimiter: str) -> Iterator[RowBlock]:
    """Iterate over the rows of a CSV file.

    Args:
        path: The file.
        delimiter: The delimiter.

    Yields:
        Blocks of rows.

    Raises:
        AnnotationError: The file cannot be read, or a quote is not closed.
    """
    first_line = 1
    with open_text(path) as file:
        reader = csv.reader(file, delimiter=delimiter, strict=True)
        while True:
            try:
                rows = list(islice(reader, CHUNK_ROWS))
            except csv.Error as error:
                raise make_quote_error(path, delimiter, error) from error
            if not rows:
                return
            end = reader.line_num + 1
            lines: Sequence[int] = range(first_line, end)
            if len(lines) != len(rows):  # a row with line breaks in quotes has several lines
                heights = [1 + sum(field.count("\n") for field in fields) for fields in rows]
                lines = [first_line, *accumulate(heights, initial=first_line)][1:-1]
            if first_line == 1 and rows[0] and rows[0][0].lower() == SHEET_HINT:
                lines, rows = lines[1:], rows[1:]
            first_line = end
            if not all(map(any, rows)) or any(not row[0].strip() for row in rows):
                kept = [n for n, fields in enumerate(rows) if any(map(str.strip, fields))]
                lines, rows = [lines[n] for n in kept], [rows[n] for n in kept]
            if rows:
                yield RowBlock(lines, rows)


def make_quote_error(path: Path, delimiter: str, error: csv.Error) -> AnnotationError:
    """Make the error for a row whose quotes are wrong.

    Args:
        path: The file, which is read again to find the row.
        delimiter: The delimiter.
        error: What the parser says.

    Returns:
        The error, to be raised.
    """
    first_line = 1
    with open_text(path) as file, suppress(csv.Error):
        reader = csv.reader(file, delimiter=delimiter, strict=True)
        for _ in reader:
            first_line = reader.line_num + 1
    return AnnotationError(
        f"{path}:{first_line}: expected fields with {delimiter!r} between them, got {error}; check "
        "the quotes of this row"
    )


def iterate_lines(path: Path) -> Iterator[RowBlock]:
    """Iterate over the lines of a file, each as a single field without quotes around it.

    Args:
        path: The file.

    Yields:
        Blocks of rows.

    Raises:
        AnnotationError: The file cannot be read.
    """
    with open_text(path) as file:
        numbered = ((n, text.strip()) for n, text in enumerate(file, start=1))
        while block := list(islice(numbered, CHUNK_ROWS)):
            kept = [(n, text) for n, text in block if text]
            if kept:
                yield RowBlock([n for n, _ in kept], [[remove_quotes(text)] for _, text in kept])


def remove_quotes(text: str) -> str:
    """Remove the quotes around a field."""
    is_quoted = len(text) > 1 and text[0] == text[-1] == '"'
    return text[1:-1].replace('""', '"') if is_quoted else text


def check_widths(path: Path, block: RowBlock, width: int, has_header: bool) -> None:
    """Check that all rows have the same number of fields.

    Args:
        path: The file, for the message.
        block: The rows.
        width: The number of fields of the first row.
        has_header: Whether the first row is a header.

    Raises:
        AnnotationError: A row has another number of fields.
    """
    if set(map(len, block.rows)) <= {width}:
        return
    for line, fields in zip(*block, strict=True):
        if len(fields) != width:
            source = "the header" if has_header else "the first row"
            raise AnnotationError(
                f"{path}:{line}: expected {width} fields, as {source} has, got {len(fields)}: "
                f"{', '.join(fields)[:80]!r}; put values with a delimiter in quotes"
            )


def check_names(path: Path, line: int, names: Sequence[str]) -> None:
    """Check that a header names each column once.

    Args:
        path: The file, for the message.
        line: Line of the header.
        names: The names.

    Raises:
        AnnotationError: Two columns have the same name.
    """
    name, count = Counter(names).most_common(1)[0]
    if count > 1:
        described = f"are called {name!r}" if name else "have no name"
        raise AnnotationError(
            f"{path}:{line}: {count} columns {described}; give each column a name of its own"
        )

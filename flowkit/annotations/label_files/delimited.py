"""Read CSV and similar files; the delimiter and the header are recognized."""

import csv
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path

from flowkit.annotations.label_files.columns import is_header
from flowkit.annotations.label_files.rows import FileRows, LineColumns, make_empty_error
from flowkit.annotations.label_files.text_files import open_text
from flowkit.errors import AnnotationError

DELIMITERS = {",": "comma", "\t": "tab", ";": "semicolon", "|": "vertical bar"}
"""The delimiters that are recognized, with their names."""
CHUNK_ROWS = 10_000
SHEET_HINT = "sep="
"""Beginning of a first line in which spreadsheet programs state the delimiter, such as ``sep=;``."""


def detect_delimiter(lines: Sequence[str], preferred: str = ",") -> str | None:
    """Recognize the delimiter by the first lines of a file.

    It is the one with which most lines have as many fields as the first line, and at least two.

    Args:
        lines: The first lines.
        preferred: The delimiter to use if several fit equally well.

    Returns:
        The delimiter; None if none fits at least half of the lines.
    """
    if lines and lines[0].lower().startswith(SHEET_HINT) and len(lines[0].strip()) == 5:
        return lines[0][4]
    best: tuple[float, bool, int] = (0.5, False, 0)
    chosen = None
    for delimiter in DELIMITERS:
        try:
            widths = [len(row) for row in csv.reader(lines, delimiter=delimiter) if row]
        except csv.Error:
            continue
        if not widths or widths[0] < 2:
            continue
        share = Counter(widths)[widths[0]] / len(widths)
        score = (share, delimiter == preferred, widths[0])
        if score >= best:
            best, chosen = score, delimiter
    return chosen


def is_consistent(lines: Sequence[str], delimiter: str) -> bool:
    """Return whether a delimiter splits all lines into the same number of fields.

    Args:
        lines: The first lines of a file.
        delimiter: The delimiter.
    """
    try:
        return len({len(row) for row in csv.reader(lines, delimiter=delimiter) if row}) == 1
    except csv.Error:
        return False


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
    rows = iterate_rows(path, delimiter or ",") if delimiter else iterate_lines(path)
    first_chunk = list(islice(rows, CHUNK_ROWS))
    if not first_chunk:
        raise make_empty_error(path)
    (first_line, first), others = first_chunk[0], [fields for _, fields in first_chunk[1:]]
    names = [field.strip() for field in first]
    has_header = is_header(names, others, mapping)
    if has_header:
        check_names(path, first_line, names)
        del first_chunk[0]
    else:
        names = [str(number) for number in range(1, len(first) + 1)]
    columns = LineColumns(len(names))
    chunk = first_chunk
    while chunk:
        columns.lines.extend([line for line, _ in chunk])
        check_widths(path, chunk, len(names), has_header)
        columns.extend([fields for _, fields in chunk])
        chunk = list(islice(rows, CHUNK_ROWS))
    if not columns.lines:
        raise AnnotationError(f"{path}: expected rows below the header, got none; add them")
    kind = f"CSV with {DELIMITERS.get(delimiter, repr(delimiter))}s" if delimiter else "a list"
    return FileRows(
        path=path, kind=kind, columns=columns.name(names), has_header=has_header,
        lines=columns.lines,
    )  # fmt: skip


def iterate_rows(path: Path, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """Iterate over the rows of a CSV file that are not blank.

    Args:
        path: The file.
        delimiter: The delimiter.

    Yields:
        The number of the first line of a row, and its fields.

    Raises:
        AnnotationError: The file cannot be read, or a quote is not closed.
    """
    first_line = 1  # of the row; a row with a line break in quotes has several lines
    with open_text(path) as file:
        reader = csv.reader(file, delimiter=delimiter, strict=True)
        try:
            for fields in reader:
                is_hint = first_line == 1 and fields and fields[0].lower() == SHEET_HINT
                if any(fields) and any(map(str.strip, fields)) and not is_hint:
                    yield first_line, fields
                first_line = reader.line_num + 1
        except csv.Error as error:
            raise AnnotationError(
                f"{path}:{first_line}: expected fields with {delimiter!r} between them, got "
                f"{error}; check the quotes of this row"
            ) from error


def iterate_lines(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Iterate over the lines of a file that are not blank, each as a single field.

    Args:
        path: The file.

    Yields:
        The number of the line, and a list with the line, without quotes around it.

    Raises:
        AnnotationError: The file cannot be read.
    """
    with open_text(path) as file:
        for line, text in enumerate(file, start=1):
            text = text.strip()
            if text:
                is_quoted = len(text) > 1 and text[0] == text[-1] == '"'
                yield line, [text[1:-1].replace('""', '"') if is_quoted else text]


def check_widths(
    path: Path, chunk: Sequence[tuple[int, list[str]]], width: int, has_header: bool
) -> None:
    """Check that all rows have the same number of fields.

    Args:
        path: The file, for the message.
        chunk: Line numbers and fields.
        width: The number of fields of the first row.
        has_header: Whether the first row is a header.

    Raises:
        AnnotationError: A row has another number of fields.
    """
    for line, fields in chunk:
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

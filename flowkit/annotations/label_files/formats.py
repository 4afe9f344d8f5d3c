"""Recognize the format of a label file and read its rows."""

import csv
from collections.abc import Mapping
from pathlib import Path

from flowkit.annotations.label_files.columns import find_usual_column
from flowkit.annotations.label_files.delimited import (
    detect_delimiter,
    find_stated_delimiter,
    read_delimited,
)
from flowkit.annotations.label_files.json_files import has_json_lines, read_json, read_json_lines
from flowkit.annotations.label_files.lines import has_plain_lines, read_plain_lines
from flowkit.annotations.label_files.parquet import read_parquet
from flowkit.annotations.label_files.rows import FileRows, make_empty_error
from flowkit.annotations.label_files.text_files import read_sample
from flowkit.errors import AnnotationError

PARQUET_BEGINNING = b"PAR1"
TABLE_EXTENSIONS = frozenset({".csv", ".tsv"})
"""Extensions of files whose lines have delimiters."""
UNSUPPORTED = {
    b"PK\x03\x04": "a zip file or a spreadsheet (.xlsx)",
    b"\x1f\x8b": "a gzip file",
    **{bytes([0x80, protocol]): "a Python pickle" for protocol in range(2, 6)},
    b"\x89HDF": "an HDF5 file",
}
"""First bytes of files that users try, but that cannot be read."""


def read_rows(path: Path, mapping: Mapping[str, str]) -> FileRows:
    """Read the rows of a label file of any format.

    The content decides; the extension of the name only where several formats are possible.

    Args:
        path: The file.
        mapping: Columns by role as the user gave them.

    Returns:
        The rows.

    Raises:
        AnnotationError: The file cannot be read, is empty, or is in no known format.
    """
    try:
        with path.open("rb") as file:
            beginning = file.read(4)
    except OSError as error:
        raise AnnotationError(
            f"{path}: cannot be read ({error.strerror}); check the path and its permissions"
        ) from error
    if beginning == PARQUET_BEGINNING:
        return read_parquet(path, mapping)
    for magic, kind in UNSUPPORTED.items():
        if beginning.startswith(magic):
            raise AnnotationError(
                f"{path}: expected CSV, JSON, JSON lines, Parquet or plain lines, got {kind}; "
                "export the labels as CSV"
            )
    lines = read_sample(path)
    if not lines:
        raise make_empty_error(path)
    return read_text_rows(path, lines, mapping)


def read_text_rows(path: Path, lines: list[str], mapping: Mapping[str, str]) -> FileRows:
    """Read the rows of a text file.

    Args:
        path: The file.
        lines: Its first lines, none of them blank.
        mapping: Columns by role as the user gave them.

    Returns:
        The rows.

    Raises:
        AnnotationError: As for `read_rows`.
    """
    extension = path.suffix.lower()
    first = lines[0].lstrip()
    is_jsonl = extension in (".jsonl", ".ndjson")
    if first.startswith("{") and extension not in TABLE_EXTENSIONS:
        has_lines = is_jsonl or has_json_lines(lines)
        return read_json_lines(path) if has_lines else read_json(path)
    if extension == ".json" or (is_jsonl and first.startswith("[")):
        return read_json(path)  # its message says what is wrong
    if is_jsonl:
        return read_json_lines(path)
    delimiter = find_stated_delimiter(lines)
    if delimiter is None:
        delimiter = detect_delimiter(lines, "\t" if extension == ".tsv" else None)
        if delimiter is not None and extension not in TABLE_EXTENSIONS:
            widths = set(map(len, csv.reader(lines, delimiter=delimiter)))
            header = [field.strip() for field in lines[0].split(delimiter)]
            if len(widths) > 1 and find_usual_column("id", header) is None:
                delimiter = None
        if delimiter is None and len(lines[0].split()) > 1 and has_plain_lines(lines):
            return read_plain_lines(path)
    return read_delimited(path, delimiter, mapping)

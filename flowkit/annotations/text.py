"""Reading the official text files: every message names the file and the line."""

import csv
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from flowkit.errors import AnnotationError

DEPTH = 4  # official archives put their files at most this many folders down


def read_text(path: Path) -> str:
    """The file's text; a byte-order mark is dropped, CR LF becomes LF."""
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        line = path.read_bytes()[: error.start].count(b"\n") + 1
        raise AnnotationError(
            f"{path}:{line}: expected UTF-8 text, got byte 0x{error.object[error.start]:02x}; "
            "get the file anew or convert it"
        ) from error
    except OSError as error:
        raise AnnotationError(
            f"{path}:1: cannot be read ({error.strerror}); make the file readable"
        ) from error


def read_lines(path: Path) -> Iterator[tuple[str, str]]:
    """The non-blank lines as (``file:line``, stripped text)."""
    for number, line in enumerate(read_text(path).split("\n"), start=1):
        if line.strip():
            yield f"{path}:{number}", line.strip()


def read_csv(path: Path, required: Sequence[str]) -> Iterator[tuple[str, dict[str, str]]]:
    """The rows of a CSV file with a header as (``file:line``, stripped values by column name).

    Column names are matched without regard to case. Raises AnnotationError where a required
    column is absent, a row has more or fewer fields than the header, or a quote stays open.
    """
    reader = csv.reader(read_text(path).splitlines(keepends=True), strict=True)
    header: list[str] = []
    line = 1
    try:
        for fields in reader:
            where, line = f"{path}:{line}", reader.line_num + 1
            if not any(field.strip() for field in fields):
                continue
            values = [field.strip() for field in fields]
            if not header:
                header = [value.lower() for value in values]
                absent = [name for name in required if name not in header]
                if absent:
                    raise AnnotationError(
                        f"{where}: expected a header with {', '.join(required)}, got "
                        f"{shorten(','.join(fields))}; put the official header line back"
                    )
            elif len(values) != len(header):
                raise AnnotationError(
                    f"{where}: expected {len(header)} fields ({', '.join(header)}), got "
                    f"{len(values)} in {shorten(','.join(fields))}; correct or remove the line"
                )
            else:
                yield where, dict(zip(header, values, strict=True))
    except csv.Error as error:
        raise AnnotationError(
            f"{path}:{line}: expected comma-separated fields, got {error}; check the quotes"
        ) from error
    if not header:
        raise AnnotationError(
            f"{path}:1: expected a header with {', '.join(required)}, got an empty file; "
            "get the file anew"
        )


def find_texts(folder: Path, pattern: re.Pattern[str]) -> list[Path]:
    """Files at most DEPTH folders below ``folder`` whose whole name matches, sorted.

    Hidden files and folders are skipped.
    """
    found: list[Path] = []
    level = [folder] if folder.is_dir() else []
    for _ in range(DEPTH):
        below: list[Path] = []
        for parent in level:
            with os.scandir(parent) as entries:
                for entry in entries:
                    if entry.name.startswith("."):
                        continue
                    if pattern.fullmatch(entry.name):
                        found.append(Path(entry.path))
                    elif entry.is_dir():
                        below.append(Path(entry.path))
        level = below
    return sorted(found)


def shorten(text: str, length: int = 80) -> str:
    """``text`` quoted and cut, for messages."""
    return repr(text if len(text) <= length else text[: length - 1] + "…")

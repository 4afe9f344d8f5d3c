"""Read the text files of official annotations; every error message names the file and the line."""

import csv
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from flowkit.annotations.table import DOWNLOAD, make_error
from flowkit.annotations.tree import list_folder
from flowkit.errors import AnnotationError

MAX_DEPTH = 4  # official archives put their files at most this many folders down


def read_text(path: Path) -> str:
    """Read a UTF-8 text file, dropping a byte-order mark and converting CR LF to LF.

    Args:
        path: The file.

    Returns:
        Its text.

    Raises:
        AnnotationError: The file is not UTF-8, or cannot be read.
    """
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        line = path.read_bytes()[: error.start].count(b"\n") + 1
        actual, advice = f"byte 0x{error.object[error.start]:02x}", f"{DOWNLOAD} or convert it"
        raise make_error(f"{path}:{line}", "UTF-8 text", actual, advice) from error
    except OSError as error:
        raise AnnotationError(
            f"{path}:1: cannot be read ({error.strerror}); make the file readable"
        ) from error


def read_lines(path: Path) -> Iterator[tuple[str, str]]:
    """Read the non-blank lines of a file.

    Args:
        path: The file.

    Yields:
        ``file:line`` and the text of the line without surrounding white space.

    Raises:
        AnnotationError: The file is not UTF-8, or cannot be read.
    """
    for line_number, line in enumerate(read_text(path).split("\n"), start=1):
        if line.strip():
            yield f"{path}:{line_number}", line.strip()


def read_csv(path: Path, required: Sequence[str]) -> Iterator[tuple[str, dict[str, str]]]:
    """Read the rows of a CSV file that has a header.

    Args:
        path: The file.
        required: Columns that the header must have. Names are compared without regard to case.

    Yields:
        ``file:line``, and the values by column name, without surrounding white space.

    Raises:
        AnnotationError: A required column is missing, a row has more or fewer fields than the
            header, or a quote is not closed.
    """
    reader = csv.reader(read_text(path).splitlines(keepends=True), strict=True)
    expected = f"a header with {', '.join(required)}"
    header: list[str] = []
    line = 1
    try:
        for fields in reader:
            location, line = f"{path}:{line}", reader.line_num + 1
            values = [field.strip() for field in fields]
            if not any(values):
                continue
            if not header:
                header = [value.lower() for value in values]
                if not set(required) <= set(header):
                    advice = "restore the official header line"
                    raise make_error(location, expected, shorten(",".join(fields)), advice)
            elif len(values) != len(header):
                actual = f"{len(values)} in {shorten(','.join(fields))}"
                raise make_error(location, f"{len(header)} fields ({', '.join(header)})", actual)
            else:
                yield location, dict(zip(header, values, strict=True))
    except csv.Error as error:
        location = f"{path}:{line}"
        raise make_error(location, "comma-separated fields", error, "check the quotes") from error
    if not header:
        raise make_error(f"{path}:1", expected, "an empty file", DOWNLOAD)


def find_text_files(folder: Path, pattern: re.Pattern[str]) -> list[Path]:
    """Find the files whose whole name matches, at most `MAX_DEPTH` folders down.

    Hidden files and folders are skipped.

    Args:
        folder: Where to look.
        pattern: Matched against the whole file name.

    Returns:
        The paths, sorted.

    Raises:
        UsageError: A folder cannot be listed.
    """
    matches: list[Path] = []
    folders = [folder] if folder.is_dir() else []
    for _ in range(MAX_DEPTH):
        entries = [entry for parent in folders for entry in list_folder(parent)]
        visible = [entry for entry in entries if not entry.name.startswith(".")]
        matches += [Path(entry.path) for entry in visible if pattern.fullmatch(entry.name)]
        folders = [Path(entry.path) for entry in visible if entry.is_dir()]
    return sorted(matches)


def find_annotation_files(folder: Path, pattern: re.Pattern[str], at_least: int = 1) -> list[Path]:
    """Find the files of a dataset that lie together in one folder.

    Args:
        folder: Where to look, at or below it.
        pattern: Matched against the whole file name.
        at_least: Number of matching files that the folder must have.

    Returns:
        The paths in the first folder with enough matching files, sorted; an empty list if there is
        none.
    """
    paths_by_folder: dict[Path, list[Path]] = {}
    for path in find_text_files(folder, pattern):
        paths_by_folder.setdefault(path.parent, []).append(path)
    return next((paths for paths in paths_by_folder.values() if len(paths) >= at_least), [])


def shorten(text: str, length: int = 80) -> str:
    """Quote a text and cut it to ``length`` characters, for error messages."""
    return repr(text if len(text) <= length else text[: length - 1] + "…")

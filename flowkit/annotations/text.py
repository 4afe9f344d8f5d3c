"""Read the text files of official annotations; every error message names the file and the line."""

import csv
import io
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from flowkit.annotations.table import DOWNLOAD_AGAIN, make_error
from flowkit.annotations.video_files import list_folder
from flowkit.errors import AnnotationError

MAX_LEVELS = 4
"""Levels of folders that are searched for annotation files, including the given folder itself."""


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
        line = error.object[: error.start].count(b"\n") + 1  # the positions are without the mark
        actual, advice = (
            f"byte 0x{error.object[error.start]:02x}",
            f"{DOWNLOAD_AGAIN} or convert it",
        )
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
        required: Columns that the header must have, in lower case. The case of the header does not
            matter.

    Yields:
        ``file:line``, and the values by column name, without surrounding white space.

    Raises:
        AnnotationError: The file is empty, is not UTF-8 or cannot be read, a required column is
            missing, a column is named twice, a row has more or fewer fields than the header, or a
            quote is not closed.
    """
    # Not `splitlines`, which also ends lines at U+0085, U+2028 and vertical tabs.
    reader = csv.reader(io.StringIO(read_text(path)), strict=True)
    expected = f"a header with {', '.join(required)}"
    header: list[str] = []
    first_line = 1  # of the row; a row with a line break in quotes has several lines
    try:
        for fields in reader:
            location = f"{path}:{first_line}"
            first_line = reader.line_num + 1
            values = [field.strip() for field in fields]
            if not any(values):
                continue
            if not header:
                header = [value.lower() for value in values]
                if not set(required) <= set(header):
                    advice = "restore the official header line"
                    raise make_error(location, expected, quote_shortened(",".join(fields)), advice)
                if repeated := [name for name in header if name and header.count(name) > 1]:
                    actual = f"{repeated[0]!r} twice"
                    raise make_error(location, "each column once", actual, "remove one of them")
            elif len(values) != len(header):
                actual = f"{len(values)} in {quote_shortened(','.join(fields))}"
                raise make_error(location, f"{len(header)} fields ({', '.join(header)})", actual)
            else:
                yield location, dict(zip(header, values, strict=True))
    except csv.Error as error:
        location = f"{path}:{first_line}"
        raise make_error(location, "comma-separated fields", error, "check the quotes") from error
    if not header:
        raise make_error(f"{path}:1", expected, "an empty file", DOWNLOAD_AGAIN)


def find_text_files(folder: Path, pattern: re.Pattern[str]) -> list[Path]:
    """Find the files with a matching name in a folder and up to three levels of its subfolders.

    Hidden files and folders are skipped.

    Args:
        folder: The folder to search; it need not exist.
        pattern: A pattern that the whole file name must match.

    Returns:
        The paths, sorted.

    Raises:
        UsageError: A folder cannot be listed.
    """
    matches: list[Path] = []
    folders = [folder] if folder.is_dir() else []
    for _ in range(MAX_LEVELS):
        entries = [entry for parent in folders for entry in list_folder(parent)]
        visible = [entry for entry in entries if not entry.name.startswith(".")]
        folders = [Path(entry.path) for entry in visible if entry.is_dir()]
        files = [entry for entry in visible if not entry.is_dir()]
        matches += [Path(entry.path) for entry in files if pattern.fullmatch(entry.name)]
    return sorted(matches)


def find_annotation_files(folder: Path, pattern: re.Pattern[str], min_files: int = 1) -> list[Path]:
    """Find the annotation files of a dataset, which are all in one folder.

    Args:
        folder: The folder to search, with its subfolders as in `find_text_files`.
        pattern: A pattern that the whole file name must match.
        min_files: Smallest number of matching files that a folder must have.

    Returns:
        The matching files of the first such folder, sorted; an empty list if there is none. Folders
        are compared in the order of their paths, so ``folder`` itself comes first.
    """
    paths_by_folder: dict[Path, list[Path]] = {}
    for path in sorted(find_text_files(folder, pattern), key=lambda path: path.parent):
        paths_by_folder.setdefault(path.parent, []).append(path)
    return next((paths for paths in paths_by_folder.values() if len(paths) >= min_files), [])


def quote_shortened(text: str, length: int = 80) -> str:
    """Quote a string, cut to ``length`` characters, for error messages."""
    return repr(text if len(text) <= length else text[: length - 1] + "…")

"""Read the annotations of Charades (157 classes, with start and end times).

The files are ``Charades_v1_train.csv`` and ``Charades_v1_test.csv``. Their column ``actions`` holds
strings like ``c092 11.90 21.20;c147 0.00 12.60`` (class, start and end in seconds), or is empty.
Class names come from ``Charades_v1_classes.txt`` if that file is present; otherwise the classes are
named c000 … c156.
"""

import math
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from flowkit.annotations.source import locate_by_stem
from flowkit.annotations.table import (
    DOWNLOAD_AGAIN,
    AnnotationTable,
    Label,
    Row,
    build_table,
    make_error,
)
from flowkit.annotations.text import find_annotation_files, quote_shortened, read_csv, read_lines

CLASSES = 157
CODES = tuple(f"c{class_id:03d}" for class_id in range(CLASSES))
ANNOTATION_FILE = re.compile(r"Charades_v1_(train|test)\.csv")
CLASS_FILE = re.compile(r"Charades_v1_classes\.txt")


def find_files(folder: Path, variant: str | None = None) -> list[Path]:
    """Find the train and test files, which are in one folder.

    Args:
        folder: The folder to search, with its subfolders; the first folder with such files is used.
        variant: Ignored; Charades has no variants.

    Returns:
        The paths, sorted; an empty list if there are none.
    """
    return find_annotation_files(folder, ANNOTATION_FILE)


def read_table(folder: Path, variant: str | None = None) -> AnnotationTable:
    """Read the train and test files, or the one of them that is present.

    Args:
        folder: The folder to search, as in `find_files`.
        variant: Ignored; Charades has no variants.

    Returns:
        The annotations, with the subsets train and test.

    Raises:
        AnnotationError: A file is malformed, or the two files disagree about a video.
    """
    paths = sorted(find_files(folder), key=lambda path: "test" in path.name)
    class_files = find_annotation_files(folder, CLASS_FILE)
    names = read_classes(class_files[0]) if class_files else dict(zip(CODES, CODES, strict=True))
    rows = (row for path in paths for row in read_rows(path, names))
    return build_table([names[code] for code in CODES], rows)


def read_classes(path: Path) -> dict[str, str]:
    """Read the class names from lines such as ``c000 Holding some clothes``.

    Args:
        path: ``Charades_v1_classes.txt``.

    Returns:
        The 157 class names by code, c000 … c156.

    Raises:
        AnnotationError: A line is malformed or out of order, or there are not 157.
    """
    names: dict[str, str] = {}
    lines = list(read_lines(path))
    for (location, line), code in zip(lines, CODES, strict=False):
        line_code, _, name = line.partition(" ")
        if line_code != code or not name.strip():
            raise make_error(
                location, f"'{code} Name of the class'", quote_shortened(line), DOWNLOAD_AGAIN
            )
        names[code] = name.strip()
    if len(lines) != CLASSES:
        location = lines[CLASSES][0] if len(lines) > CLASSES else f"{path}:{len(lines) + 1}"
        raise make_error(location, f"{CLASSES} classes", len(lines), DOWNLOAD_AGAIN)
    return names


def read_rows(path: Path, names: dict[str, str]) -> Iterator[Row]:
    """Read the rows of one CSV file.

    Args:
        path: ``Charades_v1_train.csv`` or ``Charades_v1_test.csv``.
        names: Class names by code.

    Yields:
        One row for each video.

    Raises:
        AnnotationError: A line has no video id or a malformed action.
    """
    subset = path.stem.rpartition("_")[2]
    for location, row in read_csv(path, ["id", "actions"]):
        if not row["id"]:
            raise make_error(location, "a video id", "none")
        actions = [action for action in row["actions"].split(";") if action.strip()]
        labels = tuple(parse_action(action, names, location) for action in actions)
        yield Row(row["id"], labels, subset, location)


def parse_action(text: str, names: dict[str, str], location: str) -> Label:
    """Parse one action such as ``c092 11.90 21.20``.

    Args:
        text: Class code, start and end in seconds, separated by spaces.
        names: Class names by code.
        location: ``file:line``, for the error message.

    Returns:
        The label, with its times in seconds.

    Raises:
        AnnotationError: The text is malformed, or the class is unknown.
    """
    with suppress(ValueError):
        code, *times = text.split()
        start, end = map(float, times)
        if code in names and math.isfinite(start + end):
            return Label(names[code], start, end)
    expected = "'c000 start end' with a class of c000–c156 and times in seconds"
    raise make_error(location, expected, quote_shortened(text))


locate_videos = locate_by_stem

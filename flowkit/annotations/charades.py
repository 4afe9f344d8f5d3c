"""Charades: ``Charades_v1_train.csv`` and ``Charades_v1_test.csv``; 157 classes, with times.

The column ``actions`` holds ``c092 11.90 21.20;c147 0.00 12.60`` (class, start, end in seconds),
and may be empty. Class names come from ``Charades_v1_classes.txt`` where it is there, and are
c000 … c156 otherwise.
"""

import math
import re
from collections.abc import Iterator
from pathlib import Path

from flowkit.annotations.source import Located, match
from flowkit.annotations.table import AnnotationTable, Label, Row, build_table
from flowkit.annotations.text import find_texts, read_csv, read_lines, shorten
from flowkit.annotations.tree import stem
from flowkit.errors import AnnotationError

CLASSES = 157
CODES = tuple(f"c{number:03d}" for number in range(CLASSES))
FILE = re.compile(r"Charades_v1_(train|test)\.csv")
CLASS_FILE = re.compile(r"Charades_v1_classes\.txt")


def find(folder: Path, variant: str | None = None) -> list[Path]:
    """The train and test files of the first folder (of those below) that has any."""
    paths = find_texts(folder, FILE)
    return [path for path in paths if path.parent == paths[0].parent]


def read(folder: Path, variant: str | None = None) -> AnnotationTable:
    """Read the files that are there; subsets train, test."""
    paths = sorted(find(folder), key=lambda path: "test" in path.name)
    class_files = find_texts(folder, CLASS_FILE)
    names = read_classes(class_files[0]) if class_files else dict(zip(CODES, CODES, strict=True))
    rows = (row for path in paths for row in read_split(path, names))
    return build_table([names[code] for code in CODES], rows)


def read_classes(path: Path) -> dict[str, str]:
    """Class name by code, from lines ``c000 Holding some clothes``."""
    names: dict[str, str] = {}
    for (where, line), code in zip(read_lines(path), CODES, strict=False):
        found, _, name = line.partition(" ")
        if found != code or not name.strip():
            raise AnnotationError(
                f"{where}: expected '{code} Name of the class', got {shorten(line)}; "
                "get the file anew"
            )
        names[code] = name.strip()
    if len(names) != CLASSES:
        raise AnnotationError(
            f"{path}:{len(names) + 1}: expected {CLASSES} classes, got {len(names)}; "
            "get the file anew"
        )
    return names


def read_split(path: Path, names: dict[str, str]) -> Iterator[Row]:
    """The rows of one CSV file."""
    parts = FILE.fullmatch(path.name)
    assert parts is not None
    for where, row in read_csv(path, ["id", "actions"]):
        if not row["id"]:
            raise AnnotationError(
                f"{where}: expected a video id, got none; correct or remove the line"
            )
        actions = [action for action in row["actions"].split(";") if action.strip()]
        labels = tuple(read_action(action, names, where) for action in actions)
        yield Row(row["id"], labels, parts[1], where)


def read_action(text: str, names: dict[str, str], where: str) -> Label:
    """The label of one ``c092 11.90 21.20``."""
    fields = text.split()
    try:
        code, start, end = fields[0], float(fields[1]), float(fields[2])
        if len(fields) != 3 or code not in names or not math.isfinite(start + end):
            raise ValueError
    except (ValueError, IndexError):
        raise AnnotationError(
            f"{where}: expected 'c000 start end' with a class of c000–c156 and times in seconds, "
            f"got {shorten(text)}; correct the line"
        ) from None
    return Label(names[code], start, end)


def locate(root: Path, table: AnnotationTable) -> Located:
    """Find the videos below ``root`` by their stem, in any folders."""
    index = {annotation.id: annotation for annotation in table.annotations}
    return match(root, table, index, stem)

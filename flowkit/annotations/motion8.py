"""motion8, our synthetic dataset: ``train.csv`` and ``test.csv`` with the header ``id,label``.

The id is the path below the folder of videos, ``<class>/<name>.mp4``. Class ids are
alphabetical. Any dataset whose lists are written so can use this format.
"""

import re
from collections.abc import Iterator
from pathlib import Path

from flowkit.annotations.source import Located, match
from flowkit.annotations.table import AnnotationTable, Label, Row, build_table
from flowkit.annotations.text import find_texts, read_csv
from flowkit.errors import AnnotationError

FILE = re.compile(r"(train|val|test)\.csv")


def find(folder: Path, variant: str | None = None) -> list[Path]:
    """The lists of the first folder (of those below) that has any."""
    paths = find_texts(folder, FILE)
    return [path for path in paths if path.parent == paths[0].parent]


def read(folder: Path, variant: str | None = None) -> AnnotationTable:
    """Read the lists that are there; subsets train, val, test."""
    rows = [row for path in find(folder) for row in read_list(path)]
    classes = sorted({label.name for row in rows for label in row.labels})
    return build_table(classes, rows)


def read_list(path: Path) -> Iterator[Row]:
    """The rows of one list."""
    for where, row in read_csv(path, ["id", "label"]):
        if not (row["id"] and row["label"]):
            raise AnnotationError(
                f"{where}: expected 'id,label', got id {row['id']!r} and label {row['label']!r}; "
                "correct or remove the line"
            )
        yield Row(row["id"], (Label(row["label"]),), path.stem, where)


def locate(root: Path, table: AnnotationTable) -> Located:
    """Find the videos at their ids below ``root``."""
    index = {annotation.id: annotation for annotation in table.annotations}
    return match(root, table, index, str)

"""HMDB51: 153 files ``<class>_test_split<k>.txt``, k = 1, 2, 3.

A line is ``name.avi n`` with n = 0 (not used in this split), 1 (train) or 2 (test). The id is
the file's stem, which is unique over the classes. Class ids are the alphabetical order.
"""

import re
from collections.abc import Iterator
from pathlib import Path

from flowkit.annotations.source import Located, match
from flowkit.annotations.table import AnnotationTable, Label, Row, build_table
from flowkit.annotations.text import find_texts, read_lines, shorten
from flowkit.annotations.tree import stem
from flowkit.errors import AnnotationError

FILE = re.compile(r"(.+)_test_split([123])\.txt")


def find(folder: Path, variant: str | None = None) -> list[Path]:
    """The split files of the first folder (of those below) that has any."""
    paths = find_texts(folder, FILE)
    return [path for path in paths if path.parent == paths[0].parent]


def read(folder: Path, variant: str | None = None) -> AnnotationTable:
    """Read the splits that are there; subsets train1, test1, … test3.

    A class that has a file for one split must have one for each split that is there.
    """
    files: dict[tuple[str, str], Path] = {}
    for path in find(folder):
        parts = FILE.fullmatch(path.name)
        assert parts is not None
        files[parts[2], parts[1]] = path
    classes = sorted({name for _, name in files})
    for split in sorted({split for split, _ in files}):
        for name in classes:
            if (split, name) not in files:
                raise AnnotationError(
                    f"{next(iter(files.values())).parent / f'{name}_test_split{split}.txt'}:1: "
                    "expected a file for each class and split, got none; unpack the whole archive"
                )
    rows = (row for key in sorted(files) for row in read_list(files[key], key[1], key[0]))
    return build_table(classes, rows)


def read_list(path: Path, name: str, split: str) -> Iterator[Row]:
    """The rows of one file: one class, one split."""
    subsets = {"0": None, "1": f"train{split}", "2": f"test{split}"}
    labels = (Label(name),)
    for where, line in read_lines(path):
        fields = line.rsplit(maxsplit=1)
        if len(fields) != 2 or fields[1] not in subsets or not fields[0].endswith(".avi"):
            raise AnnotationError(
                f"{where}: expected 'name.avi n' with n = 0, 1 or 2, got {shorten(line)}; "
                "correct or remove the line"
            )
        yield Row(fields[0].removesuffix(".avi"), labels, subsets[fields[1]], where)


def locate(root: Path, table: AnnotationTable) -> Located:
    """Find the videos below ``root`` by their stem, in any folders."""
    index = {annotation.id: annotation for annotation in table.annotations}
    return match(root, table, index, stem)

"""UCF101: ``classInd.txt``, ``trainlist0k.txt`` and ``testlist0k.txt``, k = 1, 2, 3.

``classInd.txt`` has lines ``1 ApplyEyeMakeup``, counted from 1; a train list has lines
``Class/v_Class_g08_c01.avi 1`` and a test list the same without the number. The id is the
file's stem. Copies differ in the case of ``HandstandPushups``, so case is not looked at.
"""

import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from flowkit.annotations.source import Located, match
from flowkit.annotations.table import AnnotationTable, Label, Row, build_table
from flowkit.annotations.text import find_texts, read_lines, shorten
from flowkit.annotations.tree import stem
from flowkit.errors import AnnotationError

FILE = re.compile(r"classInd\.txt|(train|test)list0?([123])\.txt", re.IGNORECASE)


def find(folder: Path, variant: str | None = None) -> list[Path]:
    """``classInd.txt`` and the lists of the first folder (of those below) that has them."""
    folders: dict[Path, list[Path]] = {}
    for path in find_texts(folder, FILE):
        folders.setdefault(path.parent, []).append(path)
    return next((paths for paths in folders.values() if len(paths) > 1), [])


def read(folder: Path, variant: str | None = None) -> AnnotationTable:
    """Read the lists that are there; subsets train1, test1, … test3."""
    paths = find(folder)
    index = [path for path in paths if path.name.lower() == "classind.txt"]
    if not index:
        raise AnnotationError(
            f"{folder}/classInd.txt:1: expected the list of classes, got no such file; "
            "unpack the whole archive of splits"
        )
    classes = read_classes(index[0])
    numbers = {name.casefold(): number for number, name in enumerate(classes)}
    spelling: dict[str, str] = {}  # ids without regard to case; the first list decides
    rows: list[Row] = []
    lists = [path for path in paths if path not in index]
    for path in sorted(lists, key=lambda path: (path.stem[-1], "test" in path.name.lower())):
        for row in read_list(path, classes, numbers):
            rows.append(row._replace(id=spelling.setdefault(row.id.casefold(), row.id)))
    return build_table(classes, rows)


def read_classes(path: Path) -> list[str]:
    """The class names in the order of their numbers, which must be 1, 2, 3, …"""
    classes: list[str] = []
    for where, line in read_lines(path):
        fields = line.split()
        if len(fields) != 2 or fields[0] != str(len(classes) + 1):
            raise AnnotationError(
                f"{where}: expected '{len(classes) + 1} ClassName', got {shorten(line)}; "
                "get the file anew"
            )
        classes.append(fields[1])
    return classes


def read_list(path: Path, classes: list[str], numbers: dict[str, int]) -> Iterator[Row]:
    """The rows of one train or test list."""
    parts = FILE.fullmatch(path.name)
    assert parts is not None
    subset = f"{parts[1].lower()}{parts[2]}"
    for where, line in read_lines(path):
        name, _, number = line.partition(" ")
        video = PurePosixPath(name.replace("\\", "/"))
        expected = numbers.get(video.parent.name.casefold())
        if expected is None or video.suffix.lower() != ".avi":
            raise AnnotationError(
                f"{where}: expected 'Class/v_Class_g01_c01.avi' with a class of classInd.txt, "
                f"got {shorten(line)}; correct or remove the line"
            )
        if number.strip() and number.strip() != str(expected + 1):
            raise AnnotationError(
                f"{where}: expected class number {expected + 1} for {classes[expected]}, "
                f"got {number.strip()!r}; correct or remove the line"
            )
        yield Row(video.stem, (Label(classes[expected]),), subset, where)


def locate(root: Path, table: AnnotationTable) -> Located:
    """Find ``v_X_g01_c01.avi`` and the like below ``root``, in any folders, in any case."""
    index = {annotation.id.casefold(): annotation for annotation in table.annotations}
    return match(root, table, index, lambda path: stem(path).casefold())

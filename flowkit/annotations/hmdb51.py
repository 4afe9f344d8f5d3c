"""Read the annotations of HMDB51: 153 files ``<class>_test_split<k>.txt``, k = 1, 2, 3.

A line is ``name.avi n`` with n = 0 (not used in this split), 1 (train) or 2 (test). The id is the
file name without extension, which is unique across classes. Class ids follow the alphabetical
order.
"""

import re
from collections.abc import Iterator
from pathlib import Path

from flowkit.annotations.source import Located, match_videos
from flowkit.annotations.table import AnnotationTable, Label, Row, build_table
from flowkit.annotations.text import find_text_files, read_lines, shorten
from flowkit.annotations.tree import get_stem
from flowkit.errors import AnnotationError

FILE = re.compile(r"(.+)_test_split([123])\.txt")


def find_files(folder: Path, variant: str | None = None) -> list[Path]:
    """Find the split files in the first folder at or below ``folder`` that has any.

    Args:
        folder: Where to look.
        variant: Ignored; HMDB51 has no variants.

    Returns:
        The paths, sorted; an empty list if there are none.
    """
    paths = find_text_files(folder, FILE)
    return [path for path in paths if path.parent == paths[0].parent]


def read_table(folder: Path, variant: str | None = None) -> AnnotationTable:
    """Read the splits that are present.

    A class that has a file for one split must have a file for every split that is present.

    Args:
        folder: A folder that holds the files, at any depth that `find_text_files` searches.
        variant: Ignored; HMDB51 has no variants.

    Returns:
        The annotations, with the subsets train1, test1, … test3.

    Raises:
        AnnotationError: A file is malformed or missing.
    """
    files: dict[tuple[str, str], Path] = {}
    for path in find_files(folder):
        match = FILE.fullmatch(path.name)
        assert match is not None
        files[match[2], match[1]] = path
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
    """Read the rows of one file, which covers one class and one split.

    Args:
        path: The file.
        name: The class.
        split: The split: "1", "2" or "3".

    Yields:
        One row for each video; its subset is None if the split does not use the video.

    Raises:
        AnnotationError: A line is malformed.
    """
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


def locate_videos(root: Path, table: AnnotationTable) -> Located:
    """Match the videos below ``root`` by file name without extension, whatever their folder.

    Args:
        root: The folder of videos.
        table: The annotations.

    Returns:
        The videos found, and those that are missing or not annotated.
    """
    index = {annotation.id: annotation for annotation in table.annotations}
    return match_videos(root, table, index, get_stem)

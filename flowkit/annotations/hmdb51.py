"""Read the annotations of HMDB51: 153 files ``<class>_test_split<k>.txt``, k = 1, 2, 3.

HMDB51 has three splits: three ways to divide the videos into subsets for training and testing. A
line is ``name.avi n`` with n = 0 (the split does not use the video), 1 (training) or 2 (test), so
the file for split k assigns videos to the subsets ``train<k>`` and ``test<k>``. The id is the file
name without extension, which is unique across classes. Class ids follow the alphabetical order.
"""

import itertools
import re
from collections.abc import Iterator
from pathlib import Path

from flowkit.annotations.source import locate_by_stem
from flowkit.annotations.table import AnnotationTable, Label, Row, build_table, make_error
from flowkit.annotations.text import find_annotation_files, quote_shortened, read_lines

ANNOTATION_FILE = re.compile(r".+_test_split[123]\.txt")


def find_files(folder: Path, variant: str | None = None) -> list[Path]:
    """Find the annotation files, which are all in one folder.

    Args:
        folder: The folder to search, with its subfolders; the first folder with such files is used.
        variant: Ignored; HMDB51 has no variants.

    Returns:
        The paths, sorted; an empty list if there are none.
    """
    return find_annotation_files(folder, ANNOTATION_FILE)


def read_table(folder: Path, variant: str | None = None) -> AnnotationTable:
    """Read the splits that are present.

    A class that has a file for one split must have a file for every split that is present.

    Args:
        folder: The folder to search, as in `find_files`.
        variant: Ignored; HMDB51 has no variants.

    Returns:
        The annotations, with the subsets train1, test1, … test3.

    Raises:
        AnnotationError: A file is malformed or missing.
    """
    paths = find_files(folder)
    classes = {path.stem.rpartition("_test_split")[0] for path in paths}
    splits = {path.stem.rpartition("_test_split")[2] for path in paths}
    rows: list[Row] = []
    for split, class_name in itertools.product(sorted(splits), sorted(classes)):
        path = paths[0].with_name(f"{class_name}_test_split{split}.txt")
        if path not in paths:
            advice = "unpack the whole archive"
            raise make_error(f"{path}:1", "a file for each class and split", "none", advice)
        rows += read_rows(path, class_name, split)
    return build_table(sorted(classes), rows)


def read_rows(path: Path, class_name: str, split: str) -> Iterator[Row]:
    """Read the rows of one file, which covers one class and one split.

    Args:
        path: The file.
        class_name: Name of the class.
        split: Number of the split: "1", "2" or "3".

    Yields:
        One row for each video; its subset is None if the split does not use the video.

    Raises:
        AnnotationError: A line is malformed.
    """
    subsets = {"0": None, "1": f"train{split}", "2": f"test{split}"}
    labels = (Label(class_name),)
    for location, line in read_lines(path):
        fields = line.rsplit(maxsplit=1)
        if len(fields) != 2 or fields[1] not in subsets or not fields[0].endswith(".avi"):
            raise make_error(location, "'name.avi n' with n = 0, 1 or 2", quote_shortened(line))
        yield Row(fields[0].removesuffix(".avi"), labels, subsets[fields[1]], location)


locate_videos = locate_by_stem

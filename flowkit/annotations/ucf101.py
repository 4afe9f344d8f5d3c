"""Read the annotations of UCF101: the class index and the train and test lists of three splits.

A split is one of three ways to divide the videos into a subset for training and one for testing.
``classInd.txt`` has lines ``1 ApplyEyeMakeup``, counted from 1. ``trainlist0k.txt`` has lines
``Class/v_Class_g08_c01.avi 1``, and ``testlist0k.txt`` the same without the number, for k = 1, 2,
3. The id is the file name without extension. Copies of the dataset differ in the case of
``HandstandPushups``, so names are compared without regard to case.
"""

import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from flowkit.annotations.source import LocatedVideos, match_videos
from flowkit.annotations.table import (
    DOWNLOAD_AGAIN,
    AnnotationTable,
    Label,
    Row,
    build_table,
    make_error,
)
from flowkit.annotations.text import find_annotation_files, quote_shortened, read_lines
from flowkit.annotations.video_files import get_stem

ANNOTATION_FILE = re.compile(r"classInd\.txt|(train|test)list0?[123]\.txt", re.IGNORECASE)


def find_files(folder: Path, variant: str | None = None) -> list[Path]:
    """Find ``classInd.txt`` and the lists, which are all in one folder.

    Args:
        folder: The folder to search, with its subfolders; the first folder with at least two of the
            files is used.
        variant: Ignored; UCF101 has no variants.

    Returns:
        The paths, sorted; an empty list if there are none.
    """
    return find_annotation_files(folder, ANNOTATION_FILE, min_files=2)


def read_table(folder: Path, variant: str | None = None) -> AnnotationTable:
    """Read the lists that are present.

    Args:
        folder: The folder to search, as in `find_files`.
        variant: Ignored; UCF101 has no variants.

    Returns:
        The annotations, with the subsets train1, test1, … test3.

    Raises:
        AnnotationError: A file is malformed, or ``classInd.txt`` is missing.
    """
    paths = find_files(folder)
    class_files = [path for path in paths if path.name.lower() == "classind.txt"]
    if not class_files:
        location, advice = f"{folder}/classInd.txt:1", "unpack the whole archive of splits"
        raise make_error(location, "the list of classes", "no such file", advice)
    classes = read_classes(class_files[0])
    class_ids = {name.casefold(): class_id for class_id, name in enumerate(classes)}
    ids_by_casefold: dict[str, str] = {}  # lists may differ in case; the first one decides
    rows: list[Row] = []
    lists = [path for path in paths if path not in class_files]
    for path in sorted(lists, key=lambda path: (path.stem[-1], "test" in path.name.lower())):
        for row in read_rows(path, classes, class_ids):
            rows.append(row._replace(id=ids_by_casefold.setdefault(row.id.casefold(), row.id)))
    return build_table(classes, rows)


def read_classes(path: Path) -> list[str]:
    """Read the class names from ``classInd.txt``.

    Args:
        path: The file.

    Returns:
        The names in the order of their numbers, which must be 1, 2, 3, ….

    Raises:
        AnnotationError: A line is malformed or out of order.
    """
    classes: list[str] = []
    for location, line in read_lines(path):
        fields = line.split()
        if len(fields) != 2 or fields[0] != str(len(classes) + 1):
            raise make_error(
                location, f"'{len(classes) + 1} ClassName'", quote_shortened(line), DOWNLOAD_AGAIN
            )
        classes.append(fields[1])
    return classes


def read_rows(path: Path, classes: list[str], class_ids: dict[str, int]) -> Iterator[Row]:
    """Read the rows of one train or test list.

    Args:
        path: The file.
        classes: Class names in the order of their ids.
        class_ids: Class ids by class name in lower case.

    Yields:
        One row for each video.

    Raises:
        AnnotationError: A line is malformed, or gives the wrong class number.
    """
    subset = re.sub(r"list0?", "", path.stem.lower())
    for location, line in read_lines(path):
        name, _, class_number = line.partition(" ")
        video = PurePosixPath(name.replace("\\", "/"))
        class_id = class_ids.get(video.parent.name.casefold())
        if class_id is None or video.suffix.lower() != ".avi":
            example = "'Class/v_Class_g01_c01.avi' with a class of classInd.txt"
            raise make_error(location, example, quote_shortened(line))
        if class_number.strip() not in ("", str(class_id + 1)):
            expected = f"class number {class_id + 1} for {classes[class_id]}"
            raise make_error(location, expected, repr(class_number.strip()))
        yield Row(video.stem, (Label(classes[class_id]),), subset, location)


def locate_videos(root: Path, table: AnnotationTable) -> LocatedVideos:
    """Find files such as ``v_X_g01_c01.avi`` below ``root`` in any folder, in upper or lower case.

    Args:
        root: The folder of videos.
        table: The annotations.

    Returns:
        The videos found, and those that are missing or not annotated.
    """
    annotations_by_key = {annotation.id.casefold(): annotation for annotation in table.annotations}
    return match_videos(root, table, annotations_by_key, lambda path: get_stem(path).casefold())

"""Read the lists of motion8, flowkit's synthetic dataset: CSV files with the header ``id,label``.

The files are ``train.csv``, ``val.csv`` and ``test.csv``. The id is the path below the folder of
videos, ``<class>/<name>.mp4``. Class ids follow the alphabetical order. Any dataset whose lists
have this form can use this format.
"""

import re
from collections.abc import Iterator
from pathlib import Path

from flowkit.annotations.source import LocatedVideos, match_videos
from flowkit.annotations.table import AnnotationTable, Label, Row, build_table, make_error
from flowkit.annotations.text import find_annotation_files, read_csv

ANNOTATION_FILE = re.compile(r"(train|val|test)\.csv")


def find_files(folder: Path, variant: str | None = None) -> list[Path]:
    """Find the lists, which are all in one folder.

    Args:
        folder: The folder to search, with its subfolders; the first folder with lists is used.
        variant: Ignored; motion8 has no variants.

    Returns:
        The paths, sorted; an empty list if there are none.
    """
    return find_annotation_files(folder, ANNOTATION_FILE)


def read_table(folder: Path, variant: str | None = None) -> AnnotationTable:
    """Read the lists that are present.

    Args:
        folder: The folder to search, as in `find_files`.
        variant: Ignored; motion8 has no variants.

    Returns:
        The annotations, with the subsets train, val and test.

    Raises:
        AnnotationError: A file is malformed.
    """
    rows = [row for path in find_files(folder) for row in read_rows(path)]
    classes = sorted({label.name for row in rows for label in row.labels})
    return build_table(classes, rows)


def read_rows(path: Path) -> Iterator[Row]:
    """Read the rows of one list.

    Args:
        path: The file; its name without extension is the subset.

    Yields:
        One row for each video.

    Raises:
        AnnotationError: A line has no id or no label.
    """
    for location, row in read_csv(path, ["id", "label"]):
        if not (row["id"] and row["label"]):
            actual = f"id {row['id']!r} and label {row['label']!r}"
            raise make_error(location, "'id,label'", actual)
        yield Row(row["id"], (Label(row["label"]),), path.stem, location)


def locate_videos(root: Path, table: AnnotationTable) -> LocatedVideos:
    """Find the videos whose path below ``root`` is an annotated id.

    Args:
        root: The folder of videos.
        table: The annotations.

    Returns:
        The videos found, and those that are missing or not annotated.
    """
    return match_videos(root, table, table.by_id(), str)

"""A folder per class, no annotation files: ``DIR/<class>/….mp4``.

The id is the path below the folder, with extension; the label is the first folder. If all of
the first folders are named like splits (train, val, …), they are subsets and the classes are
one level deeper. A video directly in the folder has no label. Class ids are alphabetical.
"""

from pathlib import Path

from flowkit.annotations.source import Located, Source, settle
from flowkit.annotations.table import Annotation, AnnotationTable, Label
from flowkit.annotations.tree import walk_videos
from flowkit.path_text import text_to_path

SPLITS = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}


def scan(root: Path) -> tuple[AnnotationTable, Located]:
    """Both the table and the sources of the folder, from one walk."""
    found = []
    paths = walk_videos(root)
    folders = [path.split("/")[:-1] for path in paths]
    first_folders = {parts[0].lower() for parts in folders if parts}
    split = bool(first_folders) and first_folders <= SPLITS.keys()
    for path, parts in zip(paths, folders, strict=True):
        subsets = (SPLITS[parts[0].lower()],) if split and parts else ()
        below = parts[1:] if split else parts
        labels = (Label(below[0]),) if below else ()
        found.append(Source(path, root / text_to_path(path), labels, subsets))
    sources, rejected = settle(found)
    classes = sorted({label.name for source in sources for label in source.labels})
    annotations = (Annotation(source.id, source.labels, source.subsets) for source in sources)
    table = AnnotationTable(tuple(classes), tuple(annotations))
    return table, Located(sources=sources, rejected=rejected)


def find(folder: Path, variant: str | None = None) -> list[Path]:
    """No files: the folders themselves are the annotation."""
    return []


def read(folder: Path, variant: str | None = None) -> AnnotationTable:
    """The table of :func:`scan`."""
    return scan(folder)[0]


def locate(root: Path, table: AnnotationTable) -> Located:
    """The sources of :func:`scan`. ``table`` is that of the same folder."""
    return scan(root)[1]

"""The format ``list`` of the catalogue: label files of any kind, described in datasets.yaml."""

import fnmatch
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from flowkit.annotations.label_files.label_list import LabelList
from flowkit.annotations.label_files.listing import read_label_files
from flowkit.annotations.label_files.location import locate_labelled_videos
from flowkit.annotations.label_files.options import LabelOptions
from flowkit.annotations.label_files.templates import parse_template
from flowkit.annotations.source import Format, LocatedVideos
from flowkit.annotations.table import Annotation, AnnotationTable
from flowkit.annotations.text import find_annotation_files
from flowkit.errors import AnnotationError, UsageError

ANY_FILE = re.compile(r"(?!(?i:readme|licen[cs]e)\.).*\.(?:csv|tsv|jsonl?|parquet|txt)")
"""Names of label files, if an entry names none."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ListSettings:
    """How an entry of the catalogue describes its label files."""

    files: tuple[str, ...] = ()
    """Names of the label files; may have ``*``. Default: the names that `ANY_FILE` matches."""
    columns: Mapping[str, str] = field(default_factory=dict)
    """Columns by role, as for ``--columns``; other roles are recognized by the usual names."""
    classes: str | None = None
    """Name of the file that lists the classes, in the folder of the label files; may have ``*``."""
    file_template: str | None = None
    """The file of a row, as for ``--file-template``, but with ``{id}`` only."""

    def __post_init__(self) -> None:
        """Check the columns and the template."""
        LabelOptions(columns=self.columns)
        if self.file_template is not None and parse_template(self.file_template)[0] != ["id"]:
            raise UsageError(
                f"file_template: expected {{id}} as the only name, got {self.file_template!r}"
            )


@dataclass(frozen=True)
class ListedTable(AnnotationTable):
    """Annotations that were read from label files."""

    listing: LabelList = field(default_factory=LabelList, compare=False, repr=False)
    """The rows of the files, which also say what the videos are called."""


def make_list_format(settings: ListSettings) -> Format:
    """Make the format of an entry of the catalogue that describes its own label files.

    Args:
        settings: The key ``list`` of the entry.

    Returns:
        The format, which replaces ``FORMATS["list"]`` for this entry. Ids are those of the label
        files.
    """

    def find_files(folder: Path, variant: str | None = None) -> list[Path]:
        patterns = "|".join(f"(?:{fnmatch.translate(name)})" for name in settings.files)
        paths = find_annotation_files(folder, re.compile(patterns) if patterns else ANY_FILE)
        return [path for path in paths if not fnmatch.fnmatch(path.name, settings.classes or "")]

    def read_table(folder: Path, variant: str | None = None) -> AnnotationTable:
        paths = find_files(folder)
        classes = find_classes(paths[0].parent, settings.classes) if settings.classes else None
        listing = read_label_files(paths, LabelOptions(columns=settings.columns, classes=classes))
        if settings.file_template is not None:
            listing.names = [settings.file_template.format(id=id) for id in listing.ids]
        return make_table(listing)

    def locate_videos(root: Path, table: AnnotationTable) -> LocatedVideos:
        assert isinstance(table, ListedTable)  # from read_table
        located = locate_labelled_videos(root, table.listing, uses_file_ids=True).located
        if located.sources:
            return located
        # Kinetics' columns give clips their times as names, but files may be named by the id alone.
        listing = replace(table.listing, names=table.listing.ids)
        by_id = locate_labelled_videos(root, listing, uses_file_ids=True).located
        return by_id if by_id.sources else located

    return Format(find_files, read_table, locate_videos)


def find_classes(folder: Path, name: str) -> Path:
    """Find the file that lists the classes.

    Args:
        folder: The folder of the label files.
        name: Name of the file; may have ``*``.

    Returns:
        Its path.

    Raises:
        AnnotationError: There is no such file.
    """
    matches = [path for path in sorted(folder.iterdir()) if fnmatch.fnmatch(path.name, name)]
    if not matches:
        raise AnnotationError(
            f"{folder / name}: expected the list of classes, got no such file; download it too"
        )
    return matches[0]


def make_table(listing: LabelList) -> ListedTable:
    """Make annotations whose ids are those of the label files.

    Args:
        listing: The videos of the files.

    Returns:
        The annotations.
    """
    columns = zip(listing.ids, listing.labels, listing.subsets, listing.attributes, strict=True)
    annotations = sorted((Annotation(*values) for values in columns), key=lambda a: a.id)
    return ListedTable(listing.classes, tuple(annotations), listing)

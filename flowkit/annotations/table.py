"""Define the table of annotations that every format is read into."""

import json
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Self

from flowkit.errors import AnnotationError

if TYPE_CHECKING:
    import pyarrow as pa

DOWNLOAD = "download the file again"
"""Advice for a file that is not the official one."""


@dataclass(frozen=True, slots=True)
class Label:
    """One action in a video."""

    name: str
    """Name of the class."""
    start: float | None = None
    """Start in seconds; None if the label holds for the whole video."""
    end: float | None = None
    """End in seconds; None if the label holds for the whole video."""


@dataclass(frozen=True, slots=True)
class Annotation:
    """The annotations of one video."""

    id: str
    """The id of the video."""
    labels: tuple[Label, ...]
    """Its labels; may be empty."""
    subsets: tuple[str, ...]
    """The subsets it belongs to, such as "train"; may be empty."""


class Row(NamedTuple):
    """One line of an annotation file."""

    id: str
    """The id of the video."""
    labels: tuple[Label, ...]
    """The labels that the line gives; empty if it gives none."""
    subset: str | None
    """The subset that the line puts the video in; None if in none."""
    location: str
    """``file:line``, for error messages."""


@dataclass(frozen=True)
class AnnotationTable:
    """All annotations of a dataset.

    Raises:
        AnnotationError: The ids are not unique and sorted (ids that differ only by Unicode
            normalization count as equal), a class is listed twice, or a label is not one of the
            classes.
    """

    classes: tuple[str, ...]
    """Class names in the official order; the index of a name is its class id."""
    annotations: tuple[Annotation, ...]
    """One entry for each video, sorted by id."""

    def __post_init__(self) -> None:
        """Check that ids and classes are unique, and that every label is a class."""
        known = set(self.classes)
        if len(known) != len(self.classes):
            repeated = next(name for name in self.classes if self.classes.count(name) > 1)
            raise AnnotationError(f"class {repeated!r} is listed twice; class names must be unique")
        spellings: dict[str, str] = {}
        previous_id = None
        for id, labels in ((annotation.id, annotation.labels) for annotation in self.annotations):
            if previous_id is not None and id <= previous_id:
                raise AnnotationError(
                    f"ids must be unique and sorted, got {id!r} after {previous_id!r}"
                )
            previous_id = id
            spelling = id if id.isascii() else spellings.setdefault(normalize_unicode(id), id)
            if spelling != id:
                raise AnnotationError(
                    f"ids {spelling!a} and {id!a} differ only by Unicode normalization; rename one "
                    "of the videos"
                )
            for label in labels:
                if label.name not in known:
                    raise AnnotationError(
                        f"video {id!r} has the label {label.name!r}, which is none of the "
                        f"{len(known)} classes"
                    )

    def joined(self, other: "AnnotationTable") -> "AnnotationTable":
        """Return this table updated with another one.

        Class ids of this table stay, and new classes are appended. If ``other`` has every video of
        this table, the result is ``other`` unchanged.

        Args:
            other: Annotations that take precedence for videos in both tables.

        Returns:
            The merged table.
        """
        merged = self.by_id() | other.by_id()
        if len(merged) == len(other.annotations):
            return other
        classes = (*self.classes, *(name for name in other.classes if name not in self.classes))
        return AnnotationTable(classes, tuple(merged[id] for id in sorted(merged)))

    def by_id(self) -> dict[str, Annotation]:
        """Return the annotations by the id of their video."""
        return {annotation.id: annotation for annotation in self.annotations}

    def to_arrow(self) -> "pa.Table":
        """Convert the table for the store's index.

        Returns:
            An Arrow table with the columns ``id: string``, ``labels: list<struct<class: int32,
            start: float64, end: float64>>`` and ``subsets: list<string>``. Its schema metadata
            ``classes`` is the JSON list of class names.
        """
        import pyarrow as pa

        class_ids = {name: index for index, name in enumerate(self.classes)}
        labels = [
            [(class_ids[label.name], label.start, label.end) for label in annotation.labels]
            for annotation in self.annotations
        ]
        subsets = [annotation.subsets for annotation in self.annotations]
        struct = pa.struct({"class": pa.int32(), "start": pa.float64(), "end": pa.float64()})
        columns = {
            "id": pa.array([annotation.id for annotation in self.annotations], pa.string()),
            "labels": pa.array(labels, pa.list_(struct)),
            "subsets": pa.array(subsets, pa.list_(pa.string())),
        }
        return pa.table(columns).replace_schema_metadata({"classes": json.dumps(self.classes)})

    @classmethod
    def from_arrow(cls, table: "pa.Table") -> Self:
        """Convert a table from `to_arrow` back; further columns are ignored.

        Args:
            table: An Arrow table as `to_arrow` makes it.

        Returns:
            The annotations.

        Raises:
            AnnotationError: The table has no class names.
        """
        metadata = table.schema.metadata or {}
        if b"classes" not in metadata:
            raise AnnotationError("the table has no class names (schema metadata 'classes')")
        classes = tuple(json.loads(metadata[b"classes"]))
        columns = (table.column(name).to_pylist() for name in ("id", "labels", "subsets"))
        annotations = []
        for id, values, subsets in zip(*columns, strict=True):
            labels = (
                Label(classes[value["class"]], value["start"], value["end"]) for value in values
            )
            annotations.append(Annotation(id, tuple(labels), tuple(subsets)))
        return cls(classes, tuple(annotations))


def build_table(classes: Iterable[str], rows: Iterable[Row]) -> AnnotationTable:
    """Merge the lines of all files of a dataset into a table.

    A video that several subsets name gets all of them, in the order of the lines. A line without
    labels (the test files of Kinetics) only adds its subset.

    Args:
        classes: Class names in the order of their ids.
        rows: The lines of all files.

    Returns:
        The table.

    Raises:
        AnnotationError: Two lines give one video different labels; the message names both.
    """
    merged: dict[str, tuple[Row, list[str]]] = {}
    for row in rows:
        first, subsets = merged.setdefault(row.id, (row, []))
        if first.labels != row.labels:
            if (first.labels and row.labels) or row.subset in subsets:
                names, other_names = (
                    ", ".join(label.name for label in labels) or "no label"
                    for labels in (first.labels, row.labels)
                )
                expected = f"the labels of {first.location} for video {row.id!r} ({names})"
                advice = "remove one of the two lines"
                raise make_error(row.location, expected, other_names, advice)
            merged[row.id] = (first if first.labels else row, subsets)
        if row.subset is not None and row.subset not in subsets:
            subsets.append(row.subset)
    annotations = (
        Annotation(id, first.labels, tuple(subsets))
        for id, (first, subsets) in sorted(merged.items())
    )
    return AnnotationTable(tuple(classes), tuple(annotations))


def make_error(
    location: str, expected: str, actual: object, advice: str = "correct or remove the line"
) -> AnnotationError:
    """Make the error for a malformed annotation file.

    Args:
        location: ``file:line``.
        expected: What the line should hold.
        actual: What it holds.
        advice: What to do.

    Returns:
        The error, to be raised.
    """
    return AnnotationError(f"{location}: expected {expected}, got {actual}; {advice}")


def normalize_unicode(text: str) -> str:
    """Return ``text`` in Unicode normalization form C, in which ids are compared."""
    return text if text.isascii() else unicodedata.normalize("NFC", text)

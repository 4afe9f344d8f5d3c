"""Define the table of annotations that every format is read into."""

import json
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Self

from flowkit.errors import AnnotationError

if TYPE_CHECKING:
    import pyarrow as pa


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
    where: str
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
        previous = None
        for annotation in self.annotations:
            if previous is not None and annotation.id <= previous:
                raise AnnotationError(
                    f"ids must be unique and sorted, got {annotation.id!r} after {previous!r}"
                )
            previous = annotation.id
            for label in annotation.labels:
                if label.name not in known:
                    raise AnnotationError(
                        f"video {annotation.id!r} has the label {label.name!r}, "
                        f"which is none of the {len(known)} classes"
                    )
        check_normalization(annotation.id for annotation in self.annotations)

    def joined(self, other: "AnnotationTable") -> "AnnotationTable":
        """Return this table updated with another one.

        Class ids of this table stay, and new classes are appended. If ``other`` has every video of
        this table, the result is ``other`` unchanged.

        Args:
            other: Annotations that take precedence for videos in both tables.

        Returns:
            The merged table.
        """
        own_annotations = {annotation.id: annotation for annotation in self.annotations}
        other_annotations = {annotation.id: annotation for annotation in other.annotations}
        if own_annotations.keys() <= other_annotations.keys():
            return other
        merged = own_annotations | other_annotations
        classes = (*self.classes, *(name for name in other.classes if name not in self.classes))
        return AnnotationTable(classes, tuple(merged[id] for id in sorted(merged)))

    def to_arrow(self) -> "pa.Table":
        """Convert the table for the store's index.

        Returns:
            An Arrow table with the columns ``id: string``, ``labels: list<struct<class: int32,
            start: float64, end: float64>>`` and ``subsets: list<string>``. Its schema metadata
            ``classes`` is the JSON list of class names.
        """
        import pyarrow as pa

        ids = {name: index for index, name in enumerate(self.classes)}
        labels = [label for annotation in self.annotations for label in annotation.labels]
        struct = pa.StructArray.from_arrays(
            [
                pa.array([ids[label.name] for label in labels], pa.int32()),
                pa.array([label.start for label in labels], pa.float64()),
                pa.array([label.end for label in labels], pa.float64()),
            ],
            names=["class", "start", "end"],
        )
        subsets = [subset for annotation in self.annotations for subset in annotation.subsets]
        columns = {
            "id": pa.array([annotation.id for annotation in self.annotations], pa.string()),
            "labels": pa.ListArray.from_arrays(
                compute_offsets([len(annotation.labels) for annotation in self.annotations]), struct
            ),
            "subsets": pa.ListArray.from_arrays(
                compute_offsets([len(annotation.subsets) for annotation in self.annotations]),
                pa.array(subsets, pa.string()),
            ),
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
        annotations = tuple(
            Annotation(
                id=id,
                labels=tuple(
                    Label(classes[label["class"]], label["start"], label["end"]) for label in labels
                ),
                subsets=tuple(subsets),
            )
            for id, labels, subsets in zip(*columns, strict=True)
        )
        return cls(classes, annotations)


def compute_offsets(lengths: Sequence[int]) -> "pa.Array":
    """Compute the offsets of an Arrow list column.

    Args:
        lengths: Length of each list.

    Returns:
        An int32 array with one element more than ``lengths``.
    """
    import numpy as np
    import pyarrow as pa

    ends = np.zeros(len(lengths) + 1, dtype=np.int32)
    np.cumsum(lengths, out=ends[1:])
    return pa.array(ends)


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
                raise AnnotationError(
                    f"{row.where}: expected the labels of {first.where} for video {row.id!r} "
                    f"({format_labels(first.labels)}), got {format_labels(row.labels)}; remove one "
                    "of the two lines"
                )
            merged[row.id] = (first if first.labels else row, subsets)
        if row.subset is not None and row.subset not in subsets:
            subsets.append(row.subset)
    return AnnotationTable(
        classes=tuple(classes),
        annotations=tuple(
            Annotation(id, merged[id][0].labels, tuple(merged[id][1])) for id in sorted(merged)
        ),
    )


def format_labels(labels: tuple[Label, ...]) -> str:
    """Return the names of the labels, for error messages."""
    return ", ".join(label.name for label in labels) or "no label"


def normalize_unicode(text: str) -> str:
    """Return ``text`` in Unicode normalization form C, in which ids are compared."""
    return text if text.isascii() else unicodedata.normalize("NFC", text)


def check_normalization(ids: Iterable[str]) -> None:
    """Check that no two ids differ only by Unicode normalization.

    Args:
        ids: Ids of videos.

    Raises:
        AnnotationError: Two ids differ only by Unicode normalization.
    """
    seen: dict[str, str] = {}
    for id in ids:
        if not id.isascii() and seen.setdefault(normalize_unicode(id), id) != id:
            raise AnnotationError(
                f"ids {seen[normalize_unicode(id)]!a} and {id!a} differ only by Unicode "
                "normalization; rename one of the videos"
            )

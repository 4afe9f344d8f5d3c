"""Define the table of annotations that every format is read into."""

import json
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, NamedTuple, Self

from flowkit.errors import AnnotationError

if TYPE_CHECKING:
    import pyarrow as pa

DOWNLOAD_AGAIN = "download the file again"
"""What to do about a file that is not the official one: the end of an error message."""
NO_ATTRIBUTES: Mapping[str, str] = {}
"""The attributes of a video that has none: one object for all, which nobody changes."""


@dataclass(frozen=True, slots=True)
class Label:
    """One class that occurs in a video, such as an action, and when it occurs."""

    name: str
    """Name of the class."""
    start: float | None = None
    """Start in seconds; None if the label applies to the whole video."""
    end: float | None = None
    """End in seconds; None if the label applies to the whole video."""


@dataclass(frozen=True, slots=True)
class Annotation:
    """Everything that the annotation files say about one video."""

    id: str
    """The id of the video."""
    labels: tuple[Label, ...]
    """Its labels; may be empty."""
    subsets: tuple[str, ...]
    """The subsets it belongs to, such as "train"; may be empty."""
    attributes: Mapping[str, str] = field(default_factory=lambda: NO_ATTRIBUTES, hash=False)
    """Other columns of a label file by name, such as ``person``; may be empty."""


class Row(NamedTuple):
    """What one row of an annotation file says about one video."""

    id: str
    """The id of the video."""
    labels: tuple[Label, ...]
    """The labels in the row; empty if it has none."""
    subset: str | None
    """The subset that the row assigns the video to; None if it assigns none."""
    location: str
    """``file:line``, for error messages."""


@dataclass(frozen=True)
class AnnotationTable:
    """All annotations of a dataset.

    Raises:
        AnnotationError: The ids are not unique and sorted (ids that differ only by Unicode
            normalization count as equal), a class is listed twice or is not valid Unicode, or a
            label is not one of the classes.
    """

    classes: tuple[str, ...]
    """Class names in the official order; the index of a name is its class id."""
    annotations: tuple[Annotation, ...]
    """One entry for each video, sorted by id."""

    def __post_init__(self) -> None:
        """Check that ids and classes are unique, and that every label is a class."""
        class_names = set(self.classes)
        if len(class_names) != len(self.classes):
            repeated = next(name for name in self.classes if self.classes.count(name) > 1)
            raise AnnotationError(f"class {repeated!r} is listed twice; class names must be unique")
        for name in self.classes:
            try:
                name.encode()
            except UnicodeEncodeError:
                problem = "is not valid Unicode, so it cannot be stored; correct it"
                raise AnnotationError(f"the class name {name!a} {problem}") from None
        ids_by_nfc: dict[str, str] = {}
        previous_id = None
        for id, labels in ((annotation.id, annotation.labels) for annotation in self.annotations):
            if previous_id is not None and id <= previous_id:
                raise AnnotationError(
                    f"ids must be unique and sorted, got {id!r} after {previous_id!r}"
                )
            previous_id = id
            equal_id = id if id.isascii() else ids_by_nfc.setdefault(normalize_unicode(id), id)
            if equal_id != id:
                raise AnnotationError(
                    f"ids {equal_id!a} and {id!a} differ only by Unicode normalization; rename one "
                    "of the videos"
                )
            for label in labels:
                if label.name not in class_names:
                    raise AnnotationError(
                        f"video {id!r} has the label {label.name!r}, which is none of the "
                        f"{len(class_names)} classes"
                    )

    def merged_with(self, newer: "AnnotationTable") -> "AnnotationTable":
        """Return this table updated with a newer one.

        If ``newer`` has every video of this table, it replaces this table: the result is ``newer``
        itself, with its own class ids. Otherwise the classes of this table keep their ids, and
        classes that only ``newer`` has are appended.

        A table in which no video has labels says nothing about labels, so those of this table are
        kept. The same holds for subsets and for attributes.

        Args:
            newer: The newer table, whose annotations are used for videos in both tables.

        Returns:
            The merged table.
        """
        older_by_id = self.by_id()
        newer = newer.filled_from(self.classes, older_by_id)
        merged = older_by_id | newer.by_id()
        if len(merged) == len(newer.annotations):
            return newer
        known = set(self.classes)
        classes = (*self.classes, *(name for name in newer.classes if name not in known))
        return AnnotationTable(classes, tuple(merged[id] for id in sorted(merged)))

    def filled_from(self, classes: tuple[str, ...], older: Mapping[str, Annotation]) -> Self:
        """Fill labels, subsets or attributes that no video has here from older annotations.

        Args:
            classes: The classes of the older annotations.
            older: The older annotations by id.

        Returns:
            The table; this one if it has labels, subsets and attributes, or the older have none.
        """
        missing_parts = [
            name
            for name in ("labels", "subsets", "attributes")
            if not any(getattr(annotation, name) for annotation in self.annotations)
            and any(getattr(annotation, name) for annotation in older.values())
        ]
        if not missing_parts:
            return self
        annotations = []
        for annotation in self.annotations:
            kept = older.get(annotation.id)
            parts = {name: getattr(kept, name) for name in missing_parts} if kept else {}
            annotations.append(replace(annotation, **parts))
        keeps_labels = "labels" in missing_parts
        return type(self)(classes if keeps_labels else self.classes, tuple(annotations))

    def by_id(self) -> dict[str, Annotation]:
        """Return the annotations by the id of their video."""
        return {annotation.id: annotation for annotation in self.annotations}

    def to_arrow(self) -> "pa.Table":
        """Convert the table for the store's index.

        Returns:
            An Arrow table with the columns ``id: string``, ``labels: list<struct<class: int32,
            start: float64, end: float64>>`` and ``subsets: list<string>``; if any video has
            attributes, also ``attributes: map<string, string>``. Its schema metadata ``classes`` is
            the JSON list of class names.
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
        if any(annotation.attributes for annotation in self.annotations):
            pairs = [list(annotation.attributes.items()) for annotation in self.annotations]
            columns["attributes"] = pa.array(pairs, pa.map_(pa.string(), pa.string()))
        return pa.table(columns).replace_schema_metadata({"classes": json.dumps(self.classes)})

    @classmethod
    def from_arrow(cls, table: "pa.Table") -> Self:
        """Convert a table of `to_arrow` back; other columns of it are ignored.

        Args:
            table: An Arrow table as `to_arrow` returns it.

        Returns:
            The annotations.

        Raises:
            AnnotationError: The table has no class names.
        """
        metadata = table.schema.metadata or {}
        if b"classes" not in metadata:
            raise AnnotationError("the table has no class names (schema metadata 'classes')")
        classes = tuple(json.loads(metadata[b"classes"]))
        columns = [table.column(name).to_pylist() for name in ("id", "labels", "subsets")]
        has_attributes = "attributes" in table.column_names
        pairs = table.column("attributes").to_pylist() if has_attributes else [()] * len(columns[0])
        annotations = []
        for id, structs, subsets, attributes in zip(*columns, pairs, strict=True):
            labels = (
                Label(classes[struct["class"]], struct["start"], struct["end"])
                for struct in structs
            )
            kept = dict(attributes) if attributes else NO_ATTRIBUTES
            annotations.append(Annotation(id, tuple(labels), tuple(subsets), kept))
        return cls(classes, tuple(annotations))


def build_table(classes: Iterable[str], rows: Iterable[Row]) -> AnnotationTable:
    """Merge the rows of all annotation files of a dataset into a table.

    A video that occurs in several subsets gets all of them, in the order of the rows. A row without
    labels, as in the test files of Kinetics, only adds its subset.

    Args:
        classes: Class names in the order of their ids.
        rows: The rows of all files.

    Returns:
        The table.

    Raises:
        AnnotationError: Two rows give one video different labels, or one subset has a video with
            labels and again without; the message names both rows.
    """
    merged: dict[str, tuple[Row, list[str]]] = {}
    for row in rows:
        kept, subsets = merged.setdefault(row.id, (row, []))
        if kept.labels != row.labels:
            # The labels may differ only if one row has none and the rows are of different subsets.
            if (kept.labels and row.labels) or row.subset in subsets:
                names, other_names = (
                    ", ".join(label.name for label in labels) or "no label"
                    for labels in (kept.labels, row.labels)
                )
                expected = f"the labels of {kept.location} for video {row.id!r} ({names})"
                advice = "remove one of the two lines"
                raise make_error(row.location, expected, other_names, advice)
            merged[row.id] = (kept if kept.labels else row, subsets)
        if row.subset is not None and row.subset not in subsets:
            subsets.append(row.subset)
    annotations = (
        Annotation(id, kept.labels, tuple(subsets))
        for id, (kept, subsets) in sorted(merged.items())
    )
    return AnnotationTable(tuple(classes), tuple(annotations))


def make_error(
    location: str, expected: str, actual: object, advice: str = "correct or remove the line"
) -> AnnotationError:
    """Make the error for a malformed row of an annotation file.

    Args:
        location: ``file:line``.
        expected: What was expected there, as a phrase.
        actual: What is there instead.
        advice: What the user should do.

    Returns:
        The error, to be raised.
    """
    return AnnotationError(f"{location}: expected {expected}, got {actual}; {advice}")


def normalize_unicode(text: str) -> str:
    """Return ``text`` in Unicode normalization form C, in which ids are compared."""
    return text if text.isascii() else unicodedata.normalize("NFC", text)

"""The one table that every annotation format is read into."""

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
    """One action in a video: the class ``name``, and ``start`` and ``end`` in seconds.

    Both times are None where the action is that of the whole video.
    """

    name: str
    start: float | None = None
    end: float | None = None


@dataclass(frozen=True, slots=True)
class Annotation:
    """What the official files say of one video: its labels (perhaps none) and its subsets."""

    id: str
    labels: tuple[Label, ...]
    subsets: tuple[str, ...]


class Row(NamedTuple):
    """One line of an annotation file. ``subset`` is None where the line puts the video in none;
    ``where`` is ``file:line``, for messages.
    """

    id: str
    labels: tuple[Label, ...]
    subset: str | None
    where: str


@dataclass(frozen=True)
class AnnotationTable:
    """All annotations of a dataset.

    ``classes`` in the official order, so that a name's index is its class id; ``annotations``
    sorted by id. Raises AnnotationError if the ids are not unique and sorted (ids that differ
    only by Unicode normalization count as equal), or a label is none of ``classes``.
    """

    classes: tuple[str, ...]
    annotations: tuple[Annotation, ...]

    def __post_init__(self) -> None:
        known = set(self.classes)
        if len(known) != len(self.classes):
            twice = next(name for name in self.classes if self.classes.count(name) > 1)
            raise AnnotationError(f"class {twice!r} is listed twice; class names must be unique")
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
        """This table with what ``other`` says, which counts where both speak of a video.

        Class ids stay as they are here, and new classes come after them; but where ``other``
        speaks of every video of this table, it is the result as it is.
        """
        mine = {annotation.id: annotation for annotation in self.annotations}
        theirs = {annotation.id: annotation for annotation in other.annotations}
        if mine.keys() <= theirs.keys():
            return other
        both = mine | theirs
        classes = (*self.classes, *(name for name in other.classes if name not in self.classes))
        return AnnotationTable(classes, tuple(both[id] for id in sorted(both)))

    def to_arrow(self) -> "pa.Table":
        """The table for the store's index.

        Columns: ``id: string``, ``labels: list<struct<class: int32, start: float64,
        end: float64>>``, ``subsets: list<string>``. Schema metadata ``classes`` is the JSON
        list of class names.
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
                offsets([len(annotation.labels) for annotation in self.annotations]), struct
            ),
            "subsets": pa.ListArray.from_arrays(
                offsets([len(annotation.subsets) for annotation in self.annotations]),
                pa.array(subsets, pa.string()),
            ),
        }
        return pa.table(columns).replace_schema_metadata({"classes": json.dumps(self.classes)})

    @classmethod
    def from_arrow(cls, table: "pa.Table") -> Self:
        """Invert :meth:`to_arrow`; further columns are ignored."""
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


def offsets(lengths: Sequence[int]) -> "pa.Array":
    """The int32 offsets of a list column whose lists have the given lengths."""
    import numpy as np
    import pyarrow as pa

    ends = np.zeros(len(lengths) + 1, dtype=np.int32)
    np.cumsum(lengths, out=ends[1:])
    return pa.array(ends)


def build_table(classes: Iterable[str], rows: Iterable[Row]) -> AnnotationTable:
    """Merge the lines of all files of a dataset into a table.

    A video that several subsets name gets all of them, in the order they came. A line without
    labels (the test files of Kinetics) adds its subset only. Lines that give one video
    different labels raise an AnnotationError that names both lines.
    """
    merged: dict[str, tuple[Row, list[str]]] = {}
    for row in rows:
        first, subsets = merged.setdefault(row.id, (row, []))
        if first.labels != row.labels:
            if (first.labels and row.labels) or row.subset in subsets:
                raise AnnotationError(
                    f"{row.where}: expected the labels of {first.where} for video {row.id!r} "
                    f"({names(first.labels)}), got {names(row.labels)}; remove one of the two lines"
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


def names(labels: tuple[Label, ...]) -> str:
    """The labels in words, for messages."""
    return ", ".join(label.name for label in labels) or "no label"


def normalize(text: str) -> str:
    """``text`` in Unicode normalization form C, in which ids are compared."""
    return text if text.isascii() else unicodedata.normalize("NFC", text)


def check_normalization(ids: Iterable[str]) -> None:
    """Raise AnnotationError where two ids differ only by Unicode normalization."""
    seen: dict[str, str] = {}
    for id in ids:
        if not id.isascii() and seen.setdefault(normalize(id), id) != id:
            raise AnnotationError(
                f"ids {seen[normalize(id)]!a} and {id!a} differ only by Unicode "
                "normalization; rename one of the videos"
            )

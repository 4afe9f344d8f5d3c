"""Read and write ``annotations.arrow``, the labels and subsets by video id.

It may also list videos that are not in the store yet. index.py merges it into the index.
"""

import hashlib
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from flowkit.errors import AnnotationError, CorruptError, StoreError
from flowkit.store.format.atomic import write_atomic
from flowkit.store.format.header import read_header
from flowkit.store.format.locks import make_lock_folder, wait_for_lock
from flowkit.store.format.video_values import Check, check_values, is_amount
from flowkit.store.index_file import LABELS, SUBSETS, check_class_ids, is_sorted
from flowkit.store.split_summary import SplitRecord

if TYPE_CHECKING:
    from flowkit.annotations.table import AnnotationTable


def write_annotations(
    root: str | os.PathLike[str], table: "AnnotationTable", splits: Sequence[SplitRecord] = ()
) -> None:
    """Replace ``annotations.arrow``; call ``rebuild_index`` afterwards to merge it.

    Args:
        root: Folder of the store.
        table: The annotations.
        splits: How the subsets were made, if by split.py: the schema metadata ``splits``, as JSON.

    Raises:
        AnnotationError: A label has a time that is not a number, so nothing is written.
    """
    path = Path(root)
    read_header(path)
    rows = table.to_arrow()
    try:
        check_annotation_rows(rows)
    except ValueError as error:
        raise AnnotationError(f"{root}: expected annotations to store, got {error}") from None
    if splits:
        records = json.dumps([asdict(record) for record in splits])
        metadata = rows.schema.metadata | {b"splits": records.encode()}
        rows = rows.replace_schema_metadata(metadata)
    content = serialize_batches(rows.schema, rows.to_batches())
    with wait_for_lock(make_lock_folder(path) / "index"):
        write_atomic(path / "annotations.arrow", content)


def update_annotations(
    root: str | os.PathLike[str], newer: "AnnotationTable", *, keep_division: bool = False
) -> bool:
    """Merge newer annotations into ``annotations.arrow``; it is not touched if nothing changes.

    If ``newer`` names no subsets at all, as the names of folders do, the videos keep theirs. If it
    names some, they replace the subsets that split.py made, unless ``keep_division`` is set.

    Args:
        root: Folder of the store.
        newer: The annotations to merge; they are used for videos that both have.
        keep_division: Whether subsets that split.py made are kept. A video that was not annotated
            before gets those of ``newer`` only where one subset was divided further; where all
            videos were divided, it gets none, so that the two divisions are not mixed.

    Returns:
        Whether subsets that ``newer`` names are not used, because a division is kept.

    Raises:
        CorruptError: The stored annotations are broken.
    """
    from flowkit.annotations.table import AnnotationTable

    path = Path(root)
    read_header(path)  # a folder that is no store gets no lock files
    with lock_annotations(path):
        rows = read_annotation_rows(path)
        if rows is None:
            write_annotations(path, newer)
            return False
        stored, splits = AnnotationTable.from_arrow(rows), read_split_records(rows)
        base, kept_splits = stored, splits
        names_subsets = any(annotation.subsets for annotation in newer.annotations)
        is_kept = keep_division and bool(splits)
        divides_all = any(record.only is None for record in splits)
        if names_subsets and not is_kept:
            kept_splits = []
            base = replace_subsets(stored, {}) if divides_all else stored
        merged = merge_tables(base, newer)
        unused = False
        if is_kept or not names_subsets:
            later = {} if divides_all else {a.id: a.subsets for a in newer.annotations}
            kept = replace_subsets(merged, later | {a.id: a.subsets for a in stored.annotations})
            unused, merged = names_subsets and kept != merged, kept
        if (merged, kept_splits) != (stored, splits):
            write_annotations(path, merged, kept_splits)
    return unused


def lock_annotations(root: Path) -> AbstractContextManager[None]:
    """Lock ``annotations.arrow`` between reading and replacing it; wait until that is possible."""
    return wait_for_lock(make_lock_folder(root) / "annotations")


def merge_tables(stored: "AnnotationTable", newer: "AnnotationTable") -> "AnnotationTable":
    """Merge tables, as `AnnotationTable.merged_with`, and keep stored videos without labels.

    These use no class ids, so they do not make the stored classes keep theirs.
    """
    ids = {annotation.id for annotation in newer.annotations}
    unlabelled = {a.id: a for a in stored.annotations if not a.labels and a.id not in ids}
    labelled = tuple(a for a in stored.annotations if a.id not in unlabelled)
    merged = replace(stored, annotations=labelled).merged_with(newer)
    if not unlabelled:
        return merged
    by_id = merged.by_id() | unlabelled
    return replace(merged, annotations=tuple(by_id[id] for id in sorted(by_id)))


def replace_subsets(
    table: "AnnotationTable", subsets: Mapping[str, tuple[str, ...]]
) -> "AnnotationTable":
    """Return a table with other subsets by video id; a video that is not listed gets none."""
    annotations = (replace(a, subsets=subsets.get(a.id, ())) for a in table.annotations)
    return replace(table, annotations=tuple(annotations))


def read_annotations(root: str | os.PathLike[str]) -> "AnnotationTable | None":
    """Read the annotations of all videos, extracted or not; None if the store has none."""
    from flowkit.annotations.table import AnnotationTable

    table = read_annotation_rows(Path(root))
    return None if table is None else AnnotationTable.from_arrow(table)


def read_split_records(rows: Any) -> list[SplitRecord]:
    """Read how the subsets of annotations were made, if by split.py; else an empty list.

    Args:
        rows: The ``pyarrow.Table`` of the annotations, or None.

    Raises:
        CorruptError: The record is broken.
    """
    text = (rows.schema.metadata or {}).get(b"splits", b"[]") if rows is not None else b"[]"
    try:
        records = json.loads(text)
        for values in records:
            check_values(values, SPLIT)
        return [SplitRecord(**values) for values in records]
    except (ValueError, TypeError, RecursionError) as error:
        raise CorruptError(
            f"annotations.arrow: expected how the subsets were made ({error}); write the "
            "annotations again with `flowkit index`"
        ) from None


SPLIT: dict[str, Check] = {
    "fractions": lambda value: isinstance(value, dict) and all(map(is_amount, value.values())),
    "group_by": lambda value: isinstance(value, str | None),
    "seed": lambda value: type(value) is int,
    "only": lambda value: isinstance(value, str | None),
}
"""Values of the record of a division."""


def read_annotation_rows(root: Path) -> Any:
    """Read ``annotations.arrow`` as a ``pyarrow.Table``; None if it does not exist.

    Raises:
        CorruptError: The file is broken.
    """
    path = root / "annotations.arrow"
    try:
        table = pa.ipc.open_file(pa.py_buffer(path.read_bytes())).read_all()
        check_annotation_rows(table)
    except FileNotFoundError:
        return None
    except PermissionError as error:
        raise StoreError(f"cannot read {path}: {error.strerror}; check its permissions") from None
    except (pa.ArrowException, OSError, ValueError, MemoryError, RecursionError) as error:
        reason = " ".join(str(error).split())
        raise CorruptError(
            f"{path}: expected annotations ({reason}); write them again with `flowkit index S "
            "--labels FILE` or `--dataset NAME`"
        ) from None
    return table


def check_annotation_rows(table: Any) -> None:
    """Check the columns, classes and values of annotations, since Arrow trusts those of a file.

    Raises:
        ValueError: They are not those that `AnnotationTable.to_arrow` makes.
    """
    table.validate(full=True)
    classes = json.loads((table.schema.metadata or {}).get(b"classes", b"null"))
    if not isinstance(classes, list) or not all(isinstance(name, str) for name in classes):
        raise ValueError("no class names")
    kinds = {"id": (pa.string(), pa.large_string()), "labels": (LABELS,), "subsets": (SUBSETS,)}
    for name, allowed in kinds.items():
        if table.schema.get_all_field_indices(name) != [table.schema.get_field_index(name)]:
            raise ValueError(f"no column {name}")
        column = table[name]
        if column.type not in allowed or column.null_count:
            raise ValueError(f"no column {name} of type {allowed[0]}")
        for chunk in column.chunks:
            if name == "labels":
                check_class_ids(chunk, len(classes))
                times = (chunk.values.field(name) for name in ("start", "end"))
                if any(pc.any(pc.is_nan(column)).as_py() for column in times):
                    raise ValueError("a label whose start or end is not a number")
            if name == "subsets" and chunk.values.null_count:
                raise ValueError("no name of a subset")
    if "attributes" in table.schema.names and not pa.types.is_map(
        table.schema.field("attributes").type
    ):
        raise ValueError("attributes of another type")
    # Counting the different ids of 250,000 videos takes 0.2 s, and `is_sorted` a few milliseconds.
    if (
        not is_sorted(table["id"].combine_chunks())
        and pc.count_distinct(table["id"]).as_py() != table.num_rows
    ):
        raise ValueError("an id that occurs twice")


def serialize_batches(schema: Any, batches: Iterable[Any]) -> bytes:
    """Return an Arrow file of these batches."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, schema) as writer:
        for batch in batches:
            writer.write_batch(batch)
    content: bytes = sink.getvalue().to_pybytes()
    return content


def annotations_digest(root: Path) -> str | None:
    """Return the BLAKE2b-128 digest of ``annotations.arrow`` in hexadecimal, or None."""
    try:
        content = (root / "annotations.arrow").read_bytes()
    except FileNotFoundError:
        return None
    return hashlib.blake2b(content, digest_size=16).hexdigest()

"""Read and write ``annotations.arrow``, the labels and subsets by video id.

It may also list videos that are not in the store yet. index.py merges it into the index.
"""

import hashlib
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from flowkit.errors import CorruptError
from flowkit.store.format.atomic import write_atomic
from flowkit.store.format.header import read_header
from flowkit.store.format.locks import make_lock_folder, wait_for_lock

if TYPE_CHECKING:
    from flowkit.annotations.table import AnnotationTable


def write_annotations(
    root: str | os.PathLike[str], table: "AnnotationTable", splits: Sequence[Mapping[str, Any]] = ()
) -> None:
    """Replace ``annotations.arrow``; call ``rebuild_index`` afterwards to merge it.

    Args:
        root: Folder of the store.
        table: The annotations.
        splits: How the subsets were made, if by split.py: the schema metadata ``splits``, as JSON.
    """
    path = Path(root)
    read_header(path)
    rows = table.to_arrow()
    if splits:
        metadata = rows.schema.metadata | {b"splits": json.dumps(splits).encode()}
        rows = rows.replace_schema_metadata(metadata)
    content = serialize_batches(rows.schema, rows.to_batches())
    with wait_for_lock(make_lock_folder(path) / "index"):
        write_atomic(path / "annotations.arrow", content)


def read_annotations(root: str | os.PathLike[str]) -> "AnnotationTable | None":
    """Read the annotations of all videos, extracted or not; None if the store has none."""
    from flowkit.annotations.table import AnnotationTable

    table = read_annotation_rows(Path(root))
    return None if table is None else AnnotationTable.from_arrow(table)


def read_annotation_rows(root: Path) -> Any:
    """Read ``annotations.arrow`` as a ``pyarrow.Table``; None if it does not exist.

    Raises:
        CorruptError: The file is broken.
    """
    path = root / "annotations.arrow"
    try:
        return read_table(path)
    except FileNotFoundError:
        return None
    except pa.ArrowException as error:
        raise CorruptError(
            f"{path}: expected annotations ({error}); write them again with `flowkit "
            "index --dataset NAME`"
        ) from None


def read_table(path: Path) -> Any:
    """Read an Arrow file into a table in memory."""
    return pa.ipc.open_file(pa.py_buffer(path.read_bytes())).read_all()


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

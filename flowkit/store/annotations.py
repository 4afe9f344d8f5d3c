"""Read and write ``annotations.arrow``, the labels and subsets by video id.

It may also list videos that are not in the store yet. index.py joins it with the videos that are.
"""

import hashlib
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from flowkit.errors import CorruptError
from flowkit.store.format.atomic import write_atomic
from flowkit.store.format.header import read_header
from flowkit.store.format.locks import exclusive, make_locks

if TYPE_CHECKING:
    from flowkit.annotations.table import AnnotationTable


def write_annotations(root: str | os.PathLike[str], table: "AnnotationTable") -> None:
    """Replace ``annotations.arrow``; call ``rebuild_index`` afterwards to join it."""
    path = Path(root)
    read_header(path)
    sink = pa.BufferOutputStream()
    arrow = table.to_arrow()
    with pa.ipc.new_file(sink, arrow.schema) as writer:
        writer.write_table(arrow)
    with exclusive(make_locks(path) / "index"):
        write_atomic(path / "annotations.arrow", sink.getvalue().to_pybytes())


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
            f"{path}: expected annotations ({error}); join them again with `flowkit index`"
        ) from None


def read_table(path: Path) -> Any:
    """Read an Arrow file into a table in memory."""
    with path.open("rb") as file:
        reader = pa.ipc.open_file(file)
        batches = [reader.get_batch(number) for number in range(reader.num_record_batches)]
        return pa.Table.from_batches(batches, reader.schema)


def annotations_digest(root: Path) -> str | None:
    """Return the BLAKE2b-128 digest of ``annotations.arrow`` in hexadecimal, or None."""
    try:
        return hashlib.blake2b(
            (root / "annotations.arrow").read_bytes(), digest_size=16
        ).hexdigest()
    except FileNotFoundError:
        return None

"""annotations.arrow: labels and subsets by video id, as they were last joined.

Also of videos that are not in the store yet; index.py joins them to those that are.
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
    """Replace annotations.arrow; ``rebuild_index`` then joins them."""
    path = Path(root)
    read_header(path)
    sink = pa.BufferOutputStream()
    arrow = table.to_arrow()
    with pa.ipc.new_file(sink, arrow.schema) as writer:
        writer.write_table(arrow)
    with exclusive(make_locks(path) / "index"):
        write_atomic(path / "annotations.arrow", sink.getvalue().to_pybytes())


def read_annotations(root: str | os.PathLike[str]) -> "AnnotationTable | None":
    """The annotations last joined, also of videos that were not extracted; None without any."""
    from flowkit.annotations.table import AnnotationTable

    table = read_annotation_rows(Path(root))
    return None if table is None else AnnotationTable.from_arrow(table)


def read_annotation_rows(root: Path) -> Any:
    """annotations.arrow as a table; None where there is none, CorruptError where it is broken."""
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
    """An Arrow file as a table, in memory."""
    with path.open("rb") as file:
        reader = pa.ipc.open_file(file)
        batches = [reader.get_batch(number) for number in range(reader.num_record_batches)]
        return pa.Table.from_batches(batches, reader.schema)


def annotations_digest(root: Path) -> str | None:
    """BLAKE2b-128 of annotations.arrow, hex; None where there is none."""
    try:
        return hashlib.blake2b(
            (root / "annotations.arrow").read_bytes(), digest_size=16
        ).hexdigest()
    except FileNotFoundError:
        return None

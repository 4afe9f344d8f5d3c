"""Open ``index.arrow``, and refuse a damaged one.

Everything that reads the index opens it here. Opening checks the schema, the metadata and the sizes
of all buffers, which takes the same short time for any number of videos. :func:`check_column` and
:func:`check_rows` also check values, since Arrow trusts the offsets and class ids of a file: a
damaged one could end the process.
"""

import json
import os
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from flowkit.errors import CorruptError, StoreError

LABELS = pa.list_(
    pa.struct([("class", pa.int32()), ("start", pa.float64()), ("end", pa.float64())])
)
SUBSETS = pa.list_(pa.string())
LOCATION = pa.struct([(name, pa.int32()) for name in ("shard", "batch", "first_row", "rows")])
"""Type of a stream's column: where the rows of a video are stored."""
METADATA = [
    ("id", pa.large_string()),
    ("frames", pa.int32()),
    ("fps", pa.float64()),
    ("width", pa.int32()),
    ("height", pa.int32()),
    ("source", pa.large_string()),
    ("size", pa.int64()),
    ("mtime_ns", pa.int64()),
    ("digest", pa.binary(16)),
    ("warnings", pa.int32()),
    ("duration", pa.float64()),
    ("motion", pa.float64()),
    ("motion_p95", pa.float64()),
    ("mixed_sources", pa.bool_()),
]
"""Columns that describe a video, with their types; README.md explains them."""
ADDED_COLUMNS = ("duration", "motion", "motion_p95", "mixed_sources")
"""Columns that an index of an older version lacks. They are null where they are unknown."""
COUNTS = ("frames", "width", "height", "warnings")
"""Columns whose values are at least 0."""


@dataclass(frozen=True, slots=True)
class IndexFile:
    """An open index whose values are not checked yet."""

    batch: Any
    """The rows of the whole index as a ``pyarrow.RecordBatch``."""
    version: int
    """Its version."""
    classes: tuple[str, ...]
    """Class names, by class id."""
    shards: list[str]
    """Shard names (``folder/uuid``), by shard index."""
    records: list[tuple[int, int, int]]
    """(record size, record time, shard size) of each shard; see README.md."""
    annotations: str | None
    """Digest of the annotations that it was built from."""
    dataset: str | None
    """Name of the dataset."""


def open_index(root: Path, *, in_memory: bool = False) -> IndexFile:
    """Open the index of a store.

    Args:
        root: Folder of the store.
        in_memory: Whether to read the file into memory and to check all of its values, instead of
            mapping it.

    Raises:
        StoreError: There is no index, or it cannot be read.
        CorruptError: The index is damaged.
    """
    path = root / "index.arrow"
    try:
        source = path.read_bytes() if in_memory else pa.memory_map(os.fsencode(path))
        reader = pa.ipc.open_file(source)
        if reader.num_record_batches != 1:
            raise ValueError(f"{reader.num_record_batches} batches instead of one")
        check_schema(reader.schema)
        batch = reader.get_batch(0)
        batch.validate()
        index = parse_metadata(batch)
    except FileNotFoundError:
        raise StoreError(
            f"{root}: expected an index, found none; make it with `flowkit index {root}`"
        ) from None
    except (pa.ArrowException, OSError, ValueError, KeyError, TypeError, MemoryError) as error:
        if isinstance(error, OSError) and error.errno is not None:  # not from Arrow's parser
            reason = os.strerror(error.errno)
            raise StoreError(f"cannot read {path}: {reason}; correct that, and run again") from None
        raise make_index_error(root, error) from None
    if in_memory:
        check_rows(root, index)
    return index


def make_index_error(root: Path, error: object) -> CorruptError:
    """Make the error for an index that is damaged."""
    text = " ".join(str(error).split())
    return CorruptError(
        f"{root / 'index.arrow'}: expected an index ({text}); make it again with "
        f"`flowkit index --scratch {root}`"
    )


def check_schema(schema: Any) -> None:
    """Raise a ValueError if a column is missing or has another type than ours."""
    if len(set(schema.names)) < len(schema):  # an error if a name is not UTF-8
        raise ValueError("two columns of one name")
    expected = [*METADATA, ("labels", LABELS), ("subsets", SUBSETS)]
    for name, kind in expected:
        fields = schema.get_all_field_indices(name)
        if not fields and name in ADDED_COLUMNS:
            continue
        if not fields or schema.field(fields[0]).type != kind:
            raise ValueError(f"no column {name} of type {kind}")
    for field in schema:
        if pa.types.is_struct(field.type) and field.type != LOCATION:
            raise ValueError(f"column {field.name} is of type {field.type}")


def parse_metadata(batch: Any) -> IndexFile:
    """Parse the metadata of the schema; an error of any kind if it is malformed."""
    texts = batch.schema.metadata or {}
    values = {key: json.loads(texts[f"flowkit.{key}".encode()]) for key in (
        "version", "classes", "shards", "records", "annotations", "dataset"
    )}  # fmt: skip
    records = [tuple(state) for state in values["records"]]
    is_valid = (
        type(values["version"]) is int
        and set(map(type, (*values["classes"], *values["shards"]))) <= {str}
        and all(isinstance(values[key], list) for key in ("classes", "shards", "records"))
        and len(records) == len(values["shards"])
        and set(map(len, records)) <= {3}
        and set(map(type, chain.from_iterable(records))) <= {int}
        and all(isinstance(values[key], str | None) for key in ("annotations", "dataset"))
    )
    if not is_valid:
        raise ValueError("its metadata has values of wrong types")
    return IndexFile(batch, **values | {"classes": tuple(values["classes"]), "records": records})


def check_column(root: Path, index: IndexFile, name: str) -> Any:
    """Check all values of a column, and return it.

    Raises:
        CorruptError: The index is damaged.
    """
    column = index.batch.column(name)
    try:
        column.validate(full=True)
        if name in dict(METADATA) and name not in ADDED_COLUMNS and column.null_count:
            raise ValueError(f"no {name} of {column.null_count} videos")
        if name in COUNTS and len(column) and pc.min(column).as_py() < 0:
            raise ValueError(f"{name} below 0")
        if name == "id" and not is_sorted(column):
            raise ValueError("ids that are not sorted")
        if name == "labels":
            check_class_ids(column, len(index.classes))
        if name == "subsets" and (column.null_count or column.values.null_count):
            raise ValueError("no name of a subset")
        if column.type == LOCATION:
            check_locations(column, len(index.shards))
    except (pa.ArrowException, ValueError) as error:
        raise make_index_error(root, error) from None
    return column


def is_sorted(ids: Any) -> bool:
    """Return whether each id of an Arrow array is above the one before it."""
    return bool(pc.all(pc.less(ids[:-1], ids[1:]), min_count=0).as_py())


def check_class_ids(column: Any, classes: int) -> None:
    """Raise a ValueError if a class id is not that of a class."""
    ids = column.values.field("class")
    if column.null_count or ids.null_count or column.values.null_count:
        raise ValueError("no class of a label")
    if len(ids) and not 0 <= pc.min(ids).as_py() <= pc.max(ids).as_py() < classes:
        raise ValueError(f"the class of a label is none of {classes}")


def check_locations(column: Any, shards: int) -> None:
    """Raise a ValueError if a video is in a shard that there is not, or at negative rows."""
    for k in range(column.type.num_fields):
        values = column.field(k).filter(column.is_valid()) if column.null_count else column.field(k)
        if not len(values):
            return
        if values.null_count or pc.min(values).as_py() < 0:
            raise ValueError("a location is below 0")
        if k == 0 and pc.max(values).as_py() >= shards:
            raise ValueError(f"a video is in none of {shards} shards")


def check_rows(root: Path, index: IndexFile) -> None:
    """Check all values of all columns; CorruptError if the index is damaged."""
    for name in index.batch.schema.names:
        check_column(root, index, name)

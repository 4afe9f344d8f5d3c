"""Read Parquet files; columns of images, sound and other bytes are left out."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flowkit.annotations.label_files.columns import find_usual_column
from flowkit.annotations.label_files.rows import FileRows, make_empty_error
from flowkit.errors import AnnotationError

if TYPE_CHECKING:
    import pyarrow as pa


def read_parquet(path: Path, mapping: Mapping[str, str]) -> FileRows:
    """Read a Parquet file.

    Args:
        path: The file.
        mapping: Columns by role as the user gave them.

    Returns:
        The rows. Of a struct with a field ``path``, as Hugging Face stores videos, only this field
        is read.

    Raises:
        AnnotationError: The file is empty or damaged, or cannot be read; or its labels are neither
            text nor numbers.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            schema = file.schema_arrow
            wanted = dict(filter(None, map(choose_leaf, schema)))
            table = file.read(columns=list(wanted.values()))
            columns = {name: flatten(table, name) for name in wanted}
            class_names = read_class_names(schema, mapping.get("label"))
    except (pa.ArrowException, KeyError, OSError, ValueError, MemoryError) as error:
        # KeyError: two columns of one name; UnicodeDecodeError: a name or value that is not UTF-8
        reason = " ".join(str(error).split())
        raise AnnotationError(f"{path}: cannot be read as Parquet: {reason}; check it") from error
    label = find_usual_column("label", schema.names)
    is_lost = label is not None and find_usual_column("label", list(columns)) is None
    if is_lost and "label" not in mapping:
        raise AnnotationError(
            f"{path}: the labels in {label!r} are of the type {schema.field(label).type}, expected "
            "text, numbers or lists of them; convert the column"
        )
    if not columns:
        raise AnnotationError(
            f"{path}: expected columns of text or numbers, got {', '.join(schema.names)}"
        )
    if not table.num_rows:
        raise make_empty_error(path)
    return FileRows(path=path, kind="Parquet", columns=columns, class_names=class_names)


def choose_leaf(column: "pa.Field") -> tuple[str, str] | None:
    """Choose what is read of a column.

    Args:
        column: The column.

    Returns:
        Its name, and the path of the leaf to read; None if the column has no text or numbers.
    """
    import pyarrow as pa

    kind = column.type
    if pa.types.is_struct(kind):
        has_path = kind.get_field_index("path") >= 0
        return (column.name, f"{column.name}.path") if has_path else None
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        kind = kind.value_type
    is_text = pa.types.is_string(kind) or pa.types.is_large_string(kind)
    is_number = any(
        test(kind) for test in (pa.types.is_integer, pa.types.is_floating, pa.types.is_decimal)
    )
    return (column.name, column.name) if is_text or is_number or pa.types.is_boolean(kind) else None


def flatten(table: "pa.Table", name: str) -> list[Any]:
    """Return a column as Python values; a struct as its field ``path``.

    Args:
        table: The table.
        name: Name of the column.

    Returns:
        One value for each row.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    column = table.column(name)
    if pa.types.is_struct(column.type):
        column = pc.struct_field(column, "path")
    values = column.to_pylist()
    if values and isinstance(values[0], str):
        cache: dict[Any, Any] = {}
        return [cache.setdefault(value, value) for value in values]
    return values  # type: ignore[no-any-return]


def read_class_names(schema: "pa.Schema", label: str | None = None) -> list[str]:
    """Read the class names that Hugging Face's ``datasets`` writes into the schema.

    Args:
        schema: The schema of the file.
        label: The column of labels that the user named. Default: the one with a usual name.

    Returns:
        The names by number; an empty list if there are none.
    """
    label = find_usual_column("label", schema.names) if label is None else label
    try:
        info = json.loads((schema.metadata or {})[b"huggingface"])
        feature = info["info"]["features"][label]
        if isinstance(feature, list):  # of several labels, as older versions write it
            (feature,) = feature
        names = feature.get("feature", feature)["names"]
    except (KeyError, ValueError, TypeError, AttributeError):
        return []
    is_list = isinstance(names, list) and all(isinstance(name, str) for name in names)
    return names if is_list else []

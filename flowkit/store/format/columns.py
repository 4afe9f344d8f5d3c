"""Columns of a shard: what was given for them, checked, and as Arrow arrays with their CRC-32."""

import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from flowkit.errors import StoreError
from flowkit.streams import Column

Value = bytes | np.ndarray | int | None
"""What a column takes: bytes or None, or an array of one or many rows of numbers."""


def check_floats(column: Column, values: Any) -> np.ndarray[Any, Any]:
    """Rows of vectors as ``column.dtype``; StoreError where float16 cannot hold one."""
    try:
        numbers = np.asarray(values)
        if numbers.dtype.kind not in "fiu" or not numbers.ndim:
            raise TypeError(f"{numbers.dtype} of shape {numbers.shape}")
    except (TypeError, ValueError) as error:
        raise StoreError(f"{column.name}: expected numbers in every row, got {error}") from None
    with np.errstate(over="ignore"):  # it is infinite then, and found
        rows = numbers.astype(column.dtype)
    if column.dtype == "float16" and not np.isfinite(rows).all():
        wrong = numbers[~np.isfinite(rows)][0]
        raise StoreError(
            f"{column.name}: expected finite values of at most 65504, the largest of float16, got "
            f"{wrong:g}; check the network that made them, or scale them down"
        )
    return rows


def check_integers(column: Column, values: Any) -> np.ndarray[Any, Any]:
    """Integers (n,) as ``column.dtype``; StoreError where it cannot hold one."""
    numbers, limits = np.asarray(values), np.iinfo(column.dtype)
    if not numbers.size:
        numbers = numbers.astype(column.dtype)
    if numbers.ndim != 1 or numbers.dtype.kind not in "iu":
        raise StoreError(f"{column.name}: expected an integer in every row; append it")
    if numbers.size and not limits.min <= numbers.min() <= numbers.max() <= limits.max:
        raise StoreError(f"{column.name}: expected integers of {column.dtype}, got {numbers}")
    return numbers.astype(column.dtype)


def build_arrays(
    columns: Sequence[Column], schema: Any, blocks: Sequence[tuple[Value, ...]]
) -> tuple[list[Any], dict[str, int]]:
    """The Arrow arrays of some blocks of rows, and the CRC-32 of each column.

    A block has a value for each column: bytes or None, or an array of all its rows.
    """
    arrays, crc32 = [], {}
    for number, column in enumerate(columns):
        values = [block[number] for block in blocks]
        kind = schema.field(number).type
        if column.kind == "bytes":
            array, crc32[column.name] = build_bytes(kind, values)
        else:
            rows = [np.ravel(np.asarray(block)) for block in values]
            table = np.concatenate([np.empty(0, column.dtype), *rows])
            array, crc32[column.name] = build_numbers(kind, table)
        arrays.append(array)
    return arrays, crc32


def build_bytes(kind: Any, values: Sequence[Any]) -> tuple[Any, int]:
    """Build an Arrow array of byte strings (None is null), and its CRC-32."""
    present = [value is not None for value in values]
    offsets = np.zeros(len(values) + 1, np.int64)
    np.cumsum([len(value or b"") for value in values], out=offsets[1:])
    data = b"".join(value or b"" for value in values)
    nulls = len(values) - sum(present)
    valid = pa.py_buffer(np.packbits(present, bitorder="little")) if nulls else None
    buffers = [valid, pa.py_buffer(offsets), pa.py_buffer(data)]
    array = pa.LargeBinaryArray.from_buffers(kind, len(values), buffers, nulls)
    return array, zlib.crc32(data, zlib.crc32(offsets.data))


def build_numbers(kind: Any, values: np.ndarray[Any, Any]) -> tuple[Any, int]:
    """Integers, or vectors laid end to end."""
    array = pa.array(values)
    if pa.types.is_fixed_size_list(kind):
        array = pa.FixedSizeListArray.from_arrays(array, type=kind)
    return array, zlib.crc32(values.data)

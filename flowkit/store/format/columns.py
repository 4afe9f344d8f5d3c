"""Check the values of a shard's columns, and build Arrow arrays with their CRC-32."""

import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from flowkit.errors import StoreError
from flowkit.store.arrow_arrays import make_numbers
from flowkit.streams import Column

Value = bytes | np.ndarray | int | None
"""What a row has in one column: bytes or None, or numbers."""
MISSING = int(np.iinfo(np.int64).min)
"""What an optional column holds in a row without a value. Readers of Arrow see null there, but only
the values of a column are covered by its checksum.
"""


def check_floats(column: Column, values: Any) -> np.ndarray[Any, Any]:
    """Convert rows of vectors to the column's dtype.

    Raises:
        StoreError: The values are not numbers, or float16 cannot hold one of them.
    """
    try:
        numbers = np.asarray(values)
        if numbers.dtype.kind not in "fiu" or not numbers.ndim:
            raise TypeError(f"{numbers.dtype} of shape {numbers.shape}")
    except (TypeError, ValueError) as error:
        raise StoreError(f"{column.name}: expected numbers in every row, got {error}") from None
    with np.errstate(over="ignore"):  # what is too large becomes infinite, and is found below
        rows = numbers.astype(column.dtype)
    if column.dtype == "float16" and not np.isfinite(rows).all():
        wrong = numbers[~np.isfinite(rows)][0]
        raise StoreError(
            f"{column.name}: expected finite values of at most 65504, the largest of float16, got "
            f"{wrong:g}; check the network that made them, or scale them down"
        )
    return rows


def check_integers(column: Column, values: Any) -> np.ndarray[Any, Any]:
    """Convert one integer per row to the column's dtype, (rows,).

    Raises:
        StoreError: The values are not integers, or the dtype cannot hold one of them.
    """
    numbers, limits = np.asarray(values), np.iinfo(column.dtype)
    if not numbers.size:
        numbers = numbers.astype(column.dtype)
    if numbers.ndim != 1 or numbers.dtype.kind not in "iu":
        raise StoreError(f"{column.name}: expected an integer in every row; append it")
    if numbers.size and not limits.min <= numbers.min() <= numbers.max() <= limits.max:
        raise StoreError(f"{column.name}: expected integers of {column.dtype}, got {numbers}")
    return numbers.astype(column.dtype)


def check_optional_integer(column: Column, value: Any) -> int:
    """Convert the integer of one row to an int, or None to `MISSING`; see `check_integers`."""
    if value is None:
        return MISSING
    if type(value) is int and MISSING < value <= -(MISSING + 1):
        return value
    return int(check_integers(column, [value])[0])


def build_arrays(
    columns: Sequence[Column], schema: Any, pieces: Sequence[tuple[Value, ...]]
) -> tuple[list[Any], dict[str, int]]:
    """Build the Arrow arrays of a batch.

    Args:
        columns: The columns of the shard.
        schema: The ``pyarrow.Schema`` of the shard.
        pieces: Consecutive rows. A piece has one value for each column: bytes or None (one row),
            or an array of numbers (any number of rows).

    Returns:
        The arrays, and the CRC-32 of each column by name.
    """
    arrays, crc32 = [], {}
    for k, column in enumerate(columns):
        build = build_bytes if column.kind == "bytes" else build_numbers
        values = [piece[k] for piece in pieces]
        array, crc32[column.name] = build(column, schema.field(k).type, values)
        arrays.append(array)
    return arrays, crc32


def build_bytes(column: Column, arrow_type: Any, values: Sequence[Any]) -> tuple[Any, int]:
    """Build an Arrow array of byte strings (None is null), and its CRC-32."""
    present = [value is not None for value in values]
    offsets = np.zeros(len(values) + 1, np.int64)
    np.cumsum([len(value or b"") for value in values], out=offsets[1:])
    data = b"".join(value or b"" for value in values)
    nulls = len(values) - sum(present)
    valid = pa.py_buffer(np.packbits(present, bitorder="little")) if nulls else None
    buffers = [valid, pa.py_buffer(offsets), pa.py_buffer(data)]
    array = pa.LargeBinaryArray.from_buffers(arrow_type, len(values), buffers, nulls)
    return array, zlib.crc32(data, zlib.crc32(offsets.data))


def build_numbers(column: Column, arrow_type: Any, values: Sequence[Any]) -> tuple[Any, int]:
    """Build an Arrow array of integers, or of vectors from their values laid end to end."""
    if column.optional:
        return build_optional_numbers(column, arrow_type, values)
    numbers = np.concatenate([np.empty(0, column.dtype), *map(np.ravel, values)])
    array = make_numbers(numbers)
    if pa.types.is_fixed_size_list(arrow_type):
        array = pa.FixedSizeListArray.from_arrays(array, type=arrow_type)
    return array, zlib.crc32(numbers.data)


def build_optional_numbers(
    column: Column, arrow_type: Any, values: Sequence[int]
) -> tuple[Any, int]:
    """Build an Arrow array of one number for each row, in which `MISSING` is null."""
    numbers = np.array(values, column.dtype)
    present = numbers != MISSING
    valid = None if present.all() else pa.py_buffer(np.packbits(present, bitorder="little"))
    buffers = [valid, pa.py_buffer(numbers)]
    return pa.Array.from_buffers(arrow_type, len(numbers), buffers), zlib.crc32(numbers.data)

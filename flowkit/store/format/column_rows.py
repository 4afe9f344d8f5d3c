"""Read consecutive rows of one column of a batch from a shard file.

The reader of a store, ``verify`` and recovery all read columns with these functions. They use
``pread``, not a memory map, and read only the bytes of the requested rows. An `Extent` (layout.py)
tells where the offsets and the values of the column are in the file.
"""

from itertools import pairwise
from typing import Any

import numpy as np

from flowkit.errors import CorruptError
from flowkit.store.format.layout import Descriptor, Extent, read_exactly
from flowkit.streams import Column

OFFSET_BYTES = 8
"""Size of an int64 offset."""


def read_fixed_rows(
    descriptor: Descriptor, extent: Extent, column: Column, first_row: int, rows: int
) -> np.ndarray[Any, Any]:
    """Read rows of a column whose values have a fixed size, in one read.

    Args:
        descriptor: File descriptor of the shard, or what is read like one.
        extent: Where the column is in the file.
        column: The column.
        first_row: First row to read, counted in the batch from 0.
        rows: Number of rows to read.

    Returns:
        Vectors (rows, dimension), or numbers (rows,), of ``column.dtype``.

    Raises:
        CorruptError: The file ends before the last row.
    """
    dtype = np.dtype(column.dtype)
    dimension = extent.values_bytes // (dtype.itemsize * extent.rows) if extent.rows else 0
    row_bytes = dtype.itemsize * dimension
    position = extent.values_position + row_bytes * first_row
    data = read_exactly(descriptor, row_bytes * rows, position)
    table = np.frombuffer(data, dtype).reshape(rows, dimension)
    return table if column.kind == "vector" else table.reshape(-1)


def read_offsets(descriptor: Descriptor, extent: Extent, first_row: int, rows: int) -> memoryview:
    """Read the rows + 1 offsets of some rows of a bytes column, in one read.

    Args:
        descriptor: File descriptor of the shard, or what is read like one.
        extent: Where the column is in the file.
        first_row: First row, counted in the batch from 0.
        rows: Number of rows.

    Returns:
        (rows + 1,) int64: where each row starts in the values, and where the last one ends.

    Raises:
        CorruptError: The file ends before the last offset.
    """
    assert extent.offsets_position is not None
    position = extent.offsets_position + OFFSET_BYTES * first_row
    data = read_exactly(descriptor, OFFSET_BYTES * (rows + 1), position)
    return memoryview(data).cast("q")  # int64


def read_bytes_rows(
    descriptor: Descriptor, extent: Extent, offsets: memoryview, start: int, rows: int
) -> list[bytes]:
    """Read some rows of a bytes column, in one read.

    Args:
        descriptor: File descriptor of the shard, or what is read like one.
        extent: Where the column is in the file.
        offsets: Offsets of consecutive rows, from :func:`read_offsets`.
        start: First row to read, as an index into ``offsets``.
        rows: Number of rows to read.

    Returns:
        The bytes of each row; empty for a row without data.

    Raises:
        CorruptError: An offset is outside of the column or below the one before it, or the file
            ends before the last row.
    """
    low, high = offsets[start], offsets[start + rows]
    if not 0 <= low <= high <= extent.values_bytes:
        message = f"expected offsets in 0..{extent.values_bytes}, got {low} to {high}"
        raise CorruptError(message)
    data = read_exactly(descriptor, high - low, extent.values_position + low)
    if rows == 1:
        return [data]
    bounds = offsets[start : start + rows + 1].tolist()
    if bounds != sorted(bounds):  # a slice that ends before it starts would be other bytes
        raise CorruptError(f"expected rising offsets from {low} to {high}, got others between them")
    return [data[row_start - low : row_end - low] for row_start, row_end in pairwise(bounds)]

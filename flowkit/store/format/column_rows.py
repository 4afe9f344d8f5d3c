"""Read some rows of one column of a batch from a shard file with ``pread``.

The reader of a store, ``verify`` and recovery all read columns with these functions. They map no
memory, and read only the bytes of the requested rows.
"""

from itertools import pairwise
from typing import Any

import numpy as np

from flowkit.errors import CorruptError
from flowkit.store.format.layout import Extent, read_exactly
from flowkit.streams import Column


def read_fixed_rows(
    descriptor: int, extent: Extent, column: Column, first: int, rows: int
) -> np.ndarray[Any, Any]:
    """Read rows ``first`` … ``first + rows − 1`` of a column of fixed size, in one read.

    Returns:
        Vectors (rows, dimension), or numbers (rows,), of ``column.dtype``.
    """
    dtype = np.dtype(column.dtype)
    dimension = extent.size // (dtype.itemsize * extent.rows) if extent.rows else 0
    width = dtype.itemsize * dimension
    data = read_exactly(descriptor, width * rows, extent.values + width * first)
    table = np.frombuffer(data, dtype).reshape(rows, dimension)
    return table if column.kind == "vector" else table.reshape(-1)


def read_offsets(descriptor: int, extent: Extent, first: int, rows: int) -> memoryview:
    """Read the rows + 1 int64 offsets of some rows of a bytes column, in one read."""
    assert extent.offsets is not None
    return memoryview(read_exactly(descriptor, 8 * (rows + 1), extent.offsets + 8 * first)).cast(
        "q"
    )


def read_bytes_rows(
    descriptor: int, extent: Extent, offsets: memoryview, first: int, rows: int
) -> list[bytes]:
    """Read some rows of a bytes column, in one read.

    Args:
        descriptor: Of the shard's file.
        extent: Where the column lies.
        offsets: Offsets of consecutive rows, from :func:`read_offsets`.
        first: First row to read, counted from the first row of ``offsets``.
        rows: Number of rows to read.

    Raises:
        CorruptError: The first or last offset lies outside of the column.
    """
    start, stop = offsets[first], offsets[first + rows]
    if not 0 <= start <= stop <= extent.size:
        raise CorruptError("expected the offsets of a column within its batch")
    data = read_exactly(descriptor, stop - start, extent.values + start)
    if rows == 1:
        return [data]
    ends = offsets[first : first + rows + 1].tolist()
    return [data[a - start : b - start] for a, b in pairwise(ends)]

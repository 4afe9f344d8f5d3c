"""Convert Arrow arrays to NumPy and back, by their buffers.

Arrow's own conversions import pandas where it is installed, which takes half a second and 40 MB.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa


def view_numbers(array: Any) -> npt.NDArray[Any]:
    """View a numeric array of Arrow without nulls as a read-only array of NumPy."""
    return np.from_dlpack(array)


def convert_to_mask(array: Any) -> npt.NDArray[np.bool_]:
    """Convert a boolean array of Arrow without nulls."""
    data = array.buffers()[-1] or b""
    bits = np.unpackbits(np.frombuffer(data, np.uint8), bitorder="little")
    return bits[array.offset : array.offset + len(array)].astype(bool)


def convert_to_floats(
    column: Any, rows: npt.NDArray[np.int64] | None = None
) -> npt.NDArray[np.float64]:
    """Convert an int32 or float64 column of the index to float64, with NaN for null.

    Args:
        column: The whole column, not a slice of it.
        rows: Rows to convert; None for all.
    """
    valid, data = column.buffers()
    dtype = np.int32 if pa.types.is_int32(column.type) else np.float64
    chosen = slice(0, len(column)) if rows is None else rows
    # The buffer of a damaged index may be longer than its rows, but is not shorter.
    values = np.frombuffer(data or b"", dtype, len(column))[chosen].astype(np.float64)
    if column.null_count:
        bits = np.unpackbits(np.frombuffer(valid, np.uint8), bitorder="little")
        values[bits[chosen] == 0] = np.nan
    return values


def make_numbers(numbers: npt.NDArray[Any]) -> Any:
    """Make an array of Arrow from numbers (N,); it shares their memory if that is contiguous."""
    data = np.ascontiguousarray(numbers)
    arrow_type = pa.from_numpy_dtype(data.dtype)
    return pa.Array.from_buffers(arrow_type, len(data), [None, pa.py_buffer(data)])


def make_texts(texts: Sequence[str]) -> Any:
    """Make a large_string array of Arrow."""
    encoded = [text.encode() for text in texts]
    offsets = np.cumsum([0, *map(len, encoded)], dtype=np.int64)
    buffers = (pa.py_buffer(offsets.tobytes()), pa.py_buffer(b"".join(encoded)))
    return pa.LargeStringArray.from_buffers(len(encoded), *buffers)

"""Rows of a column in a file: what is read, and damaged offsets."""

import os

import numpy as np
import pytest

from flowkit.errors import CorruptError
from flowkit.store.format.column_rows import read_bytes_rows, read_offsets
from flowkit.store.format.layout import Extent

VALUES = b"abcdefghij"


@pytest.fixture
def column(tmp_path):
    """Open a file with offsets and values; return its descriptor and extent."""
    opened = []

    def make(offsets):
        path = tmp_path / "column"
        data = np.asarray(offsets, np.int64).tobytes()
        path.write_bytes(data + VALUES)
        opened.append(os.open(path, os.O_RDONLY))
        return opened[-1], Extent(len(offsets) - 1, 0, 0, len(data), len(VALUES))

    yield make
    for descriptor in opened:
        os.close(descriptor)


def read(column, start, rows):
    descriptor, extent = column
    offsets = read_offsets(descriptor, extent, 0, extent.rows)
    return read_bytes_rows(descriptor, extent, offsets, start, rows)


def test_rows_are_read_by_their_offsets(column):
    file = column([0, 3, 3, 7, 10])
    assert read(file, 0, 4) == [b"abc", b"", b"defg", b"hij"]
    assert read(file, 2, 1) == [b"defg"]
    assert read(file, 1, 2) == [b"", b"defg"]


@pytest.mark.parametrize(
    ("offsets", "message"),
    [
        ([2, 1, 5, 7, 10], "rising offsets from 2 to 10"),  # would be a slice from -1
        ([0, 8, 5, 7, 10], "rising offsets from 0 to 10"),
        ([0, 3, 5, 12, 10], "rising offsets from 0 to 10"),
        ([0, 3, 5, 7, 11], r"offsets in 0\.\.10, got 0 to 11"),
        ([-1, 3, 5, 7, 10], r"offsets in 0\.\.10, got -1 to 10"),
    ],
)
def test_damaged_offsets_are_an_error_and_not_other_bytes(column, offsets, message):
    with pytest.raises(CorruptError, match=message):
        read(column(offsets), 0, 4)

"""Arrow arrays as NumPy arrays: what Arrow's own conversions say, with nulls and slices."""

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from flowkit.store.arrow_arrays import (
    convert_to_floats,
    convert_to_mask,
    make_numbers,
    make_texts,
    view_numbers,
)

INTEGERS = st.lists(st.integers(-(2**31), 2**31 - 1), max_size=40)


@given(INTEGERS, st.integers(0, 10))
def test_integers_of_a_slice(values, start):
    array = pa.array(values, pa.int32())[start:]
    assert view_numbers(array).tolist() == values[start:]


@given(st.lists(st.booleans(), max_size=40), st.integers(0, 10))
def test_a_mask_of_a_slice(values, start):
    assert convert_to_mask(pa.array(values, pa.bool_())[start:]).tolist() == values[start:]


@given(st.lists(st.none() | st.integers(-(2**31), 2**31 - 1), min_size=1, max_size=40), st.data())
def test_null_is_nan_in_all_rows_and_in_chosen_ones(values, data):
    rows = np.array(data.draw(st.lists(st.integers(0, len(values) - 1))), np.int64)
    expected = np.array([np.nan if value is None else value for value in values])
    for kind in (pa.int32(), pa.float64()):
        column = pa.array(values, kind)
        assert np.array_equal(convert_to_floats(column), expected, equal_nan=True)
        assert np.array_equal(convert_to_floats(column, rows), expected[rows], equal_nan=True)


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]))))
def test_texts_and_rows_come_back(texts):
    array = make_texts(texts)
    array.validate(full=True)
    assert array.to_pylist() == texts
    rows = np.arange(len(texts))[::-1]
    assert array.take(make_numbers(rows)).to_pylist() == texts[::-1]


def test_a_buffer_that_is_longer_than_its_rows():
    """As in an index with one changed length, which Arrow finds valid."""
    buffer = pa.py_buffer(np.arange(3, dtype=np.int32).tobytes() + b"x")
    column = pa.Array.from_buffers(pa.int32(), 3, [None, buffer])
    assert convert_to_floats(column).tolist() == [0, 1, 2]

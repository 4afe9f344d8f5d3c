"""The padding mask of sets, and the errors for wrong shapes and lengths."""

import pytest
import torch

from models.layers.padding import clear_padding, find_padding


def test_rows_after_each_set_are_padding():
    padding = find_padding(torch.zeros(3, 4, 2), torch.tensor([4, 1, 3]), 2)
    assert padding.tolist() == [[False] * 4, [False] + [True] * 3, [False] * 3 + [True]]


@pytest.mark.parametrize("dtype", [torch.int32, torch.int64, torch.uint8])
def test_full_sets_have_no_padding_and_are_not_copied(dtype):
    x = torch.zeros(3, 4, 2)
    assert find_padding(x, None, 2) is None
    assert find_padding(x, torch.full((3,), 4, dtype=dtype), 2) is None
    assert clear_padding(x, None) is x


def test_padding_becomes_zero():
    x = torch.full((2, 3, 2), torch.nan)
    x[0, :2] = 1
    x[1, :1] = 2
    cleared = clear_padding(x, find_padding(x, torch.tensor([2, 1]), 2))
    assert cleared[:, :, 0].tolist() == [[1, 1, 0], [2, 0, 0]]
    assert x.isnan().any()


@pytest.mark.parametrize(
    ("shape", "lengths", "message"),
    [
        ((2, 3, 5), None, r"expected sets of vectors \(B, L, 4\), got \(2, 3, 5\)"),
        ((2, 4), None, r"expected sets of vectors \(B, L, 4\), got \(2, 4\)"),
        ((2, 0, 4), None, "sets of 1 vector or more"),
        ((2, 0, 4), [0, 0], "sets of 1 vector or more"),
        ((2, 3, 4), [3, 0], "1 to 3 vectors, got lengths from 0 to 3.*SetNetwork"),
        ((2, 3, 4), [4, 1], "1 to 3 vectors, got lengths from 1 to 4$"),
        ((2, 3, 4), [3, -1], "lengths from -1"),
        ((2, 3, 4), [3], r"expected 2 integer lengths, one for each set; got \(1,\)"),
        ((2, 3, 4), [3.0, 2.0], "integer lengths, .* of torch.float32"),
    ],
)
def test_wrong_shapes_and_lengths_are_refused(shape, lengths, message):
    counts = None if lengths is None else torch.tensor(lengths)
    with pytest.raises(ValueError, match=message):
        find_padding(torch.zeros(shape), counts, 4)

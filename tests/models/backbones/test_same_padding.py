"""SAME padding by TensorFlow's rule, and max pooling with it."""

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional

from models.backbones.same_padding import compute_same_padding, pad_same, pool_max

SHAPES = st.tuples(*[st.integers(1, 9)] * 3)
WINDOWS = st.tuples(*[st.integers(1, 4)] * 3)
STRIDES = st.tuples(*[st.integers(1, 3)] * 3)


@given(length=st.integers(1, 300), kernel=st.integers(1, 9), stride=st.integers(1, 9))
def test_padding_is_tensorflows(length, kernel, stride):
    """TensorFlow's documentation of SAME: by the remainder of length and stride."""
    remainder = length % stride
    total = max(kernel - stride, 0) if remainder == 0 else max(kernel - remainder, 0)
    before, after = compute_same_padding(length, kernel, stride)
    assert before + after == total
    assert after - before in (0, 1)
    windows = (length + before + after - kernel) // stride + 1
    assert windows == -(-length // stride)


@given(shape=SHAPES, window=WINDOWS, stride=STRIDES)
def test_each_axis_is_padded_as_its_own_length_needs(shape, window, stride):
    padded = pad_same(torch.ones(1, 1, *shape), window, stride)
    for axis in range(3):
        before, after = compute_same_padding(shape[axis], window[axis], stride[axis])
        present = padded.sum(tuple(a for a in range(5) if a != axis + 2)) > 0
        assert present.tolist() == [False] * before + [True] * shape[axis] + [False] * after


@given(shape=SHAPES, window=WINDOWS, stride=STRIDES, seed=st.integers(0, 2**32 - 1))
def test_pools_with_and_without_gradients_are_pytorchs(shape, window, stride, seed):
    x = torch.randn(2, 3, *shape, generator=torch.Generator().manual_seed(seed))
    expected = functional.max_pool3d(pad_same(x, window, stride), window, stride)
    assert expected.shape[2:] == tuple(-(-n // s) for n, s in zip(shape, stride, strict=True))
    assert torch.equal(pool_max(x, window, stride), expected)
    assert torch.equal(pool_max(x.requires_grad_(), window, stride), expected)


def test_padding_takes_part_in_the_maximum():
    """As in the public I3D, which pads with zeros before pooling."""
    x = -torch.ones(1, 1, 2, 2, 2)
    assert bool((pool_max(x, (3, 3, 3), (1, 1, 1)) == 0).all())
    assert bool((pool_max(x, (2, 2, 2), (2, 2, 2)) == -1).all())


def test_pools_give_the_gradient_of_the_maximum():
    x = torch.arange(8.0).view(1, 1, 2, 2, 2).requires_grad_()
    pool_max(x, (2, 2, 2), (2, 2, 2)).sum().backward()
    assert x.grad is not None
    assert x.grad.flatten().tolist() == [0] * 7 + [1]

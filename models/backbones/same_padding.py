"""Pad clips as TensorFlow does by its option SAME, and max-pool them with this padding.

An axis of n values gives ⌈n / s⌉ outputs with a stride of s. The zeros that this needs go to both
sides of the axis; where their number is odd, the end has one more. So they depend on n, unlike the
padding of PyTorch's layers.
"""

from functools import reduce

import torch
from torch import Tensor
from torch.nn import functional

Sizes = tuple[int, int, int]  # time, height, width


def compute_same_padding(length: int, kernel: int, stride: int) -> tuple[int, int]:
    """Compute how many zeros SAME padding adds on both sides of an axis.

    Args:
        length: Length of the axis, 1 or more.
        kernel: Length of the kernel or window along the axis.
        stride: Stride along the axis.

    Returns:
        Zeros before and after, with which there are ⌈length / stride⌉ outputs.
    """
    outputs = -(-length // stride)
    total = max((outputs - 1) * stride + kernel - length, 0)
    return total // 2, total - total // 2


def pad_same(x: Tensor, window: Sizes, stride: Sizes) -> Tensor:
    """Pad features with zeros.

    Args:
        x: Features (B, C, T, H, W).
        window: Kernel or window of the layer that follows.
        stride: Its stride.

    Returns:
        Padded features; ``x`` itself if no padding is needed.
    """
    axes = zip(x.shape[2:], window, stride, strict=True)
    padding = [compute_same_padding(*axis) for axis in axes]
    # functional.pad starts with the last axis.
    zeros = [count for axis in reversed(padding) for count in axis]
    return functional.pad(x, zeros) if any(zeros) else x


def pool_max(x: Tensor, window: Sizes, stride: Sizes) -> Tensor:
    """Max-pool features.

    The zeros of the padding take part: in a window that reaches it, a maximum of negative values
    is 0.

    Args:
        x: Features (B, C, T, H, W).
        window: Size of the window.
        stride: Stride of the window.

    Returns:
        Features (B, C, ⌈T / stride⌉, …).
    """
    padded = pad_same(x, window, stride)
    if padded.device.type == "cpu" and not padded.requires_grad:
        return _pool_axes(padded, window, stride)
    return functional.max_pool3d(padded, window, stride)


def _pool_axes(x: Tensor, window: Sizes, stride: Sizes) -> Tensor:
    """Max-pool one axis after the other, without padding.

    The result is the same. PyTorch's 3-D pool on a CPU computes one value at a time, and would take
    a third of the time of I3D on Inception-v1.
    """
    for axis, (length, step) in enumerate(zip(window, stride, strict=True), 2):
        end = x.shape[axis] - length + 1  # one more than the start of the last possible window
        # For each place in a window, the values that all windows have there.
        values = [
            x[(*[slice(None)] * axis, slice(offset, offset + end, step))]
            for offset in range(length)
        ]
        x = reduce(torch.maximum, values)
    return x

# ruff: noqa: N803
"""Mask the padding of batches whose feature sets have different sizes.

A batch of sets is a tensor (B, L, M). Set b consists of its first ``lengths[b]`` vectors; the
remaining rows are padding. Padding may have any values, NaN included, and must not influence any
output or gradient. Multiplying by 0 is therefore not enough, since NaN · 0 is NaN.

    B batch   L vectors of the longest set   M dimension of a vector
"""

import torch
from torch import Tensor


def find_padding(x_BLM: Tensor, lengths_B: Tensor | None, dimension: int) -> Tensor | None:
    """Compute the padding mask of a batch of sets, and check its shape.

    Args:
        x_BLM: Sets of vectors, (B, L, M).
        lengths_B: Number of vectors in each set, integers (B,) from 1 to L. None: all L.
        dimension: The expected M.

    Returns:
        A bool tensor (B, L), True where there is padding, or None if no set has padding.

    Raises:
        ValueError: If x is not (B, L, ``dimension``), if L is 0, or if the lengths are not B
            integers from 1 to L.
    """
    if x_BLM.ndim != 3 or x_BLM.shape[2] != dimension:
        raise ValueError(
            f"expected sets of vectors (B, L, {dimension}), got {tuple(x_BLM.shape)}; build the "
            "module with the dimension of its input features"
        )
    batch_size, max_length, _ = x_BLM.shape
    if not max_length:
        raise ValueError(f"expected sets of 1 vector or more, got {tuple(x_BLM.shape)}")
    if lengths_B is None:
        return None
    if lengths_B.shape != (batch_size,) or lengths_B.is_floating_point():
        raise ValueError(
            f"expected {batch_size} integer lengths, one for each set; got "
            f"{tuple(lengths_B.shape)} of {lengths_B.dtype}"
        )
    if batch_size:
        shortest, longest = map(int, lengths_B.aminmax())
    else:
        shortest = longest = max_length
    if shortest < 1 or longest > max_length:
        hint = "; SetNetwork replaces empty sets by a mean vector" if shortest == 0 else ""
        raise ValueError(
            f"expected sets of 1 to {max_length} vectors, got lengths from {shortest} to "
            f"{longest}{hint}"
        )
    if shortest == max_length:
        return None
    return torch.arange(max_length, device=x_BLM.device) >= lengths_B.to(x_BLM.device)[:, None]


def clear_padding(x_BLM: Tensor, padding_BL: Tensor | None) -> Tensor:
    """Set the padding of a batch of sets to zero.

    Args:
        x_BLM: Sets of vectors, (B, L, M).
        padding_BL: The mask that `find_padding` returned.

    Returns:
        A copy (B, L, M) with zeros in the padding, or ``x_BLM`` itself if there is none.
    """
    return x_BLM if padding_BL is None else x_BLM.masked_fill(padding_BL[:, :, None], 0)

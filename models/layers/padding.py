# ruff: noqa: N803
"""Sets of different sizes, padded to one length.

A batch of sets is a tensor (B, L, M) whose set b has its vectors in the first ``lengths[b]`` of L
places. What lies in the others must reach nothing, not even as NaN times 0.

    B batch   L places   M dimension of a vector
"""

import torch


def find_padding(
    x_BLM: torch.Tensor, lengths_B: torch.Tensor | None, dimension: int
) -> torch.Tensor | None:
    """The places that are padding, bool (B, L); None where there are none.

    Raises ValueError for what are no sets of ``dimension``, and for lengths out of 1 … L.
    """
    if x_BLM.ndim != 3 or x_BLM.shape[2] != dimension:
        raise ValueError(
            f"expected sets of vectors (B, L, {dimension}), got {tuple(x_BLM.shape)}; build the "
            "module with the dimension of the features that it is given"
        )
    count, places, _ = x_BLM.shape
    if lengths_B is None:
        if not places:
            raise ValueError(f"expected sets of 1 vector or more, got {tuple(x_BLM.shape)}")
        return None
    if lengths_B.shape != (count,) or lengths_B.is_floating_point():
        raise ValueError(
            f"expected {count} whole numbers, one length a set; got {tuple(lengths_B.shape)} of "
            f"{lengths_B.dtype}"
        )
    least, most = map(int, lengths_B.aminmax()) if count else (places, places)
    if least < 1 or most > places:
        raise ValueError(
            f"expected sets of 1 to {places} vectors, got lengths from {least} to {most}; what "
            "stands for an empty set is for SetNetwork to say"
        )
    if least == places:
        return None
    return torch.arange(places, device=x_BLM.device) >= lengths_B.to(x_BLM.device)[:, None]


def clear_padding(x_BLM: torch.Tensor, padding_BL: torch.Tensor | None) -> torch.Tensor:
    """The sets with zeros where there is padding; without padding themselves, not a copy."""
    return x_BLM if padding_BL is None else x_BLM.masked_fill(padding_BL[:, :, None], 0)

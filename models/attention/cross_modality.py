# ruff: noqa: N803, N806
"""Cross-Modality Attention: one modality asks, the other answers.

Chi, Tian, Mu, Tian, "Two-Stream Video Classification with Cross-Modality Attention", 2019.

    CMA(Q₁, K₂, V₂) = softmax(Q₁K₂ᵀ / √d_k) V₂                                        (1)
    zᵢ = 1/C(x, y) Σⱼ f(xᵢ, yⱼ) v(yⱼ),   C(x, y) = Σⱼ f(xᵢ, yⱼ)                    (2, 4)
    f(xᵢ, yⱼ) = exp(q(xᵢ) k(yⱼ)ᵀ / √d_k)                                              (3)
    outᵢ = W_out zᵢ + xᵢ                                                              (5)

    x, y     x, y                features of the asking and of the answering modality
    q, k, v  query, key, value   1×1 (1×1×1) convolutions to half the channels, d_k
    W_out    out, norm           1×1 convolution back, and a BN whose scale starts at 0
             pool                2×2 max-pooling of y before k and v, in space only

Departs from the printed equations: (3) has √d_k outside the exponent, which would cancel with
(4); it stands inside here, as (1) has it. Where the paper leaves it open: all convolutions have
biases, as in the non-local networks that it follows, and start at 0 there. An image of one row
or column is not pooled along it.

    B C      batch, channels           D   d_k
    T H W    time, height, width       N M positions of x, and of the pooled y
"""

from typing import Any

import torch
from torch import nn
from torch.nn import functional


def attend(query_BND: torch.Tensor, key_BMD: torch.Tensor, value_BMD: torch.Tensor) -> torch.Tensor:
    """Equation 1: (B, N, D), without the (N, M) map in memory where that is the smaller part.

    torch's fused kernels make no map, but take only tensors that are contiguous in D: of others
    they need copies, which for small maps are larger than the map.
    """
    given = (query_BND, key_BMD, value_BMD)
    copies = sum(tensor.numel() for tensor in given if not tensor.is_contiguous())
    map_size = len(query_BND) * query_BND.shape[1] * key_BMD.shape[1]
    if 2 * map_size < copies:  # scores, and what the softmax makes of them
        return weigh(query_BND, key_BMD) @ value_BMD
    q, k, v = (tensor.contiguous().unsqueeze(1) for tensor in given)  # as one head
    return functional.scaled_dot_product_attention(q, k, v).squeeze(1)


def weigh(query_BND: torch.Tensor, key_BMD: torch.Tensor) -> torch.Tensor:
    """The attention map of equation 1, (B, N, M): rows sum to 1."""
    scores = query_BND @ key_BMD.transpose(1, 2)
    return scores.div_(query_BND.shape[-1] ** 0.5).softmax(dim=-1)


class CrossModalityBlock(nn.Module):
    """Equation 5: x, and what it takes from y. The identity as it is built.

    Parameters
    ----------
    channels: of x and of y.
    dims: 2 for (B, C, H, W), 3 for (B, C, T, H, W).
    uniform: all weights equal instead of the softmax: the control that shows what attention adds.
    """

    def __init__(self, channels: int, dims: int = 2, uniform: bool = False) -> None:
        super().__init__()
        if dims not in (2, 3) or channels < 2:
            raise ValueError(f"expected dims 2 or 3 and 2 channels, got {dims} and {channels}")
        convolution: Any = nn.Conv2d if dims == 2 else nn.Conv3d
        inner = channels // 2
        self.dims, self.uniform = dims, uniform
        self.query = convolution(channels, inner, 1)
        self.key = convolution(channels, inner, 1)
        self.value = convolution(channels, inner, 1)
        self.out = convolution(inner, channels, 1)
        self.norm = nn.BatchNorm2d(channels) if dims == 2 else nn.BatchNorm3d(channels)
        for module in (self.query, self.key, self.value, self.out):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            nn.init.zeros_(module.bias)
        nn.init.zeros_(self.norm.weight)

    def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """x + BN(W_out CMA(x, y)), of the shape of x."""
        query_BND, (key_BMD, value_BMD) = self._ask(x), self._answer(y)
        if self.uniform:
            z_BND = value_BMD.mean(dim=1, keepdim=True).expand_as(query_BND)
        else:
            z_BND = attend(query_BND, key_BMD, value_BMD)
        z = z_BND.transpose(1, 2).reshape(x.shape[0], -1, *x.shape[2:])
        # In memory as x is: else what follows would run other kernels, with other roundings.
        z = z.contiguous() if x.is_contiguous() else z
        return x + self.norm(self.out(z))

    def attention(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """The map (B, N, M) that `forward` uses; N and M in the order of x and the pooled y."""
        query, key = self._ask(x), self._answer(y)[0]
        if self.uniform:
            return query.new_full((len(query), query.shape[1], key.shape[1]), 1 / key.shape[1])
        return weigh(query, key)

    def pooled_size(self, y: torch.Tensor) -> tuple[int, ...]:
        """Size (H, W) or (T, H, W) of the pooled y, to which the map's M unfolds."""
        return tuple(self._pool(y).shape[2:])

    def _ask(self, x: torch.Tensor) -> torch.Tensor:
        return self.query(x).flatten(2).transpose(1, 2)

    def _answer(self, y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        pooled = self._pool(y)
        key, value = self.key(pooled), self.value(pooled)
        return key.flatten(2).transpose(1, 2), value.flatten(2).transpose(1, 2)

    def _pool(self, y: torch.Tensor) -> torch.Tensor:
        window = [min(2, side) for side in y.shape[-2:]]
        if self.dims == 2:
            return functional.max_pool2d(y, window)
        return functional.max_pool3d(y, [1, *window])

# ruff: noqa: N803, N806
"""Cross-modality attention (CMA): one modality attends to the features of another.

Chi, Tian, Mu, Tian, "Two-Stream Video Classification with Cross-Modality Attention", 2019.

    CMA(Q₁, K₂, V₂) = softmax(Q₁K₂ᵀ / √d_k) V₂                                        (1)
    zᵢ = 1/C(x, y) Σⱼ f(xᵢ, yⱼ) v(yⱼ),   C(x, y) = Σⱼ f(xᵢ, yⱼ)                    (2, 4)
    f(xᵢ, yⱼ) = exp(q(xᵢ) k(yⱼ)ᵀ / √d_k)                                              (3)
    outᵢ = W_out zᵢ + xᵢ                                                              (5)

    paper    name                meaning
    x, y     x, y                features of the modality that attends, and of the one attended to
    q, k, v  query, key, value   1×1 (1×1×1) convolutions to half the channels, d_k
    W_out    out, norm           1×1 convolution back to all channels, and a batch normalization
                                 (BN) whose scale starts at 0
             pool                2×2 max-pooling of y before k and v, in space only

Deviations and choices:
- (3) is printed with √d_k outside the exponent, where it would cancel with (4). Here it is inside,
  as in (1).
- The paper does not mention biases. All convolutions have them, as in non-local networks, and
  they start at 0.
- A feature map of one row or one column is not pooled along that axis.

    B C      batch, channels           D   d_k
    T H W    time, height, width       N M positions of x, and of the pooled y
"""

import math
from typing import Any

from torch import Tensor, nn
from torch.nn import functional


def compute_attention(query_BND: Tensor, key_BMD: Tensor, value_BMD: Tensor) -> Tensor:
    """Compute scaled dot-product attention (equation 1) with little memory.

    PyTorch's fused kernels do not store the (N, M) map, but need inputs that are contiguous in D.
    Where copies of other inputs would need more memory than the map, the map is computed.

    Args:
        query_BND: Queries (B, N, D).
        key_BMD: Keys (B, M, D).
        value_BMD: Values (B, M, D).

    Returns:
        The weighted means of the values, (B, N, D).
    """
    inputs = (query_BND, key_BMD, value_BMD)
    copied_numbers = sum(tensor.numel() for tensor in inputs if not tensor.is_contiguous())
    map_size = len(query_BND) * query_BND.shape[1] * key_BMD.shape[1]
    if 2 * map_size < copied_numbers:  # twice: the scores, and their softmax
        return compute_attention_map(query_BND, key_BMD) @ value_BMD
    q, k, v = (tensor.contiguous().unsqueeze(1) for tensor in inputs)  # one attention head
    return functional.scaled_dot_product_attention(q, k, v).squeeze(1)


def compute_attention_map(query_BND: Tensor, key_BMD: Tensor) -> Tensor:
    """Compute the attention map of equation 1.

    Args:
        query_BND: Queries (B, N, D).
        key_BMD: Keys (B, M, D).

    Returns:
        The map (B, N, M), whose rows sum to 1.
    """
    scores_BNM = query_BND @ key_BMD.transpose(1, 2)
    return scores_BNM.div_(query_BND.shape[-1] ** 0.5).softmax(dim=-1)


class CrossModalityBlock(nn.Module):
    """Residual attention from one modality to another (equation 5); the identity when newly built.

    Example:
        >>> block = CrossModalityBlock(channels=512)
        >>> rgb, flow = torch.randn(2, 2, 512, 28, 28)
        >>> block(rgb, flow).shape
        torch.Size([2, 512, 28, 28])
    """

    def __init__(self, channels: int, dims: int = 2, uniform: bool = False) -> None:
        """Build the block.

        Args:
            channels: Channels of x and of y, 2 or more.
            dims: 2 for images (B, C, H, W), 3 for clips (B, C, T, H, W). Default: 2.
            uniform: Use equal weights instead of the softmax, as a control experiment that shows
                what attention contributes. Default: False.

        Raises:
            ValueError: If ``dims`` is neither 2 nor 3, or ``channels`` is below 2.
        """
        super().__init__()
        if dims not in (2, 3) or channels < 2:
            raise ValueError(
                f"expected dims 2 or 3 and 2 channels or more, got dims {dims} and {channels} "
                "channels"
            )
        convolution: Any = nn.Conv2d if dims == 2 else nn.Conv3d
        inner_channels = channels // 2
        self.dims, self.uniform = dims, uniform
        self.query = convolution(channels, inner_channels, 1)
        self.key = convolution(channels, inner_channels, 1)
        self.value = convolution(channels, inner_channels, 1)
        self.out = convolution(inner_channels, channels, 1)
        self.norm = nn.BatchNorm2d(channels) if dims == 2 else nn.BatchNorm3d(channels)
        for module in (self.query, self.key, self.value, self.out):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            nn.init.zeros_(module.bias)
        nn.init.zeros_(self.norm.weight)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """Compute x + BN(W_out CMA(x, y)).

        Args:
            x: Features of the attending modality, (B, C, H, W), or (B, C, T, H, W) if ``dims``
                is 3.
            y: Features of the attended modality, with the same B, C and number of dimensions.

        Returns:
            A tensor of the shape of x.
        """
        if self.uniform:  # without queries and keys, which would have no effect
            value_BMD = self.value(self._pool_features(y)).flatten(2).transpose(1, 2)
            z_BND = value_BMD.mean(dim=1, keepdim=True).expand(-1, math.prod(x.shape[2:]), -1)
        else:
            query_BND, (key_BMD, value_BMD) = self._project_query(x), self._project_key_value(y)
            z_BND = compute_attention(query_BND, key_BMD, value_BMD)
        z = z_BND.transpose(1, 2).reshape(x.shape[0], -1, *x.shape[2:])
        # Keep the memory format of x: another one would select other kernels, which round
        # differently.
        z = z.contiguous() if x.is_contiguous() else z
        return x + self.norm(self.out(z))

    def attention(self, x: Tensor, y: Tensor) -> Tensor:
        """Compute the attention map that `forward` uses.

        Args:
            x: Features as in `forward`.
            y: Features as in `forward`.

        Returns:
            The map (B, N, M), whose rows sum to 1. N and M count the positions of x and of the
            pooled y in row-major order; see `pooled_size`.
        """
        query_BND, key_BMD = self._project_query(x), self._project_key_value(y)[0]
        if self.uniform:
            pooled_positions = key_BMD.shape[1]
            shape = (*query_BND.shape[:2], pooled_positions)
            return query_BND.new_full(shape, 1 / pooled_positions)
        return compute_attention_map(query_BND, key_BMD)

    def pooled_size(self, y: Tensor) -> tuple[int, ...]:
        """Return the size of the pooled y, to which the M positions of a map unfold.

        Args:
            y: Features as in `forward`.

        Returns:
            (H, W), or (T, H, W) if ``dims`` is 3.
        """
        return tuple(self._pool_features(y).shape[2:])

    def _project_query(self, x: Tensor) -> Tensor:
        """Compute the queries (B, N, D) of x."""
        return self.query(x).flatten(2).transpose(1, 2)

    def _project_key_value(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """Compute the keys and values, (B, M, D) each, of the pooled y."""
        pooled = self._pool_features(y)
        key, value = self.key(pooled), self.value(pooled)
        return key.flatten(2).transpose(1, 2), value.flatten(2).transpose(1, 2)

    def _pool_features(self, y: Tensor) -> Tensor:
        """Max-pool y by 2×2 in space, except along an axis of length 1."""
        window = [min(2, side) for side in y.shape[-2:]]
        if self.dims == 2:
            return functional.max_pool2d(y, window)
        return functional.max_pool3d(y, [1, *window])

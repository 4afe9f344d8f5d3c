# ruff: noqa: N803, N806
"""CATNet: attended means of a set of local features, weighted by a second attention over them.

Wang, Peng, Qiao, "Cascade Multi-Head Attention Networks for Action Recognition", Computer Vision
and Image Understanding, 2020, §3.

    αᵢⱼ = exp(xⱼᵀwᵢ) / Σₖ exp(xₖᵀwᵢ)        of clip j, by head i                               (2)
    yᵢ  = Σⱼ αᵢⱼ xⱼ                                                                           (3)
    Y'  = [y'₁/(√N‖y'₁‖₂), …, y'_N/(√N‖y'_N‖₂)],   y' the linear transformation of y by an FC (4)
    G   = Σᵢ y'ᵢ / N                                                                          (5)
    βᵢ  = sigmoid(wᵀ[y'ᵢ; G])                                                                 (6)
    V   = Σᵢ βᵢy'ᵢ / Σᵢ βᵢ               summation                                            (7)
    V   = [β₁y'₁, …, β_N y'_N]           concatenation                                        (8)

    paper     name       meaning
    x         x          clips of a video, (B, L, M); the paper calls their number K
    α         attention  local attention weights, (B, N, L)
    wᵢ of (2) score      (N, M)
    FC        transform  fully connected layer, M → M
    w of (6)  relation   (2, M): the half for y' and the half for G
    β         relations  global attention weights, (B, N)

Deviations and choices:
- The FC of (4) is shared by all heads: "a FC layer". One for each head (``shared=False``) has N·M²
  weights: 134 million for 32 heads of 2048, where the shared one has 4 million.
- (5) to (8) use the normalized vectors of (4), although y' is printed there. The text calls them
  Y'ᵢ, and otherwise (4) would have no influence on the output, contrary to Table 1.
  ``takes="transformed"`` follows the equations as printed, with y'.
- Without FC-Norm ("the second FC layer and normalization", Table 1; ``normalize=False``), y' is y:
  the attended means, neither transformed nor normalized.
- Without global attention all β are 1: (8) is Y' itself, and (7) its mean.
- (6) has no bias and one w for all heads, as printed. (8) prints n for N, and the text K.
- wᵢ, FC and w start as PyTorch's linear layers do; the paper does not say.
- The norm in (4) is at least 10⁻¹², so that (4) is defined where y' is 0.

Efficiency: w of (6) has a half for y' and a half for G. Let sᵢ and tᵢ be the products of y'ᵢ with
the two halves. G is a mean over heads, so its product is the mean of t, and neither G nor [y'; G]
is computed: βᵢ = sigmoid(sᵢ + mean(t)). The factors 1/(√N‖y'‖) and β, one scalar for each head, are
multiplied with each other before they are multiplied with the vectors.

    B batch   L vectors of a set (clips)   M their dimension   N heads
"""

from typing import Literal

import torch
from torch import Tensor, nn

from models.attention.clusters import MIN_NORM, make_uniform_weights
from models.layers.padding import clear_padding, find_padding

Aggregation = Literal["concatenation", "summation"]
Takes = Literal["normalized", "transformed"]


class CascadeAttention(nn.Module):
    """Local attention with N heads, followed by global attention over the heads.

    Attributes:
        out_features: Size of the output vectors: N·M for concatenation, M for summation.

    Example:
        >>> attention = CascadeAttention(dimension=2048, heads=32)
        >>> attention(torch.randn(2, 30, 2048)).shape
        torch.Size([2, 65536])
    """

    def __init__(
        self,
        dimension: int,
        heads: int = 32,
        normalize: bool = True,
        global_attention: bool = True,
        aggregation: Aggregation = "concatenation",
        shared: bool = True,
        takes: Takes = "normalized",
    ) -> None:
        """Build the module with random weights.

        Args:
            dimension: M, the dimension of the vectors, 1 or more.
            heads: N, the number of heads, 1 or more. Default: 32.
            normalize: Apply the second FC and the L2 normalization, "FC-Norm" of Table 1.
                Default: True.
            global_attention: Apply equations 5 and 6; otherwise all β are 1. Default: True.
            aggregation: "concatenation" (equation 8) or "summation" (equation 7). Default:
                "concatenation".
            shared: Use one FC (fully connected layer) of equation 4 for all heads. Default: True.
            takes: Which vectors of equation 4 are used in equations 5 to 8: the "normalized" ones,
                or the "transformed" ones before their normalization. Default: "normalized".

        Raises:
            ValueError: If a number is below 1, or ``aggregation`` or ``takes`` is unknown.
        """
        super().__init__()
        if min(dimension, heads) < 1 or aggregation not in ("concatenation", "summation"):
            raise ValueError(
                "expected a dimension and heads of 1 or more, and an aggregation by concatenation "
                f"or summation; got {dimension}, {heads} and {aggregation!r}"
            )
        if takes not in ("normalized", "transformed"):
            raise ValueError(f"expected takes to be normalized or transformed, got {takes!r}")
        self.dimension, self.heads, self.aggregation = dimension, heads, aggregation
        self.uses_norm = normalize and takes == "normalized"
        self.out_features = dimension * (heads if aggregation == "concatenation" else 1)
        self.score = nn.Parameter(make_uniform_weights(heads, dimension))
        self.transform = _make_transform(dimension, heads, shared) if normalize else nn.Identity()
        self.relation: nn.Parameter | None = None
        if global_attention:
            self.relation = nn.Parameter(make_uniform_weights(1, 2 * dimension).view(2, dimension))

    def forward(self, x_BLM: Tensor, lengths_B: Tensor | None = None) -> Tensor:
        """Compute V of equation 7 or 8.

        Args:
            x_BLM: Sets of vectors, (B, L, M).
            lengths_B: Number of vectors in each set, integers (B,) from 1 to L; the remaining
                rows are padding and are ignored. None: all L.

        Returns:
            A tensor (B, N·M), one head after the other, for concatenation; (B, M) for summation.

        Raises:
            ValueError: If the sets or lengths have another shape or range.
        """
        y_BNM, scale_BN1 = self._transform_means(x_BLM, lengths_B)
        beta_BN1 = self._compute_relations(y_BNM, scale_BN1)
        weights_BN1 = scale_BN1 * beta_BN1
        if self.aggregation == "summation":
            return ((weights_BN1 / beta_BN1.sum(1, keepdim=True)).mT @ y_BNM).squeeze(1)
        return (y_BNM * weights_BN1).flatten(1)

    def attention(self, x_BLM: Tensor, lengths_B: Tensor | None = None) -> Tensor:
        """Compute the local attention weights α that `forward` uses.

        Args:
            x_BLM: Sets as in `forward`.
            lengths_B: Lengths as in `forward`.

        Returns:
            The weights (B, N, L). Rows sum to 1; padding has weight 0.

        Raises:
            ValueError: If the sets or lengths have another shape or range.
        """
        return self._attend(x_BLM, lengths_B)[0]

    def relations(self, x_BLM: Tensor, lengths_B: Tensor | None = None) -> Tensor:
        """Compute the global attention weights β that `forward` uses.

        Args:
            x_BLM: Sets as in `forward`.
            lengths_B: Lengths as in `forward`.

        Returns:
            The weights (B, N), from 0 to 1; all 1 without global attention.

        Raises:
            ValueError: If the sets or lengths have another shape or range.
        """
        return self._compute_relations(*self._transform_means(x_BLM, lengths_B)).squeeze(2)

    def _attend(self, x_BLM: Tensor, lengths_B: Tensor | None) -> tuple[Tensor, Tensor]:
        """Compute α of equation 2, (B, N, L), and the sets with zeros in their padding."""
        padding_BL = find_padding(x_BLM, lengths_B, self.dimension)
        x_BLM = clear_padding(x_BLM, padding_BL)
        scores_BNL = self.score @ x_BLM.mT
        if padding_BL is not None:
            scores_BNL = scores_BNL.masked_fill(padding_BL[:, None], -torch.inf)
        return scores_BNL.softmax(dim=2), x_BLM

    def _transform_means(self, x_BLM: Tensor, lengths_B: Tensor | None) -> tuple[Tensor, Tensor]:
        """Compute y' of equation 4, and the factor (B, N, 1) that normalizes it."""
        alpha_BNL, x_BLM = self._attend(x_BLM, lengths_B)
        y_BNM = self.transform(alpha_BNL @ x_BLM)
        if not self.uses_norm:
            return y_BNM, y_BNM.new_ones(*y_BNM.shape[:2], 1)
        norm_BN1 = torch.linalg.vector_norm(y_BNM, dim=2, keepdim=True).clamp(min=MIN_NORM)
        return y_BNM, (norm_BN1 * self.heads**0.5).reciprocal()

    def _compute_relations(self, y_BNM: Tensor, scale_BN1: Tensor) -> Tensor:
        """Compute β of equations 5 and 6, (B, N, 1)."""
        if self.relation is None:
            return torch.ones_like(scale_BN1)
        s_BN1, t_BN1 = (y_BNM @ self.relation.T * scale_BN1).split(1, dim=2)
        return (s_BN1 + t_BN1.mean(1, keepdim=True)).sigmoid()


class LinearByHead(nn.Module):
    """A fully connected layer with its own weights for each head: (B, N, M) → (B, N, M)."""

    def __init__(self, dimension: int, heads: int) -> None:
        """Build the layer with random weights.

        Args:
            dimension: M, of the inputs and of the outputs.
            heads: N.
        """
        super().__init__()
        rows = make_uniform_weights(heads * dimension, dimension)
        self.weight = nn.Parameter(rows.view(heads, dimension, dimension))
        self.bias = nn.Parameter(make_uniform_weights(heads, dimension))

    def forward(self, y_BNM: Tensor) -> Tensor:
        """Multiply the vectors of each head by its matrix, and add its bias.

        Args:
            y_BNM: Vectors by head, (B, N, M).

        Returns:
            A tensor (B, N, M).
        """
        out_NBM = torch.baddbmm(self.bias[:, None], y_BNM.transpose(0, 1), self.weight.mT)
        return out_NBM.transpose(0, 1)


def _make_transform(dimension: int, heads: int, shared: bool) -> nn.Module:
    """Build the FC of equation 4."""
    linear: nn.Module = nn.Linear(dimension, dimension)
    return linear if shared else LinearByHead(dimension, heads)

# ruff: noqa: N803, N806
"""CATNet: N attended means of a set of local features, each then weighed beside their own mean.

Wang, Peng, Qiao, "Cascade Multi-Head Attention Networks for Action Recognition", Computer Vision
and Image Understanding, 2020, §3.

    αᵢⱼ = exp(xⱼᵀwᵢ) / Σₖ exp(xₖᵀwᵢ)        of clip j, by head i                               (2)
    yᵢ  = Σⱼ αᵢⱼ xⱼ                                                                           (3)
    Y'  = [y'₁/(√N‖y'₁‖₂), …, y'_N/(√N‖y'_N‖₂)],   y' the linear transformation of y by an FC (4)
    G   = Σᵢ y'ᵢ / N                                                                          (5)
    βᵢ  = sigmoid(wᵀ[y'ᵢ; G])                                                                 (6)
    V   = Σᵢ βᵢy'ᵢ / Σᵢ βᵢ               summation                                            (7)
    V   = [β₁y'₁, …, β_N y'_N]           concatenation                                        (8)

    x        x              clips of a video, (B, L, M); the paper's number of them is K
    α        ``attention``  (B, N, L)          wᵢ of (2)   score, (N, M)
    FC       transform      M → M              w of (6)    relation, (2, M): for y' and for G
    β        ``relations``  (B, N)

How this reads the paper, where it leaves a choice:
- The FC of (4) is one for all heads: "a FC layer". One for each head (``shared=False``) has N·M²
  weights: 134 million for 32 heads of 2048, where the shared one has 4.
- (5) to (8) take the normalized vectors of (4), though they print y': the text calls them Y'ᵢ, and
  otherwise nothing of (4) would reach the output and Table 1 could not show what it brings.
  ``takes="transformed"`` is the other reading, y' by the letter.
- Without FC-Norm ("the second FC layer and normalization", Table 1), y' is y: the attended means,
  neither transformed nor normalized (``normalize=False``).
- Without global attention all β are 1: (8) is Y' itself, and (7) its mean.
- (6) has no bias and one w for all heads, as printed. (8) prints n for N, and the text K.
- wᵢ, FC and w start as torch's linear layers do; the paper says nothing.
- Where y' is 0, its norm counts as 10⁻¹² for (4) to exist.

What is cheap: w of (6) has a half for y' and one for G, and that of G is a mean over heads too,
so that neither G nor [y'; G] is made: βᵢ = sigmoid(sᵢ + mean(t)). And 1/(√N‖y'‖) and β, one number
a head, are multiplied with each other before they are with vectors.

    B batch   L vectors of a set (clips)   M their dimension   N heads
"""

from typing import Literal

import torch
from torch import nn

from models.attention.clusters import LEAST_NORM, draw_uniform
from models.layers.padding import clear_padding, find_padding

Aggregation = Literal["concatenation", "summation"]
Takes = Literal["normalized", "transformed"]


class CascadeAttention(nn.Module):
    """Local attention of N heads, and the global attention over them.

    ``out_features`` is N·M for concatenation, M for summation.

    Parameters
    ----------
    dimension: M, of the vectors.
    heads: N.
    normalize: the second FC and L2 normalization, "FC-Norm" of Table 1.
    global_attention: equations 5 and 6.
    aggregation: equation 8 or 7.
    shared: one FC of equation 4 for all heads.
    takes: what equations 5 to 8 take of equation 4.

    Raises ValueError for numbers below 1, and an unknown aggregation or ``takes``.
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
        super().__init__()
        if min(dimension, heads) < 1 or aggregation not in ("concatenation", "summation"):
            raise ValueError(
                "expected a dimension and heads of 1 or more, and an aggregation by concatenation "
                f"or summation; got {dimension}, {heads} and {aggregation!r}"
            )
        if takes not in ("normalized", "transformed"):
            raise ValueError(f"expected takes of normalized or transformed, got {takes!r}")
        self.dimension, self.heads, self.aggregation = dimension, heads, aggregation
        self.scales = normalize and takes == "normalized"
        self.out_features = dimension * (heads if aggregation == "concatenation" else 1)
        self.score = nn.Parameter(draw_uniform(heads, dimension))
        self.transform = make_transform(dimension, heads, shared) if normalize else nn.Identity()
        self.relation: nn.Parameter | None = None
        if global_attention:
            self.relation = nn.Parameter(draw_uniform(1, 2 * dimension).view(2, dimension))

    def forward(self, x_BLM: torch.Tensor, lengths_B: torch.Tensor | None = None) -> torch.Tensor:
        """Sets (B, L, M) → V of equation 7, (B, M), or 8, (B, N·M), head after head.

        ``lengths_B``: how many of the L are of the set, int (B,), each 1 or more; the rest is
        padding, whose content does not matter. None: all. Raises ValueError for other shapes.
        """
        y_BNM, scale_BN1 = self._look(x_BLM, lengths_B)
        beta_BN1 = self._relate(y_BNM, scale_BN1)
        weights_BN1 = scale_BN1 * beta_BN1
        if self.aggregation == "summation":
            return ((weights_BN1 / beta_BN1.sum(1, keepdim=True)).mT @ y_BNM).squeeze(1)
        return (y_BNM * weights_BN1).flatten(1)

    def attention(self, x_BLM: torch.Tensor, lengths_B: torch.Tensor | None = None) -> torch.Tensor:
        """α as `forward` uses it, (B, N, L): rows sum to 1, padding has 0."""
        return self._attend(x_BLM, lengths_B)[0]

    def relations(self, x_BLM: torch.Tensor, lengths_B: torch.Tensor | None = None) -> torch.Tensor:
        """β as `forward` uses it, (B, N); ones without global attention."""
        return self._relate(*self._look(x_BLM, lengths_B)).squeeze(2)

    def _attend(
        self, x_BLM: torch.Tensor, lengths_B: torch.Tensor | None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Equation 2, and the sets with nothing in their padding."""
        padding_BL = find_padding(x_BLM, lengths_B, self.dimension)
        x_BLM = clear_padding(x_BLM, padding_BL)
        scores_BNL = self.score @ x_BLM.mT
        if padding_BL is not None:
            scores_BNL = scores_BNL.masked_fill(padding_BL[:, None], -torch.inf)
        return scores_BNL.softmax(dim=2), x_BLM

    def _look(
        self, x_BLM: torch.Tensor, lengths_B: torch.Tensor | None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """y' of equation 4, and by what it is multiplied before (5) to (8)."""
        alpha_BNL, x_BLM = self._attend(x_BLM, lengths_B)
        y_BNM = self.transform(alpha_BNL @ x_BLM)
        if not self.scales:
            return y_BNM, y_BNM.new_ones(*y_BNM.shape[:2], 1)
        norm_BN1 = torch.linalg.vector_norm(y_BNM, dim=2, keepdim=True).clamp(min=LEAST_NORM)
        return y_BNM, (norm_BN1 * self.heads**0.5).reciprocal()

    def _relate(self, y_BNM: torch.Tensor, scale_BN1: torch.Tensor) -> torch.Tensor:
        """Equations 5 and 6, (B, N, 1)."""
        if self.relation is None:
            return torch.ones_like(scale_BN1)
        own_BN1, of_all_BN1 = (y_BNM @ self.relation.T * scale_BN1).split(1, dim=2)
        return (own_BN1 + of_all_BN1.mean(1, keepdim=True)).sigmoid()


class LinearByHead(nn.Module):
    """A fully connected layer for each head: (B, N, M) → (B, N, M)."""

    def __init__(self, dimension: int, heads: int) -> None:
        super().__init__()
        rows = draw_uniform(heads * dimension, dimension)
        self.weight = nn.Parameter(rows.view(heads, dimension, dimension))
        self.bias = nn.Parameter(draw_uniform(heads, dimension))

    def forward(self, y_BNM: torch.Tensor) -> torch.Tensor:
        """Head n's vectors times head n's matrix, and its bias."""
        found_NBM = torch.baddbmm(self.bias[:, None], y_BNM.transpose(0, 1), self.weight.mT)
        return found_NBM.transpose(0, 1)


def make_transform(dimension: int, heads: int, shared: bool) -> nn.Module:
    """The FC of equation 4."""
    linear: nn.Module = nn.Linear(dimension, dimension)
    return linear if shared else LinearByHead(dimension, heads)

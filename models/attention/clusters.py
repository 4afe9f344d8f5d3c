# ruff: noqa: N803, N806
"""Attention Clusters: a set of local features becomes N weighted means of it, side by side.

Long, Gan, de Melo, Wu, Liu, Wen, "Attention Clusters: Purely Attention Based Local Feature
Integration for Video Classification", CVPR 2018, §3.

    v = X a                              one unit, of a set X = (x₁, …, x_L)                   (2)
    a = 1/L                              Average                                              (3)
    a = softmax(wᵀ X + b)                FC1                                                  (4)
    a = softmax(w₂ᵀ tanh(W₁ᵀ X + b₁) + b₂)      FC2                                           (5)
    g = [v₁, …, v_N]                     the cluster                                          (6)
    v = (α·X a + β) / (√N ‖α·X a + β‖₂)  the shifting operation                               (7)

    X        x          vectors of the set, (B, L, M)
    a        weights    over the set: ``attention``
    w        score      of all N units in one product
    W₁, b₁   hidden     H cells a unit
    w₂       score
    α, β     scale, shift      scalars, one pair a unit

How this reads the paper, where it leaves a choice:
- b of (4) and b₂ of (5) are printed as vectors of L, one number for each place. Sets have no
  places (§3.1: "permuting the columns of the matrix should not affect the results"), and L varies.
  The authors' code has one number a unit, which the softmax cancels. So there is none here.
- α and β start from N(0, N^-1/4) (its standard deviation), w and W₁ from U(±M^-1/2), w₂ from
  U(±H^-1/2), as in the authors' code; the paper says nothing.
- Where α·X a + β is 0, its norm counts as 10⁻¹² for (7) to exist.
- Average makes N copies, as §4.3 does; with shifting each has its own α and β.

All units are one product; (7) keeps X a and its own result for the gradients, and nothing between.

    B batch   L vectors of a set   M their dimension   N units   H hidden cells
"""

from typing import Any, Literal

import torch
from torch import nn
from torch.autograd.function import once_differentiable

from models.layers.padding import clear_padding, find_padding

Weighting = Literal["fc1", "fc2", "average"]
WEIGHTINGS = ("fc1", "fc2", "average")
LEAST_NORM = 1e-12


class AttentionCluster(nn.Module):
    """N attention units over the same set. ``out_features`` is N·M.

    Parameters
    ----------
    dimension: M, of the vectors.
    units: N.
    weighting: equation 3, 4 or 5.
    shifting: equation 7 in place of 2.
    hidden: H of equation 5.

    Raises ValueError for numbers below 1 and an unknown weighting.
    """

    def __init__(
        self,
        dimension: int,
        units: int,
        weighting: Weighting = "fc1",
        shifting: bool = True,
        hidden: int = 10,
    ) -> None:
        super().__init__()
        if min(dimension, units, hidden) < 1 or weighting not in WEIGHTINGS:
            raise ValueError(
                f"expected a dimension, units and hidden cells of 1 or more and a weighting of "
                f"{', '.join(WEIGHTINGS)}; got {dimension}, {units}, {hidden} and {weighting!r}"
            )
        self.dimension, self.units, self.weighting = dimension, units, weighting
        self.shifting, self.out_features = shifting, units * dimension
        if weighting == "fc1":
            self.score = nn.Parameter(draw_uniform(units, dimension))
        if weighting == "fc2":
            self.hidden = nn.Linear(dimension, units * hidden)
            self.score = nn.Parameter(draw_uniform(units, hidden))
        if shifting:
            self.scale, self.shift = (
                nn.Parameter(torch.randn(units) * units**-0.25) for _ in range(2)
            )

    def forward(self, x_BLM: torch.Tensor, lengths_B: torch.Tensor | None = None) -> torch.Tensor:
        """Sets (B, L, M) → g of equation 6, (B, N·M), unit after unit.

        ``lengths_B``: how many of the L are of the set, int (B,), each 1 or more; the rest is
        padding, whose content does not matter. None: all. Raises ValueError for other shapes.
        """
        padding_BL = find_padding(x_BLM, lengths_B, self.dimension)
        x_BLM = clear_padding(x_BLM, padding_BL)
        v_BNM = self._weigh(x_BLM, padding_BL) @ x_BLM
        if self.shifting:
            v_BNM = Shift.apply(v_BNM, self.scale[:, None], self.shift[:, None])
        return v_BNM.expand(-1, self.units, -1).flatten(1)

    def attention(self, x_BLM: torch.Tensor, lengths_B: torch.Tensor | None = None) -> torch.Tensor:
        """a of each unit as `forward` uses it, (B, N, L): rows sum to 1, padding has 0."""
        padding_BL = find_padding(x_BLM, lengths_B, self.dimension)
        weights = self._weigh(clear_padding(x_BLM, padding_BL), padding_BL)
        return weights.expand(-1, self.units, -1)

    def _weigh(self, x_BLM: torch.Tensor, padding_BL: torch.Tensor | None) -> torch.Tensor:
        """Equation 3, (B, 1, L), the same for all units; 4 or 5, (B, N, L)."""
        if self.weighting == "average":
            scores = x_BLM.new_zeros(len(x_BLM), 1, x_BLM.shape[1])
        elif self.weighting == "fc1":
            scores = self.score @ x_BLM.mT
        else:
            hidden_BLNH = self.hidden(x_BLM).tanh().unflatten(2, self.score.shape)
            scores = (hidden_BLNH * self.score).sum(3).mT
        if padding_BL is not None:
            scores = scores.masked_fill(padding_BL[:, None], -torch.inf)
        return scores.softmax(dim=2)


class Shift(torch.autograd.Function):
    """Equation 7 of v (B, N or 1, M), α and β (N, 1): (B, N, M)."""

    @staticmethod
    def forward(
        ctx: Any, v_BNM: torch.Tensor, scale_N1: torch.Tensor, shift_N1: torch.Tensor
    ) -> torch.Tensor:
        z_BNM = torch.addcmul(shift_N1, scale_N1, v_BNM.to(scale_N1.dtype))  # halves by autocast
        units = len(scale_N1)
        norm_BN1 = torch.linalg.vector_norm(z_BNM, dim=2, keepdim=True).clamp_(min=LEAST_NORM)
        inverse_BN1 = (norm_BN1 * units**0.5).reciprocal_()
        z_BNM *= inverse_BN1
        ctx.save_for_backward(v_BNM, z_BNM, inverse_BN1, scale_N1)
        return z_BNM

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, gradient_BNM: torch.Tensor) -> Any:
        v_BNM, out_BNM, inverse_BN1, scale_N1 = ctx.saved_tensors
        # Only what is perpendicular to the result changes its direction.
        along_BN1 = torch.linalg.vecdot(gradient_BNM, out_BNM)[:, :, None] * len(scale_N1)
        of_z_BNM = torch.addcmul(gradient_BNM, out_BNM, along_BN1, value=-1)
        of_z_BNM *= inverse_BN1
        of_scale = torch.linalg.vecdot(of_z_BNM, v_BNM.to(of_z_BNM.dtype)).sum(0)[:, None]
        of_shift = of_z_BNM.sum((0, 2))[:, None]
        of_v_BNM = of_z_BNM.mul_(scale_N1)
        if v_BNM.shape[1] != len(scale_N1):
            of_v_BNM = of_v_BNM.sum(1, keepdim=True)
        return of_v_BNM, of_scale, of_shift


def draw_uniform(rows: int, columns: int) -> torch.Tensor:
    """Weights of `rows` cells of `columns` inputs each, as torch's layers draw theirs."""
    return torch.empty(rows, columns).uniform_(-(columns**-0.5), columns**-0.5)

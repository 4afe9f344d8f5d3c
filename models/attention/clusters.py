# ruff: noqa: N803, N806
"""Attention Clusters: turn a set of local features into N weighted means, concatenated.

Long, Gan, de Melo, Wu, Liu, Wen, "Attention Clusters: Purely Attention Based Local Feature
Integration for Video Classification", CVPR 2018, §3.

    v = X a                              one unit, of a set X = (x₁, …, x_L)                   (2)
    a = 1/L                              Average                                              (3)
    a = softmax(wᵀ X + b)                FC1                                                  (4)
    a = softmax(w₂ᵀ tanh(W₁ᵀ X + b₁) + b₂)      FC2                                           (5)
    g = [v₁, …, v_N]                     the cluster                                          (6)
    v = (α·X a + β) / (√N ‖α·X a + β‖₂)  the shifting operation                               (7)

    paper    name          meaning
    X        x             vectors of the set, (B, L, M)
    a        weights       attention weights over the set, returned by ``attention``
    w        score         of all N units in one matrix
    W₁, b₁   hidden        H hidden cells for each unit
    w₂       score
    α, β     scale, shift  one pair of scalars for each unit

Deviations and choices:
- b of (4) and b₂ of (5) are printed as vectors of length L, one value for each position. Sets have
  no positions (§3.1: "permuting the columns of the matrix should not affect the results"), and L
  varies. The authors' code has one value for each unit, which the softmax cancels. So this code
  has no bias here.
- α and β start from N(0, N^-1/4) (its standard deviation), w and W₁ from U(±M^-1/2), w₂ from
  U(±H^-1/2), as in the authors' code; the paper does not say.
- The norm in (7) is at least 10⁻¹², so that (7) is defined where α·X a + β is 0.
- Average makes N copies, as §4.3 does; with shifting, each copy has its own α and β.

All units are computed in one matrix product. For the backward pass, (7) keeps only X a and its
result.

    B batch   L vectors of a set   M their dimension   N units   H hidden cells
"""

from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from models.layers.padding import clear_padding, find_padding

Weighting = Literal["fc1", "fc2", "average"]
WEIGHTINGS = ("fc1", "fc2", "average")
MIN_NORM = 1e-12


class AttentionCluster(nn.Module):
    """A cluster of N attention units over the same set of vectors.

    Attributes:
        out_features: Size of the output vectors, N·M.

    Example:
        >>> cluster = AttentionCluster(dimension=1536, units=64)
        >>> cluster(torch.randn(2, 25, 1536)).shape
        torch.Size([2, 98304])
    """

    def __init__(
        self,
        dimension: int,
        units: int,
        weighting: Weighting = "fc1",
        shifting: bool = True,
        hidden: int = 10,
    ) -> None:
        """Build the cluster with random weights.

        Args:
            dimension: M, the dimension of the vectors, 1 or more.
            units: N, the number of attention units, 1 or more.
            weighting: How the attention weights are computed: "average" (equation 3), "fc1" (4)
                or "fc2" (5). Default: "fc1".
            shifting: Apply the shifting operation (equation 7). Default: True.
            hidden: H, the hidden cells of each unit in equation 5, 1 or more. Default: 10.

        Raises:
            ValueError: If a number is below 1 or the weighting is unknown.
        """
        super().__init__()
        if min(dimension, units, hidden) < 1 or weighting not in WEIGHTINGS:
            raise ValueError(
                f"expected a dimension, units and hidden cells of 1 or more and a weighting of "
                f"{', '.join(WEIGHTINGS)}; got {dimension}, {units}, {hidden} and {weighting!r}"
            )
        self.dimension, self.units, self.weighting = dimension, units, weighting
        self.shifting, self.out_features = shifting, units * dimension
        if weighting == "fc1":
            self.score = nn.Parameter(make_uniform_weights(units, dimension))
        if weighting == "fc2":
            self.hidden = nn.Linear(dimension, units * hidden)
            self.score = nn.Parameter(make_uniform_weights(units, hidden))
        if shifting:
            self.scale, self.shift = (
                nn.Parameter(torch.randn(units) * units**-0.25) for _ in range(2)
            )

    def forward(self, x_BLM: Tensor, lengths_B: Tensor | None = None) -> Tensor:
        """Compute g of equation 6.

        Args:
            x_BLM: Sets of vectors, (B, L, M).
            lengths_B: Number of vectors in each set, integers (B,) from 1 to L; the remaining
                rows are padding and are ignored. None: all L.

        Returns:
            A tensor (B, N·M): the vectors of all units, one unit after the other.

        Raises:
            ValueError: If the sets or lengths have another shape or range.
        """
        weights, x_BLM = self._attend(x_BLM, lengths_B)
        v_BNM = weights @ x_BLM
        if self.shifting:
            v_BNM = ShiftAndNormalize.apply(v_BNM, self.scale[:, None], self.shift[:, None])
        return v_BNM.expand(-1, self.units, -1).flatten(1)

    def attention(self, x_BLM: Tensor, lengths_B: Tensor | None = None) -> Tensor:
        """Compute the attention weights a that `forward` uses.

        Args:
            x_BLM: Sets as in `forward`.
            lengths_B: Lengths as in `forward`.

        Returns:
            The weights (B, N, L). Rows sum to 1; padding has weight 0.

        Raises:
            ValueError: If the sets or lengths have another shape or range.
        """
        return self._attend(x_BLM, lengths_B)[0].expand(-1, self.units, -1)

    def _attend(self, x_BLM: Tensor, lengths_B: Tensor | None) -> tuple[Tensor, Tensor]:
        """Compute the weights of equation 3, (B, 1, L) for all units, or of 4 or 5, (B, N, L).

        Returns:
            The weights, and the sets with zeros in their padding.
        """
        padding_BL = find_padding(x_BLM, lengths_B, self.dimension)
        x_BLM = clear_padding(x_BLM, padding_BL)
        if self.weighting == "average":
            scores = x_BLM.new_zeros(len(x_BLM), 1, x_BLM.shape[1])
        elif self.weighting == "fc1":
            scores = self.score @ x_BLM.mT
        else:
            hidden_BLNH = self.hidden(x_BLM).tanh().unflatten(2, self.score.shape)
            scores = (hidden_BLNH * self.score).sum(3).mT
        if padding_BL is not None:
            scores = scores.masked_fill(padding_BL[:, None], -torch.inf)
        return scores.softmax(dim=2), x_BLM


class ShiftAndNormalize(torch.autograd.Function):
    """The shifting operation, equation 7, with a backward pass that keeps few tensors."""

    @staticmethod
    def forward(ctx: Any, v_BNM: Tensor, scale_N1: Tensor, shift_N1: Tensor) -> Tensor:
        """Compute equation 7.

        Args:
            ctx: The autograd context.
            v_BNM: X a of each unit, (B, N, M), or (B, 1, M) if all units share it.
            scale_N1: α, (N, 1).
            shift_N1: β, (N, 1).

        Returns:
            The normalized vectors, (B, N, M).
        """
        # Under autocast v is in half precision and the parameters are not.
        z_BNM = torch.addcmul(shift_N1, scale_N1, v_BNM.to(scale_N1.dtype))
        units = len(scale_N1)
        norm_BN1 = torch.linalg.vector_norm(z_BNM, dim=2, keepdim=True).clamp_(min=MIN_NORM)
        inverse_BN1 = (norm_BN1 * units**0.5).reciprocal_()
        z_BNM *= inverse_BN1
        ctx.save_for_backward(v_BNM, z_BNM, inverse_BN1, scale_N1)
        return z_BNM

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, gradient_BNM: Tensor) -> Any:
        """Compute the gradients of v, α and β.

        Args:
            ctx: The autograd context.
            gradient_BNM: Gradient of the output, (B, N, M).

        Returns:
            The gradients, in the shapes of v_BNM, scale_N1 and shift_N1.
        """
        v_BNM, out_BNM, inverse_BN1, scale_N1 = ctx.saved_tensors
        # The norm is fixed, so only the part of the gradient perpendicular to the output remains.
        parallel_BN1 = torch.linalg.vecdot(gradient_BNM, out_BNM)[:, :, None] * len(scale_N1)
        grad_z_BNM = torch.addcmul(gradient_BNM, out_BNM, parallel_BN1, value=-1)
        grad_z_BNM *= inverse_BN1
        grad_scale = torch.linalg.vecdot(grad_z_BNM, v_BNM.to(grad_z_BNM.dtype)).sum(0)[:, None]
        grad_shift = grad_z_BNM.sum((0, 2))[:, None]
        grad_v_BNM = grad_z_BNM.mul_(scale_N1)
        if v_BNM.shape[1] != len(scale_N1):
            grad_v_BNM = grad_v_BNM.sum(1, keepdim=True)
        return grad_v_BNM, grad_scale, grad_shift


def make_uniform_weights(rows: int, columns: int) -> Tensor:
    """Draw a weight matrix from the distribution of PyTorch's linear layers.

    Args:
        rows: Number of outputs.
        columns: Number of inputs, 1 or more.

    Returns:
        A tensor (rows, columns), uniform in ±1/√columns.
    """
    return torch.empty(rows, columns).uniform_(-(columns**-0.5), columns**-0.5)

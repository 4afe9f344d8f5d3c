# ruff: noqa: N803, N806
"""Interaction-aware spatio-temporal pyramid attention: K frames' features become one frame's.

Du, Yuan, Li, Zhao, Li, Hu, "Interaction-aware Spatio-temporal Pyramid Attention Networks for
Action Classification", ECCV 2018, §3.

    f'ⱼ = ℜ(fⱼ)                          levels of the pyramid, max-pooled to the top's size  (1)
    Yⱼ  = Wⱼ Xⱼᵀ ⊕ bⱼ                     a score of every position, d times: a 1×1 convolution (2)
    A   = softmax(ℱ(Y₁, …, Y_N)) / ‖·‖₂  over the positions of all K frames                   (3)
    M   = A X                            d = W·H vectors: the features of one frame again      (4)

    l_interactive = −Σₘ (A X Xᵀ Aᵀ)ₘₘ + Σ_{m≠n} (A Aᵀ)ₘₙ²                                     (6)
    δ  = |softmax(ℱ(Y)) − softmax(Yⱼ)|   of each score of each level                          (7)
    l_attn = √Σⱼₘₖ (1 − δ²)                                                                   (8)

What is cheap: (6) needs neither X Xᵀ nor A X Xᵀ Aᵀ. The first sum is ‖A X‖² = ‖M‖², of what (4)
has anyway; A Aᵀ is d×d. (8) is √(Ndn − Σδ²), of which nothing but the softmaxes is kept for the
gradients.

How this reads the paper, where it leaves a choice:
- (7) takes a before its L2 normalization. Both sides are then distributions over positions, δ is
  in [0, 1] as the paper says, and with one level it is 0: there is nothing to tell apart.
- (6) as printed sets the energy ‖A X‖², which grows with the features, against overlaps of rows,
  which do not. Features that are not small drown the overlaps; all rows then become the first
  principal direction, which of features behind a ReLU is almost their mean. ``energy="share"``
  divides by ‖X‖²: rows that overlap cost more than the same direction gains.
- (5) seeks basis vectors for given features, so the gradient of (6) reaches A and not X, unless
  `moves_features`. Otherwise the printed loss falls without bound as features grow.
- (9) averages the cross-entropy over K frames. Here K frames make one map and one prediction, so
  that mean is over one. Both losses are of a video; those of a batch are averaged.
- Rows of A have norm 1, not sum 1, so M grows with √(K·W·H) for even weights: K at testing other
  than at training changes the scale of what follows, as printed.
- "The last fully connected layer" of Table 1(a), X of 1536×1, is a level of one channel and 1536
  positions.

    B batch   K frames   C channels   H W  size of the top level   D = H·W   N = K·H·W positions
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, Literal, NamedTuple

import torch
from torch import nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

Fusion = Literal["multiplication", "sum", "maximum"]
FUSIONS = {"multiplication": torch.mul, "sum": torch.add, "maximum": torch.maximum}
Measure = Literal["sum", "share"]


class Attended(NamedTuple):
    """``maps`` (B, C, H, W), and the losses (6) and (8), scalars, or None where not asked for."""

    maps: torch.Tensor
    interactive: torch.Tensor | None
    likeness: torch.Tensor | None


class PyramidAttention(nn.Module):
    """The attention layer.

    Parameters
    ----------
    channels: of the levels, from the finest to the top one, whose features are aggregated.
    size: (H, W) of the top level, fixed with the parameters; K is free.
    fusion: ℱ of equation 3.
    moves_features: let the gradient of l_interactive reach the features too.
    energy: what (6) takes of ‖A X‖²: the "sum", as printed, or its "share" of ‖X‖².

    Raises ValueError for no levels, or an unknown fusion.
    """

    def __init__(
        self,
        channels: Sequence[int],
        size: tuple[int, int],
        fusion: Fusion = "multiplication",
        moves_features: bool = False,
        energy: Measure = "sum",
    ) -> None:
        super().__init__()
        if not channels or fusion not in FUSIONS:
            raise ValueError(
                f"expected levels and a fusion of {', '.join(FUSIONS)}; got {len(channels)} levels "
                f"and {fusion!r}"
            )
        self.size, self.fusion = size, fusion
        self.moves_features, self.energy = moves_features, energy
        depth = size[0] * size[1]
        self.scores = nn.ModuleList(nn.Linear(count, depth) for count in channels)

    def forward(
        self, levels: Sequence[torch.Tensor], frames: int, losses: bool = False
    ) -> Attended:
        """Levels (B·K, C_j, H_j, W_j), from the finest to the top → the attended top level.

        Raises ValueError where levels do not shrink towards the top, or do not fit.
        """
        top_BCN, y_by_level = self._score(levels, frames)
        a_BDN = self._fuse(y_by_level)
        basis_BDN = functional.normalize(a_BDN, dim=2)
        maps_BCD = top_BCN @ basis_BDN.transpose(1, 2)
        maps = maps_BCD.unflatten(2, self.size)
        if not losses:
            return Attended(maps, None, None)
        energy_B = self._measure_energy(basis_BDN, top_BCN, maps_BCD)
        return Attended(
            maps, measure_interaction(basis_BDN, energy_B), measure_likeness(a_BDN, y_by_level)
        )

    def attention(
        self, levels: Sequence[torch.Tensor], frames: int, scales: int | None = None
    ) -> torch.Tensor:
        """A of equation 3, (B, D, K, H, W), with rows of norm 1, as `forward` uses it.

        ``scales``: by so many of the top levels alone.
        """
        _, y_by_level = self._score(levels, frames)
        a_BDN = functional.normalize(self._fuse(y_by_level[-(scales or len(y_by_level)) :]), dim=2)
        return a_BDN.unflatten(2, (frames, *self.size))

    def _measure_energy(
        self, a_BDN: torch.Tensor, x_BCN: torch.Tensor, maps_BCD: torch.Tensor
    ) -> torch.Tensor:
        """The first sum of equation 6 of each video, (B,)."""
        if self.moves_features:
            energy_B = sum_squares(maps_BCD)
        else:
            x_BCN = x_BCN.detach()
            energy_B = Energy.apply(a_BDN, x_BCN, maps_BCD.detach())
        return energy_B if self.energy == "sum" else energy_B / sum_squares(x_BCN)

    def _score(
        self, levels: Sequence[torch.Tensor], frames: int
    ) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """Equations 1 and 2: X of the top level (B, C, N), and Y of each level (B, D, N)."""
        check_levels(levels, len(self.scores), self.size, frames)
        found = []
        for level, layer in zip(levels, self.scores, strict=True):
            x_BCN = flatten_frames(level, self.size, frames)
            found.append(layer.weight @ x_BCN + layer.bias[:, None])
        return x_BCN, found

    def _fuse(self, y_by_level: list[torch.Tensor]) -> torch.Tensor:
        """The softmax of equation 3, not yet normalized."""
        y_BDN = y_by_level[0]
        for other in y_by_level[1:]:
            y_BDN = FUSIONS[self.fusion](y_BDN, other)
        return y_BDN.softmax(dim=2)


def flatten_frames(level: torch.Tensor, size: tuple[int, int], frames: int) -> torch.Tensor:
    """Equation 1, and all positions of all frames of a video in a row: (B·K, C, …) → (B, C, N)."""
    if level.shape[2:] != size:
        level = functional.adaptive_max_pool2d(level, size)
    return level.flatten(2).unflatten(0, (-1, frames)).transpose(1, 2).flatten(2)


class Energy(torch.autograd.Function):
    """‖A X‖², of an A X that is known already, whose gradient reaches A alone."""

    @staticmethod
    def forward(
        ctx: Any, a_BDN: torch.Tensor, x_BCN: torch.Tensor, maps_BCD: torch.Tensor
    ) -> torch.Tensor:
        ctx.save_for_backward(x_BCN, maps_BCD)
        ctx.kind = a_BDN.dtype
        return sum_squares(maps_BCD)

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, gradient_B: torch.Tensor) -> Any:
        x_BCN, maps_BCD = ctx.saved_tensors
        found = maps_BCD.transpose(1, 2) @ x_BCN.to(maps_BCD.dtype)
        return (2 * gradient_B[:, None, None] * found).to(ctx.kind), None, None


def sum_squares(x_BCN: torch.Tensor) -> torch.Tensor:
    """Of each video, (B,); sums of many halves in halves would be rough."""
    return x_BCN.to(torch.promote_types(x_BCN.dtype, torch.float32)).square().sum(dim=(1, 2))


def measure_interaction(a_BDN: torch.Tensor, energy_B: torch.Tensor) -> torch.Tensor:
    """Equation 6, the mean over the batch, from A and what ‖A X‖² counts."""
    gram_BDD = a_BDN @ a_BDN.transpose(1, 2)
    others = gram_BDD - torch.diag_embed(gram_BDD.diagonal(dim1=1, dim2=2))
    return (others.square().sum() - energy_B.sum()) / len(a_BDN)


def measure_likeness(a_BDN: torch.Tensor, y_by_level: list[torch.Tensor]) -> torch.Tensor:
    """Equations 7 and 8, the mean over the batch: large where all levels look at the same."""
    apart = a_BDN.new_zeros(len(a_BDN))
    for y_BDN in y_by_level:
        squares = functional.mse_loss(a_BDN, y_BDN.softmax(dim=2), reduction="none")
        apart = apart + squares.sum(dim=(1, 2))
    count = len(y_by_level) * a_BDN[0].numel()
    return (count - apart).sqrt().mean()


def check_levels(
    levels: Sequence[torch.Tensor], count: int, size: tuple[int, int], frames: int
) -> None:
    """ValueError where levels are not a pyramid of ``count`` with a top of ``size``."""
    sizes = [tuple(level.shape[-2:]) for level in levels]
    if len(levels) != count:
        raise ValueError(f"expected {count} levels, got {len(levels)}")
    if sizes[-1] != size:
        raise ValueError(
            f"expected a top level of {size[0]}×{size[1]}, got {sizes[-1][0]}×{sizes[-1][1]}; its "
            "size is fixed with the parameters: give images of the size that it was built for"
        )
    for below, above in pairwise(sizes):
        if below[0] < above[0] or below[1] < above[1]:
            raise ValueError(
                f"levels must not grow towards the top, got sizes {' → '.join(map(str, sizes))}; "
                "name the taps from the finest to the coarsest"
            )
    if frames < 1 or len(levels[0]) % frames:
        raise ValueError(
            f"expected images of videos with {frames} frames each, got {len(levels[0])}"
        )

# ruff: noqa: N803, N806
"""Spatio-temporal pyramid attention: combine the features of K frames into those of one frame.

Du, Yuan, Li, Zhao, Li, Hu, "Interaction-aware Spatio-temporal Pyramid Attention Networks for
Action Classification", ECCV 2018, §3.

    f'ⱼ = ℜ(fⱼ)                          levels of the pyramid, max-pooled to the top's size  (1)
    Yⱼ  = Wⱼ Xⱼᵀ ⊕ bⱼ                     d scores for each position: a 1×1 convolution        (2)
    A   = softmax(ℱ(Y₁, …, Y_J)) / ‖·‖₂  over the positions of all K frames                   (3)
    M   = A X                            d = W·H vectors: the features of one frame           (4)

    l_interactive = −Σₘ (A X Xᵀ Aᵀ)ₘₘ + Σ_{m≠n} (A Aᵀ)ₘₙ²                                     (6)
    δ  = |softmax(ℱ(Y)) − softmax(Yⱼ)|   for each score of each level                         (7)
    l_attn = √Σⱼₘₖ (1 − δ²)                                                                   (8)

    paper          name              meaning
    Wⱼ, bⱼ         scores            one linear layer for each level
    ℱ              fusion            multiplication, sum or maximum
    A              a, basis          the softmax, before and after its L2 normalization
    M              maps              the attended features
    l_interactive  interactive_loss
    l_attn         similarity_loss   large where all levels have the same attention

Efficiency: (6) needs neither X Xᵀ nor A X Xᵀ Aᵀ. The first sum is ‖A X‖² = ‖M‖², and (4) computes
M in any case; A Aᵀ is d×d. (8) is √(J·d·N − Σδ²), so only the softmaxes are kept for the gradients.

Deviations and choices:
- (7) uses A before its L2 normalization. Both sides are then distributions over positions, and δ
  is in [0, 1] as the paper says. With one level δ is 0.
- (6) as printed compares the energy ‖A X‖², which grows with the features, with overlaps of rows,
  which do not. With large features the energy dominates: all rows then become the first principal
  direction, which for features after a ReLU is almost their mean. ``energy="share"`` divides the
  energy by ‖X‖²; then rows that overlap raise the loss more than a common direction lowers it.
- (5) searches basis vectors for given features, so the gradient of (6) reaches A and not X, unless
  `moves_features` is set. With it, the printed loss falls without bound as the features grow.
- (9) averages the cross-entropy over K frames. Here K frames give one map and one prediction, so
  there is one cross-entropy. Both losses are defined for a video, and averaged over the batch.
- Rows of A have norm 1 and not sum 1, so for equal weights M grows with √(K·W·H). If K differs
  between training and testing, the scale of M differs too, as in the printed equations.
- "The last fully connected layer" of Table 1(a), X of 1536×1, is a level of one channel and 1536
  positions.

    B batch   K frames   C channels   H W  size of the top level   D = H·W, the paper's d
    N = K·H·W positions   J levels, the paper's N
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, Literal, NamedTuple, get_args

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

ScoreFusion = Literal["multiplication", "sum", "maximum"]
SCORE_FUSIONS = {"multiplication": torch.mul, "sum": torch.add, "maximum": torch.maximum}
EnergyMeasure = Literal["sum", "share"]


class Attended(NamedTuple):
    """The output of `PyramidAttention`."""

    maps: Tensor
    """The attended features, (B, C, H, W)."""

    interactive_loss: Tensor | None
    """l_interactive of equation 6, a scalar; None if the losses were not requested."""

    similarity_loss: Tensor | None
    """l_attn of equation 8, a scalar; None if the losses were not requested."""


class PyramidAttention(nn.Module):
    """Attention over the positions of K frames, scored on several levels of a feature pyramid.

    Example:
        >>> attention = PyramidAttention(channels=[256, 512], size=(7, 7))
        >>> levels = [torch.randn(2 * 5, 256, 14, 14), torch.randn(2 * 5, 512, 7, 7)]
        >>> attention(levels, frames=5).maps.shape
        torch.Size([2, 512, 7, 7])
    """

    def __init__(
        self,
        channels: Sequence[int],
        size: tuple[int, int],
        fusion: ScoreFusion = "multiplication",
        moves_features: bool = False,
        energy: EnergyMeasure = "sum",
    ) -> None:
        """Build the layer with random weights.

        Args:
            channels: Channels of each level, from the finest level to the top one. The features
                of the top level are aggregated.
            size: (H, W) of the top level. It is fixed with the parameters; K is not.
            fusion: ℱ of equation 3, which combines the scores of all levels: "multiplication",
                "sum" or "maximum". Default: "multiplication".
            moves_features: Let the gradient of the interactive loss reach the features too.
                Default: False.
            energy: How equation 6 counts ‖A X‖²: as its "sum", as printed, or as its "share" of
                ‖X‖². Default: "sum".

        Raises:
            ValueError: If there are no levels, or the fusion or the energy is unknown.
        """
        super().__init__()
        if not channels or fusion not in SCORE_FUSIONS:
            raise ValueError(
                f"expected levels and a fusion of {', '.join(SCORE_FUSIONS)}; got {len(channels)} "
                f"levels and {fusion!r}"
            )
        if energy not in get_args(EnergyMeasure):
            raise ValueError(
                f"expected an energy of {', '.join(get_args(EnergyMeasure))}; got {energy!r}"
            )
        self.size, self.fusion = size, fusion
        self.moves_features, self.energy = moves_features, energy
        positions = size[0] * size[1]
        self.scores = nn.ModuleList(nn.Linear(count, positions) for count in channels)

    def forward(self, levels: Sequence[Tensor], frames: int, losses: bool = False) -> Attended:
        """Attend to the top level.

        Args:
            levels: Features of each level, (B·K, Cⱼ, Hⱼ, Wⱼ), from the finest to the top one. The
                K frames of a video are consecutive.
            frames: K, 1 or more.
            losses: Compute the losses of equations 6 and 8 too. Default: False.

        Returns:
            The attended features and the losses.

        Raises:
            ValueError: If the number of levels, the size of the top level or the number of images
                does not fit, or a level is smaller than the next one towards the top.
        """
        top_BCN, y_by_level = self._score_levels(levels, frames)
        a_BDN = self._fuse_scores(y_by_level)
        basis_BDN = functional.normalize(a_BDN, dim=2)
        maps_BCD = top_BCN @ basis_BDN.transpose(1, 2)
        maps = maps_BCD.unflatten(2, self.size)
        if not losses:
            return Attended(maps, None, None)
        energy_B = self._compute_energy(basis_BDN, top_BCN, maps_BCD)
        return Attended(
            maps,
            _compute_interactive_loss(basis_BDN, energy_B),
            _compute_similarity_loss(a_BDN, y_by_level),
        )

    def attention(self, levels: Sequence[Tensor], frames: int, scales: int | None = None) -> Tensor:
        """Compute A of equation 3 as `forward` uses it.

        Args:
            levels: Features as in `forward`.
            frames: K, 1 or more.
            scales: Use only this many of the top levels. Default: all.

        Returns:
            A tensor (B, D, K, H, W), whose rows have L2 norm 1 over K, H and W.

        Raises:
            ValueError: As `forward`.
        """
        _, y_by_level = self._score_levels(levels, frames)
        used_levels = y_by_level[-(scales or len(y_by_level)) :]
        basis_BDN = functional.normalize(self._fuse_scores(used_levels), dim=2)
        return basis_BDN.unflatten(2, (frames, *self.size))

    def _compute_energy(self, basis_BDN: Tensor, x_BCN: Tensor, maps_BCD: Tensor) -> Tensor:
        """Compute the first sum of equation 6 for each video, (B,)."""
        if self.moves_features:
            energy_B = _sum_squares(maps_BCD)
        else:
            x_BCN = x_BCN.detach()
            energy_B = FeatureEnergy.apply(basis_BDN, x_BCN, maps_BCD.detach())
        return energy_B if self.energy == "sum" else energy_B / _sum_squares(x_BCN)

    def _score_levels(self, levels: Sequence[Tensor], frames: int) -> tuple[Tensor, list[Tensor]]:
        """Compute X of the top level (B, C, N), and Y of each level (B, D, N): equations 1, 2."""
        _check_levels(levels, len(self.scores), self.size, frames)
        y_by_level = []
        for level, layer in zip(levels, self.scores, strict=True):
            x_BCN = _flatten_frames(level, self.size, frames)
            y_by_level.append(layer.weight @ x_BCN + layer.bias[:, None])
        return x_BCN, y_by_level

    def _fuse_scores(self, y_by_level: list[Tensor]) -> Tensor:
        """Compute the softmax of equation 3, (B, D, N), before its L2 normalization."""
        y_BDN = y_by_level[0]
        for other_BDN in y_by_level[1:]:
            y_BDN = SCORE_FUSIONS[self.fusion](y_BDN, other_BDN)
        return y_BDN.softmax(dim=2)


def _flatten_frames(level: Tensor, size: tuple[int, int], frames: int) -> Tensor:
    """Apply equation 1, and flatten the positions of all frames: (B·K, C, …) → (B, C, N)."""
    if level.shape[2:] != size:
        level = functional.adaptive_max_pool2d(level, size)
    return level.flatten(2).unflatten(0, (-1, frames)).transpose(1, 2).flatten(2)


class FeatureEnergy(torch.autograd.Function):
    """‖A X‖² of a product A X that is already computed, with a gradient for A alone."""

    @staticmethod
    def forward(ctx: Any, basis_BDN: Tensor, x_BCN: Tensor, maps_BCD: Tensor) -> Tensor:
        """Compute the energy of each video.

        Args:
            ctx: The autograd context.
            basis_BDN: A, (B, D, N).
            x_BCN: X, (B, C, N).
            maps_BCD: The product of A and X, (B, C, D).

        Returns:
            The energies, (B,), in float32 or more.
        """
        ctx.save_for_backward(x_BCN, maps_BCD)
        ctx.dtype = basis_BDN.dtype
        return _sum_squares(maps_BCD)

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, gradient_B: Tensor) -> Any:
        """Compute the gradient of A, 2 A X Xᵀ.

        Args:
            ctx: The autograd context.
            gradient_B: Gradient of the energies, (B,).

        Returns:
            The gradient (B, D, N) of A, and None for the two other inputs.
        """
        x_BCN, maps_BCD = ctx.saved_tensors
        product_BDN = maps_BCD.transpose(1, 2) @ x_BCN.to(maps_BCD.dtype)
        return (2 * gradient_B[:, None, None] * product_BDN).to(ctx.dtype), None, None


def _sum_squares(x_BCN: Tensor) -> Tensor:
    """Sum the squares of each video, (B,), in float32 or more: half precision is too coarse."""
    return x_BCN.to(torch.promote_types(x_BCN.dtype, torch.float32)).square().sum(dim=(1, 2))


def _compute_interactive_loss(basis_BDN: Tensor, energy_B: Tensor) -> Tensor:
    """Compute equation 6, averaged over the batch, from A and the energy of each video."""
    gram_BDD = basis_BDN @ basis_BDN.transpose(1, 2)
    overlaps_BDD = gram_BDD - torch.diag_embed(gram_BDD.diagonal(dim1=1, dim2=2))
    return (overlaps_BDD.square().sum() - energy_B.sum()) / len(basis_BDN)


def _compute_similarity_loss(a_BDN: Tensor, y_by_level: list[Tensor]) -> Tensor:
    """Compute equations 7 and 8, averaged over the batch."""
    squared_delta_B = a_BDN.new_zeros(len(a_BDN))
    for y_BDN in y_by_level:
        squares = functional.mse_loss(a_BDN, y_BDN.softmax(dim=2), reduction="none")
        squared_delta_B = squared_delta_B + squares.sum(dim=(1, 2))
    count = len(y_by_level) * a_BDN[0].numel()
    return (count - squared_delta_B).sqrt().mean()


def _check_levels(levels: Sequence[Tensor], count: int, size: tuple[int, int], frames: int) -> None:
    """Raise ValueError unless there are ``count`` levels that form a pyramid with that top size."""
    sizes = [tuple(level.shape[-2:]) for level in levels]
    if len(levels) != count:
        raise ValueError(f"expected {count} levels, got {len(levels)}")
    if sizes[-1] != size:
        raise ValueError(
            f"expected a top level of {size[0]}×{size[1]}, got {sizes[-1][0]}×{sizes[-1][1]}; the "
            "size is fixed with the parameters: use images of the size that the network was built "
            "for"
        )
    for finer, coarser in pairwise(sizes):
        if finer[0] < coarser[0] or finer[1] < coarser[1]:
            raise ValueError(
                f"levels must not grow towards the top, got sizes {' → '.join(map(str, sizes))}: "
                "name the taps from the finest to the coarsest"
            )
    if frames < 1 or len(levels[0]) % frames:
        raise ValueError(
            f"expected images of videos with {frames} frames each, got {len(levels[0])} images"
        )

"""Non-local blocks: cross-modality attention with one and the same modality on both sides.

Wang, Girshick, Gupta, He, "Non-local Neural Networks", CVPR 2018, in its embedded Gaussian
version; that it is this special case is said by Chi et al. 2019, §3.1.

Departs from the authors' code: their convolutions start from N(0, 0.01²), these as those of
`cross_modality.py`.
"""

import torch

from models.attention.cross_modality import CrossModalityBlock


class NonLocalBlock(CrossModalityBlock):
    """x, and what it takes from itself. The identity as it is built."""

    def forward(self, x: torch.Tensor, y: torch.Tensor | None = None) -> torch.Tensor:
        """x + BN(W_out CMA(x, x)); `y` is not looked at."""
        return super().forward(x, x)

    def attention(self, x: torch.Tensor, y: torch.Tensor | None = None) -> torch.Tensor:
        """The map (B, N, M) that `forward` uses; `y` is not looked at."""
        return super().attention(x, x)

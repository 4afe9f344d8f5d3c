"""Non-local block: cross-modality attention in which a modality attends to itself.

Wang, Girshick, Gupta, He, "Non-local Neural Networks", CVPR 2018, embedded Gaussian version. Chi
et al. 2019, §3.1, describe it as this special case of their block.

Deviation from the authors' code: their convolutions start from N(0, 0.01²); these start like
those of `models.attention.cross_modality`.
"""

from torch import Tensor

from models.attention.cross_modality import CrossModalityBlock


class NonLocalBlock(CrossModalityBlock):
    """Residual self-attention over all positions; the identity when newly built.

    The arguments are those of `CrossModalityBlock`.

    Example:
        >>> block = NonLocalBlock(channels=512)
        >>> block(torch.randn(2, 512, 28, 28)).shape
        torch.Size([2, 512, 28, 28])
    """

    def forward(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        """Compute x + BN(W_out CMA(x, x)).

        Args:
            x: Features (B, C, H, W), or (B, C, T, H, W) if ``dims`` is 3.
            y: Ignored; accepted so that both kinds of block can be called alike.

        Returns:
            A tensor of the shape of x.
        """
        return super().forward(x, x)

    def attention(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        """Compute the attention map that `forward` uses.

        Args:
            x: Features as in `forward`.
            y: Ignored.

        Returns:
            The map (B, N, M), whose rows sum to 1.
        """
        return super().attention(x, x)

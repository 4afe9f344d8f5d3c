# ruff: noqa: N803
"""A backbone with pyramid attention inside, which turns K frames into one prediction.

Du et al., ECCV 2018, §3.2 and Fig. 2. A tap is a step of the backbone whose output the attention
uses (see `models.backbones.backbone`); a level is the features of one tap. The steps up to the last
tap process each frame alone. Attention then combines the features of all frames into those of one
frame, and the remaining steps, whose weights and shapes are unchanged, process these.

The tap ``features`` means the pooled features: "the last fully connected layer" of the paper's
Table 1(a). It cannot be combined with other taps.

    B batch   K frames   C H W channels, height, width
"""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from models.attention.pyramid import Attended, EnergyMeasure, PyramidAttention, ScoreFusion
from models.backbones.backbone import Backbone, Step, count_input_channels, trace_shapes
from models.networks.two_stream import BRANCHES, Scores, TwoStream, count_parameters

FEATURES = "features"


class PyramidNetwork(nn.Module):
    """A backbone for images with a pyramid attention layer at some of its taps.

    Example:
        >>> trunk = ResNet(50, num_classes=101)
        >>> network = PyramidNetwork(trunk, taps=("res4_5", "res5_2"), size=(224, 224))
        >>> network(torch.randn(2, 5, 3, 224, 224)).shape
        torch.Size([2, 101])
    """

    def __init__(
        self,
        trunk: Backbone,
        taps: Sequence[str],
        size: tuple[int, int],
        fusion: ScoreFusion = "multiplication",
        moves_features: bool = False,
        energy: EnergyMeasure = "sum",
    ) -> None:
        """Build the network around a backbone.

        Args:
            trunk: The backbone, for images.
            taps: Names of the backbone's taps, from the finest level to the top one; or
                ``("features",)``.
            size: (H, W) of the images, in pixels. It is fixed with the parameters.
            fusion: How the scores of the levels are combined, as in `PyramidAttention`.
            moves_features: Whether the gradient of the interactive loss reaches the features too,
                as in `PyramidAttention`.
            energy: How the interactive loss measures what attention selects, as in
                `PyramidAttention`.

        Raises:
            ValueError: If a tap does not exist, or the taps are not in the order of the steps.
        """
        super().__init__()
        self.trunk, self.taps = trunk, tuple(taps)
        shapes = _find_level_shapes(trunk, self.taps, size)
        _, top_height, top_width = shapes[-1]
        channels = [shape[0] for shape in shapes]
        self.attention = PyramidAttention(
            channels, (top_height, top_width), fusion, moves_features, energy
        )

    def forward(self, images_BKCHW: Tensor) -> Tensor:
        """Compute the logits of videos.

        Args:
            images_BKCHW: K normalized frames of each video, (B, K, C, H, W).

        Returns:
            Logits (B, classes), before the softmax.

        Raises:
            ValueError: If the images have another size than the network was built for.
        """
        return self.forward_with_attention(images_BKCHW, losses=False)[0]

    def forward_with_attention(
        self, images_BKCHW: Tensor, losses: bool = True
    ) -> tuple[Tensor, Attended]:
        """Compute the logits of videos and the output of the attention layer.

        Args:
            images_BKCHW: Images as in `forward`.
            losses: Compute the losses of the attention layer. Default: True.

        Returns:
            Logits (B, classes), and the attended features with the losses.

        Raises:
            ValueError: If the images have another size than the network was built for.
        """
        frames = images_BKCHW.shape[1]
        levels, remaining_steps = self.extract_levels(images_BKCHW)
        attended = self.attention(levels, frames, losses)
        x = attended.maps
        if self.taps == (FEATURES,):
            return self.trunk.classify(x.flatten(1)), attended
        for _, step in remaining_steps:
            x = step(x)
        return self.trunk.head(x), attended

    def extract_levels(
        self, images_BKCHW: Tensor
    ) -> tuple[list[Tensor], Iterator[tuple[str, Step]]]:
        """Run the backbone up to the last tap.

        Args:
            images_BKCHW: Images as in `forward`.

        Returns:
            The features of each level for all frames, (B·K, Cⱼ, Hⱼ, Wⱼ), and the remaining steps
            of the backbone. The tap ``features`` gives one level, (B·K, 1, num_features, 1), and no
            remaining steps.
        """
        x, levels = images_BKCHW.flatten(0, 1), []
        steps = self.trunk.steps()
        for name, step in steps:
            x = step(x)
            if name in self.taps:
                levels.append(x)
            if len(levels) == len(self.taps):
                return levels, steps
        return [self.trunk.pool_features(x)[:, None, :, None]], steps


class PyramidTwoStream(TwoStream):
    """RGB and flow branches with pyramid attention inside each of them, and none between them.

    Example:
        >>> network = PyramidTwoStream(rgb_pyramid_network, flow_pyramid_network).eval()
        >>> rgb, flow = torch.randn(2, 5, 3, 224, 224), torch.randn(2, 5, 10, 224, 224)
        >>> {branch: logits.shape for branch, logits in network(rgb, flow).items()}
        {'rgb': torch.Size([2, 101]), 'flow': torch.Size([2, 101])}
    """

    def __init__(self, rgb: PyramidNetwork, flow: PyramidNetwork, scores: Scores = "both") -> None:
        """Combine two networks.

        Args:
            rgb: The network for RGB images.
            flow: The network for optical flow, of the same backbone, depth and width.
            scores: Whose logits `forward` computes: "rgb", "flow" or "both". Default: "both".

        Raises:
            ValueError: If the backbones differ, or ``scores`` is unknown.
        """
        super().__init__(rgb.trunk, flow.trunk, cma=False, scores=scores)
        self.rgb, self.flow = rgb, flow

    def forward(self, rgb: Tensor | None = None, flow: Tensor | None = None) -> dict[str, Tensor]:
        """Compute the logits of videos, and in training mode the losses.

        Args:
            rgb: Normalized RGB frames, (B, K, 3, H, W). May be None if ``scores`` is "flow".
            flow: Normalized flow, (B, K, C, H, W). May be None if ``scores`` is "rgb".

        Returns:
            Logits (B, classes) by branch. In training mode also the losses of equations 6 and 8
            (see `models.attention.pyramid`), each summed over the branches: ``interactive``
            (l_interactive) and ``attention`` (l_attn, `Attended.similarity_loss`).

        Raises:
            ValueError: If the images of a branch are missing.
        """
        outputs: dict[str, Tensor] = {}
        losses: dict[str, list[Tensor]] = {"interactive": [], "attention": []}
        for branch, images in (("rgb", rgb), ("flow", flow)):
            if self.scores not in (branch, "both"):
                continue
            if images is None:
                raise ValueError(f"scores {self.scores!r} need {branch} images, got none")
            network: PyramidNetwork = getattr(self, branch)
            outputs[branch], attended = network.forward_with_attention(images, self.training)
            # Outside of training mode, both are None.
            if attended.interactive_loss is not None and attended.similarity_loss is not None:
                losses["interactive"].append(attended.interactive_loss)
                losses["attention"].append(attended.similarity_loss)
        totals = {name: torch.stack(terms).sum() for name, terms in losses.items() if terms}
        return outputs | totals

    def count_used_parameters(self) -> int:
        """Count the parameters of the branches that `forward` runs.

        Returns:
            The number of parameters.
        """
        used_branches = (branch for branch in BRANCHES if self.scores in (branch, "both"))
        return sum(count_parameters(getattr(self, branch)) for branch in used_branches)


def _find_level_shapes(
    trunk: Backbone, taps: tuple[str, ...], size: tuple[int, int]
) -> list[tuple[int, ...]]:
    """Determine (C, H, W) of each level; ValueError if the taps do not form a pyramid."""
    if taps == (FEATURES,):
        return [(1, trunk.num_features, 1)]  # one channel: each feature is a position
    unknown = [name for name in taps if name not in trunk.taps]
    if unknown or not taps:
        problem = f"has no tap {unknown[0]!r}" if unknown else "needs taps, and none was named"
        if FEATURES in unknown:
            problem = f"cannot combine {FEATURES!r} with other taps"
        raise ValueError(
            f"{type(trunk).__name__} {problem}; there are {', '.join(trunk.taps)}, or {FEATURES} "
            "alone"
        )
    ordered = [name for name in trunk.taps if name in taps]
    if list(taps) != ordered:
        raise ValueError(
            f"expected taps from the finest to the top one, each once: {', '.join(ordered)}; got "
            f"{', '.join(taps)}"
        )
    shapes = trace_shapes(trunk, (count_input_channels(trunk), *size))
    return [shapes[name] for name in taps]

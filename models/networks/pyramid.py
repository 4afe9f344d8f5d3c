# ruff: noqa: N803
"""A backbone with pyramid attention inside: K frames go in, one prediction comes out.

Du et al., ECCV 2018, §3.2 and Fig. 2. The backbone's steps up to the last tap see each frame
alone. Attention then makes one frame's features of all, and the steps that follow, with their
weights and shapes unchanged, see those.

The tap ``features`` stands for the pooled features: "the last fully connected layer" of the
paper's Table 1(a), which nothing else can be stacked with.

    B batch   K frames   C H W channels, height, width
"""

from collections.abc import Iterator, Sequence

import torch
from torch import nn

from models.attention.pyramid import Attended, Fusion, Measure, PyramidAttention
from models.backbones.backbone import Backbone, Step, count_input_channels, trace_shapes
from models.networks.two_stream import BRANCHES, Scores, TwoStream, count_parameters

FEATURES = "features"


class PyramidNetwork(nn.Module):
    """A backbone, and an attention layer at some of its taps.

    Parameters
    ----------
    trunk: the backbone, of images.
    taps: names of its taps, from the finest to the top one; or ("features",).
    size: (H, W) of the images that it is built for, pixels.
    fusion, moves_features, energy: as in `PyramidAttention`.

    Raises ValueError for taps that do not exist, and levels that do not shrink towards the top.
    """

    def __init__(
        self,
        trunk: Backbone,
        taps: Sequence[str],
        size: tuple[int, int],
        fusion: Fusion = "multiplication",
        moves_features: bool = False,
        energy: Measure = "sum",
    ) -> None:
        super().__init__()
        self.trunk, self.taps = trunk, tuple(taps)
        shapes = find_levels(trunk, self.taps, size)
        top = shapes[-1]
        self.attention = PyramidAttention(
            [shape[0] for shape in shapes], (top[1], top[2]), fusion, moves_features, energy
        )

    def forward(self, images_BKCHW: torch.Tensor) -> torch.Tensor:
        """Scores (B, classes) of K frames each."""
        return self.attend(images_BKCHW, losses=False)[0]

    def attend(
        self, images_BKCHW: torch.Tensor, losses: bool = True
    ) -> tuple[torch.Tensor, Attended]:
        """Scores (B, classes), and what attention made of the frames."""
        frames = images_BKCHW.shape[1]
        levels, rest = self.climb(images_BKCHW)
        attended = self.attention(levels, frames, losses)
        x = attended.maps
        if self.taps == (FEATURES,):
            return self.trunk.classify(x.flatten(1)), attended
        for _, step in rest:
            x = step(x)
        return self.trunk.head(x), attended

    def climb(
        self, images_BKCHW: torch.Tensor
    ) -> tuple[list[torch.Tensor], Iterator[tuple[str, Step]]]:
        """The levels (B·K, C_j, H_j, W_j) of all frames, and the steps after the top one."""
        x, levels = images_BKCHW.flatten(0, 1), []
        steps = self.trunk.steps()
        for name, step in steps:
            x = step(x)
            if name in self.taps:
                levels.append(x)
            if len(levels) == len(self.taps):
                return levels, steps
        return [self.trunk.pool(x)[:, None, :, None]], steps


class PyramidTwoStream(TwoStream):
    """RGB and flow branches with pyramid attention, which meet in their scores alone.

    Images are (B, K, C, H, W). While it trains, `forward` also gives the losses ``interactive``
    and ``attention``, the sums over the branches that are scored.
    """

    def __init__(self, rgb: PyramidNetwork, flow: PyramidNetwork, scores: Scores = "both") -> None:
        super().__init__(rgb.trunk, flow.trunk, cma=False, scores=scores)
        self.rgb, self.flow = rgb, flow

    def forward(
        self, rgb: torch.Tensor | None = None, flow: torch.Tensor | None = None
    ) -> dict[str, torch.Tensor]:
        """Scores by branch, (B, classes) each; and the losses, while it trains."""
        found: dict[str, torch.Tensor] = {}
        losses: dict[str, list[torch.Tensor]] = {"interactive": [], "attention": []}
        for name, images in (("rgb", rgb), ("flow", flow)):
            if self.scores not in (name, "both"):
                continue
            if images is None:
                raise ValueError(f"scores {self.scores!r} need {name} images, got none")
            network: PyramidNetwork = getattr(self, name)
            found[name], attended = network.attend(images, self.training)
            if attended.interactive is not None and attended.likeness is not None:
                losses["interactive"].append(attended.interactive)
                losses["attention"].append(attended.likeness)
        return found | {name: torch.stack(parts).sum() for name, parts in losses.items() if parts}

    def count_used_parameters(self) -> int:
        """Parameters of the branches that `forward` runs for the wanted scores."""
        wanted = (name for name in BRANCHES if self.scores in (name, "both"))
        return sum(count_parameters(getattr(self, name)) for name in wanted)


def find_levels(
    trunk: Backbone, taps: tuple[str, ...], size: tuple[int, int]
) -> list[tuple[int, ...]]:
    """(C, H, W) of each level; ValueError where there is no such pyramid."""
    if taps == (FEATURES,):
        return [(1, trunk.num_features, 1)]
    known = trunk.taps
    absent = [name for name in taps if name not in known]
    if absent or not taps:
        raise ValueError(
            f"{type(trunk).__name__} has no tap {absent[0] if absent else '(none was named)'!r}; "
            f"there are {', '.join(known)}, and {FEATURES} alone"
        )
    order = [name for name in known if name in taps]
    if list(taps) != order:
        raise ValueError(
            f"expected taps from the finest to the top one, each once: {', '.join(order)}; got "
            f"{', '.join(taps)}"
        )
    shapes = trace_shapes(trunk, (count_input_channels(trunk), *size))
    return [shapes[name] for name in taps]

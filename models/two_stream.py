"""Two branches, RGB and flow, with attention blocks between them and a score from each.

Chi, Tian, Mu, Tian 2019, §4.1 and Fig. 2. At each position both blocks take the features of
both branches as they were before either block changed them:

    x, y  →  to_rgb(x, y),  to_flow(y, x)

Positions: in res3 and res4 after every other block, which in ResNet-50 is after blocks 1, 3 of
res3 and 1, 3, 5 of res4 (from 0). Deeper networks keep two and three blocks there: each stage is
cut into as many parts, and a block stands after each part (ResNet-101: 1, 3 and 6, 14, 22).

A score needs all of its own branch, and of the other one what comes before the last block that
looks at it; nothing else is run. Blocks that are still the identity can be dropped
(`drop_identities`): after the first iteration of the paper's schedule those are all `to_flow`.
"""

from typing import Literal

import torch
from torch import nn

from models.attention.cross_modality import CrossModalityBlock
from models.attention.non_local import NonLocalBlock
from models.backbones.resnet import DEPTHS, ResNet, channels_of

Scores = Literal["rgb", "flow", "both"]
Position = tuple[int, int]  # stage 2 … 5, block in it from 0
BRANCHES = ("rgb", "flow")
BLOCKS = {3: 2, 4: 3}  # of a stage, at most


def choose_positions(depth: int) -> tuple[Position, ...]:
    """After which blocks attention stands; see the rule above."""
    positions = []
    for stage, most in BLOCKS.items():
        blocks = DEPTHS[depth][stage - 2]
        parts = min(most, blocks // 2)
        positions += [(stage, blocks * (part + 1) // parts - 1) for part in range(parts)]
    return tuple(positions)


class TwoStream(nn.Module):
    """A two-stream network, plain or with cross-modality and non-local attention.

    Parameters
    ----------
    rgb, flow: networks of one depth and width.
    cma: put cross-modality blocks between the branches.
    non_local: branches ("rgb", "flow") that also get non-local blocks, before the CMA's.
    scores: which scores `forward` gives; the others are not computed.
    positions: where the blocks stand; None for the paper's places.
    uniform: CMA blocks with equal weights instead of attention, as a control.

    Raises ValueError for branches that do not fit together, and places that do not exist.
    """

    def __init__(
        self,
        rgb: ResNet,
        flow: ResNet,
        *,
        cma: bool = True,
        non_local: tuple[str, ...] = (),
        scores: Scores = "both",
        positions: tuple[Position, ...] | None = None,
        uniform: bool = False,
    ) -> None:
        super().__init__()
        widths = [network.conv1.out_channels for network in (rgb, flow)]
        if rgb.depth != flow.depth or widths[0] != widths[1]:
            raise ValueError(
                f"expected branches of one depth and width, got ResNet-{rgb.depth} of width "
                f"{widths[0]} and ResNet-{flow.depth} of width {widths[1]}"
            )
        if set(non_local) - set(BRANCHES) or scores not in (*BRANCHES, "both"):
            raise ValueError(
                f"expected branches rgb and flow, and scores of one or both; got {non_local} "
                f"and {scores!r}"
            )
        self.rgb, self.flow, self.scores = rgb, flow, scores
        self.positions = choose_positions(rgb.depth) if positions is None else positions
        for stage, place in self.positions:
            if not 2 <= stage <= 5 or not 0 <= place < DEPTHS[rgb.depth][stage - 2]:
                raise ValueError(
                    f"no block {place} in res{stage} of a ResNet-{rgb.depth}, which has "
                    f"{DEPTHS[rgb.depth]} in res2 … res5, counted from 0"
                )
        places = {
            f"res{stage}_{place}": channels_of(rgb.depth, stage, widths[0])
            for stage, place in self.positions
        }

        def make(kind: type[CrossModalityBlock], wanted: bool) -> nn.ModuleDict:
            blocks = {name: kind(channels, uniform=uniform) for name, channels in places.items()}
            return nn.ModuleDict(blocks if wanted else {})

        self.to_rgb, self.to_flow = (make(CrossModalityBlock, cma) for _ in BRANCHES)
        self.non_local_rgb, self.non_local_flow = (
            make(NonLocalBlock, name in non_local) for name in BRANCHES
        )

    def forward(
        self, rgb: torch.Tensor | None = None, flow: torch.Tensor | None = None
    ) -> dict[str, torch.Tensor]:
        """Scores by branch, (B, classes) each, of images (B, 3, H, W) and (B, C, H, W).

        An image whose branch no score needs may be left out.
        """
        ends = {name: self._find_end(name) for name in BRANCHES}
        for name, images in (("rgb", rgb), ("flow", flow)):
            if ends[name] >= 0 and images is None:
                raise ValueError(f"scores {self.scores!r} need {name} images, got none")
        x = self.rgb.stem(rgb) if ends["rgb"] >= 0 else None
        y = self.flow.stem(flow) if ends["flow"] >= 0 else None
        blocks = zip(self.rgb.blocks(), self.flow.blocks(), strict=True)
        for number, ((stage, place, rgb_block), (_, _, flow_block)) in enumerate(blocks):
            name = f"res{stage}_{place}"
            if number <= ends["rgb"]:
                x = run_block(rgb_block, self.non_local_rgb, name, x)
            if number <= ends["flow"]:
                y = run_block(flow_block, self.non_local_flow, name, y)
            # Both take the features from before either changed them.
            changed_x, changed_y = x, y
            if number < ends["rgb"] and name in self.to_rgb:
                changed_x = self.to_rgb[name](x, y)
            if number < ends["flow"] and name in self.to_flow:
                changed_y = self.to_flow[name](y, x)
            x, y = changed_x, changed_y
        heads = {"rgb": (self.rgb, x), "flow": (self.flow, y)}
        return {
            name: network.head(features)
            for name, (network, features) in heads.items()
            if self.scores in (name, "both")
        }

    def modules_of(self, branch: str) -> nn.ModuleList:
        """All that is trained with a branch: its network, and the blocks that change it."""
        if branch not in BRANCHES:
            raise ValueError(f"expected a branch rgb or flow, got {branch!r}")
        parts = (branch, f"to_{branch}", f"non_local_{branch}")
        return nn.ModuleList([getattr(self, part) for part in parts])

    def freeze(self, branch: str) -> None:
        """Train nothing of a branch, and let its BN use what it has learned.

        To be called again after `train()`, which wakes BN up.
        """
        self.modules_of(branch).eval().requires_grad_(False)

    def drop_identities(self, branches: tuple[str, ...] = BRANCHES) -> int:
        """Take out blocks that change `branches` and whose BN scales and shifts are all 0.

        Returns their number. Scores stay the same to the bit, for less work. Blocks that are
        still to be trained begin as the identity, so they must be those of another branch.
        """
        dropped = 0
        for branch in branches:
            for kind in ("to", "non_local"):
                blocks = getattr(self, f"{kind}_{branch}")
                for name in [name for name, block in blocks.items() if is_identity(block)]:
                    del blocks[name]
                    dropped += 1
        return dropped

    def count_used_parameters(self) -> int:
        """Parameters of the layers that `forward` runs for the wanted scores."""
        ends = {name: self._find_end(name) for name in BRANCHES}
        used = 0
        for name, network in (("rgb", self.rgb), ("flow", self.flow)):
            if ends[name] >= 0:
                used += count_parameters(network.conv1) + count_parameters(network.bn1)
            if self.scores in (name, "both") and network.fc is not None:
                used += count_parameters(network.fc)
            inner = self.non_local_rgb if name == "rgb" else self.non_local_flow
            outer = self.to_rgb if name == "rgb" else self.to_flow
            for number, (stage, place, block) in enumerate(network.blocks()):
                key = f"res{stage}_{place}"
                if number <= ends[name]:
                    used += count_parameters(block)
                    used += count_parameters(inner[key]) if key in inner else 0
                if number < ends[name] and key in outer:
                    used += count_parameters(outer[key])
        return used

    def _find_end(self, branch: str) -> int:
        """The number of the last block that a branch must run; beyond all where it is scored."""
        count = sum(DEPTHS[self.rgb.depth])
        if self.scores in (branch, "both"):
            return count
        takers = self.to_flow if branch == "rgb" else self.to_rgb
        names = [f"res{stage}_{place}" for stage, place, _ in self.rgb.blocks()]
        return max((number for number, name in enumerate(names) if name in takers), default=-1)


def run_block(
    block: nn.Module, non_local: nn.ModuleDict, name: str, features: torch.Tensor
) -> torch.Tensor:
    """A residual block, and the non-local block behind it where there is one."""
    features = block(features)
    return non_local[name](features) if name in non_local else features


def is_identity(block: CrossModalityBlock) -> bool:
    """Whether a block still gives back its x."""
    return not (block.norm.weight.any() or block.norm.bias.any())


def count_parameters(module: nn.Module) -> int:
    """Numbers that are trained."""
    return sum(parameter.numel() for parameter in module.parameters())


def fuse(
    scores: dict[str, torch.Tensor],
    weights: tuple[float, float] = (1.0, 1.0),
    over: Literal["logits", "softmax"] = "logits",
) -> torch.Tensor:
    """Late fusion: the weighted sum of RGB's and flow's scores, (…, classes)."""
    if over not in ("logits", "softmax"):
        raise ValueError(f"expected fusion over logits or softmax, got {over!r}")
    rgb, flow = scores["rgb"], scores["flow"]
    if over == "softmax":
        rgb, flow = rgb.softmax(dim=-1), flow.softmax(dim=-1)
    return weights[0] * rgb + weights[1] * flow

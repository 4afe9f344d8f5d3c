"""Two branches, RGB and flow, with attention blocks between them and a score from each.

Chi, Tian, Mu, Tian 2019, §4.1 and Fig. 2. At each position both blocks take the features of
both branches as they were before either block changed them:

    x, y  →  to_rgb(x, y),  to_flow(y, x)

Positions are names of steps: in res3 and res4 after every other block, which in ResNet-50 is after
res3_1, res3_3, res4_1, res4_3 and res4_5. Deeper networks keep two and three blocks there: each
stage is cut into as many parts, and a block stands after each part (ResNet-101: 1, 3; 6, 14, 22).

A score needs all of its own branch, and of the other one what comes before the last block that
looks at it; nothing else is run. Blocks that are still the identity can be dropped
(`drop_identities`): after the first iteration of the paper's schedule those are all `to_flow`.
"""

from typing import Literal

import torch
from torch import nn

from models.attention.cross_modality import CrossModalityBlock
from models.attention.non_local import NonLocalBlock
from models.backbones.backbone import Backbone, Step, find_channels

Scores = Literal["rgb", "flow", "both"]
BRANCHES = ("rgb", "flow")
BLOCKS = {"res3": 2, "res4": 3}  # of a stage, at most


def choose_positions(network: Backbone) -> tuple[str, ...]:
    """After which steps attention stands; see the rule above. None where it names no step."""
    positions = []
    for stage, most in BLOCKS.items():
        blocks = sum(name.startswith(f"{stage}_") for name in network.taps)
        parts = min(most, blocks // 2)
        positions += [f"{stage}_{blocks * (part + 1) // parts - 1}" for part in range(parts)]
    return tuple(positions)


class TwoStream(nn.Module):
    """A two-stream network, plain or with cross-modality and non-local attention.

    Parameters
    ----------
    rgb, flow: networks of one kind and size.
    cma: put cross-modality blocks between the branches.
    non_local: branches ("rgb", "flow") that also get non-local blocks, before the CMA's.
    scores: which scores `forward` gives; the others are not computed.
    positions: where the blocks stand; None for the paper's places.
    uniform: CMA blocks with equal weights instead of attention, as a control.

    Raises ValueError for branches that do not fit together, and places that do not exist.
    """

    def __init__(
        self,
        rgb: Backbone,
        flow: Backbone,
        *,
        cma: bool = True,
        non_local: tuple[str, ...] = (),
        scores: Scores = "both",
        positions: tuple[str, ...] | None = None,
        uniform: bool = False,
    ) -> None:
        super().__init__()
        if type(rgb) is not type(flow) or rgb.taps != flow.taps:
            raise ValueError(
                "expected branches of one kind, depth and width, got "
                f"{describe(rgb)} and {describe(flow)}"
            )
        if set(non_local) - set(BRANCHES) or scores not in (*BRANCHES, "both"):
            raise ValueError(
                f"expected branches rgb and flow, and scores of one or both; got {non_local} "
                f"and {scores!r}"
            )
        self.rgb, self.flow, self.scores = rgb, flow, scores
        self.positions = choose_positions(rgb) if positions is None else positions
        absent = [name for name in self.positions if name not in rgb.taps]
        if absent or ((cma or non_local) and not self.positions):
            raise ValueError(
                f"no step {absent[0] if absent else 'is named'} to put attention after; "
                f"{describe(rgb)} has {', '.join(rgb.taps)}"
            )

        def make(kind: type[CrossModalityBlock], wanted: bool) -> nn.ModuleDict:
            places = self.positions if wanted else ()
            blocks = {name: kind(rgb.taps[name], rgb.dims, uniform) for name in places}
            return nn.ModuleDict(blocks)

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
        x, y = rgb, flow
        pairs = zip(self.rgb.steps(), self.flow.steps(), strict=True)
        for number, ((name, rgb_step), (_, flow_step)) in enumerate(pairs):
            if number <= ends["rgb"]:
                x = run_step(rgb_step, self.non_local_rgb, name, x)
            if number <= ends["flow"]:
                y = run_step(flow_step, self.non_local_flow, name, y)
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
        state = {name: tensor.detach().to("meta") for name, tensor in self.state_dict().items()}
        trained = [state[name].requires_grad_() for name, _ in self.named_parameters()]
        images = {name: make_blank(getattr(self, name)) for name in BRANCHES}
        scores = torch.func.functional_call(self, state, kwargs=images)
        total = torch.stack([score.sum() for score in scores.values()]).sum()
        gradients = torch.autograd.grad(total, trained, allow_unused=True)
        used = zip(trained, gradients, strict=True)
        return sum(parameter.numel() for parameter, gradient in used if gradient is not None)

    def _find_end(self, branch: str) -> int:
        """The number of the last step that a branch must run; beyond all where it is scored."""
        names = [name for name, _ in self.rgb.steps()]
        if self.scores in (branch, "both"):
            return len(names)
        takers = self.to_flow if branch == "rgb" else self.to_rgb
        return max((number for number, name in enumerate(names) if name in takers), default=-1)


def run_step(
    step: Step, non_local: nn.ModuleDict, name: str, features: torch.Tensor
) -> torch.Tensor:
    """A step, and the non-local block behind it where there is one."""
    features = step(features)
    return non_local[name](features) if name in non_local else features


def make_blank(network: Backbone) -> torch.Tensor:
    """An input of a network without numbers in it: only its shape counts."""
    time, size = (network.rgb_input.frames,) * (network.dims == 3), network.rgb_input.size
    return torch.empty(1, find_channels(network), *time, size, size, device="meta")


def describe(network: Backbone) -> str:
    """What a network is, for a message."""
    last = list(network.taps.items())[-1]
    return f"{type(network).__name__} ({len(network.taps)} taps, {last[1]} channels in {last[0]})"


def is_identity(block: CrossModalityBlock) -> bool:
    """Whether a block still gives back its x."""
    return not (block.norm.weight.any() or block.norm.bias.any())


def count_parameters(module: nn.Module) -> int:
    """Numbers that are trained."""
    return sum(parameter.numel() for parameter in module.parameters())

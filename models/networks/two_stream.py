"""Two-stream network: two branches, with attention blocks between them.

A stream is one kind of input: RGB images or optical flow. A branch is the network of one stream,
with logits of its own; it has the name of its stream, ``rgb`` or ``flow``.

Chi, Tian, Mu, Tian, "Two-Stream Video Classification with Cross-Modality Attention" (CMA), 2019,
§4.1 and Fig. 2. At each position there is a CMA block for each branch. Both read the features of
both branches, x of RGB and y of flow, before either block changes them:

    x, y  →  to_rgb(x, y),  to_flow(y, x)

A position is a tap: a step of the backbone (see `models.backbones.backbone`), after which the
blocks run. In the paper, CMA blocks follow every other residual block of res3 and res4; in
ResNet-50 these are res3_1, res3_3, res4_1, res4_3 and res4_5. Deeper networks also have two
positions in res3 and three in res4: each stage is divided into as many equal parts, and the last
step of each part is a position (ResNet-101: res3_1, res3_3; res4_6, res4_14, res4_22).

The logits of a branch need the whole branch, and from the other branch only the steps before the
last block that attends to it; no other steps are run. A new block is the identity: it returns its
input unchanged. Blocks that training has not changed can be removed with
`TwoStream.drop_identities`: after the first iteration of the paper's schedule, these are all blocks
of ``to_flow``.

    B batch   C H W  channels, height, width   T frames of a clip
"""

from typing import Literal

import torch
from torch import Tensor, nn

from models.attention.cross_modality import CrossModalityBlock
from models.attention.non_local import NonLocalBlock
from models.backbones.backbone import Backbone, Step, count_input_channels

Scores = Literal["rgb", "flow", "both"]
BRANCHES = ("rgb", "flow")
BLOCK_KINDS = ("to", "non_local")
"""First part of the names of the modules that hold attention blocks; the second part is the branch
whose features they change: ``to_rgb``, ``non_local_flow``."""
MAX_BLOCKS = {"res3": 2, "res4": 3}  # attention blocks in each stage


def choose_positions(network: Backbone) -> tuple[str, ...]:
    """Choose the steps after which attention blocks are inserted, by the rule of this module.

    Args:
        network: A backbone.

    Returns:
        Names of steps, in order; empty if the backbone has no residual blocks in res3 and res4.
    """
    positions = []
    for stage, max_blocks in MAX_BLOCKS.items():
        num_blocks = sum(name.startswith(f"{stage}_") for name in network.taps)
        parts = min(max_blocks, num_blocks // 2)
        positions += [f"{stage}_{num_blocks * (part + 1) // parts - 1}" for part in range(parts)]
    return tuple(positions)


class TwoStream(nn.Module):
    """A two-stream network, plain or with cross-modality and non-local attention.

    Example:
        >>> rgb = ResNet(50, num_classes=101)
        >>> flow = ResNet(50, num_classes=101, in_channels=10)
        >>> network = TwoStream(rgb, flow)
        >>> images = {"rgb": torch.randn(2, 3, 224, 224), "flow": torch.randn(2, 10, 224, 224)}
        >>> {branch: logits.shape for branch, logits in network(**images).items()}
        {'rgb': torch.Size([2, 101]), 'flow': torch.Size([2, 101])}
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
        """Combine two backbones. New attention blocks are the identity.

        Args:
            rgb: The backbone for RGB images or clips.
            flow: The backbone for optical flow, of the same class, depth and width.
            cma: Insert cross-modality attention (CMA) blocks between the branches. Default: True.
            non_local: Branches ("rgb", "flow") that also get non-local blocks, which run before
                the cross-modality blocks. Default: none.
            scores: Whose logits `forward` computes: "rgb", "flow" or "both". Default: "both".
            positions: Steps after which blocks are inserted. Default: the paper's positions, see
                `choose_positions`.
            uniform: Build all blocks with equal weights instead of attention, as a control
                experiment. Default: False.

        Raises:
            ValueError: If the backbones differ, if ``non_local`` or ``scores`` names an unknown
                branch, or if a position is not a tap of the backbones.
        """
        super().__init__()
        if type(rgb) is not type(flow) or rgb.taps != flow.taps:
            raise ValueError(
                "expected branches of the same backbone, depth and width, got "
                f"{_describe_backbone(rgb)} and {_describe_backbone(flow)}"
            )
        if set(non_local) - set(BRANCHES) or scores not in (*BRANCHES, "both"):
            raise ValueError(
                f"expected branches rgb and flow, and scores of one or both; got {non_local} "
                f"and {scores!r}"
            )
        self.rgb, self.flow, self.scores = rgb, flow, scores
        self.positions = choose_positions(rgb) if positions is None else positions
        unknown = [name for name in self.positions if name not in rgb.taps]
        if unknown or ((cma or non_local) and not self.positions):
            problem = f"there is no step {unknown[0]}" if unknown else "no step is named"
            raise ValueError(
                f"{problem} to insert attention after; {_describe_backbone(rgb)} has "
                f"{', '.join(rgb.taps)}"
            )

        def make_blocks(block_class: type[CrossModalityBlock], enabled: bool) -> nn.ModuleDict:
            names = self.positions if enabled else ()
            blocks = {name: block_class(rgb.taps[name], rgb.dims, uniform) for name in names}
            return nn.ModuleDict(blocks)

        self.to_rgb, self.to_flow = (make_blocks(CrossModalityBlock, cma) for _ in BRANCHES)
        self.non_local_rgb, self.non_local_flow = (
            make_blocks(NonLocalBlock, branch in non_local) for branch in BRANCHES
        )

    def forward(self, rgb: Tensor | None = None, flow: Tensor | None = None) -> dict[str, Tensor]:
        """Compute the logits of the branches.

        Args:
            rgb: Normalized RGB images (B, 3, H, W) or clips (B, 3, T, H, W). May be None if no
                requested logits need this branch.
            flow: Normalized flow (B, C, H, W) or (B, 2, T, H, W), of the same size. May be None
                if no requested logits need this branch.

        Returns:
            Logits (B, classes) by branch, before the softmax.

        Raises:
            ValueError: If the requested logits need images that are missing.
        """
        last_steps = {branch: self._find_last_step(branch) for branch in BRANCHES}
        for branch, images in (("rgb", rgb), ("flow", flow)):
            if last_steps[branch] >= 0 and images is None:
                raise ValueError(f"scores {self.scores!r} need {branch} images, got none")
        x, y = rgb, flow
        pairs = zip(self.rgb.steps(), self.flow.steps(), strict=True)
        for index, ((name, rgb_step), (_, flow_step)) in enumerate(pairs):
            if index <= last_steps["rgb"]:
                x = _run_step(rgb_step, self.non_local_rgb, name, x)
            if index <= last_steps["flow"]:
                y = _run_step(flow_step, self.non_local_flow, name, y)
            # Both blocks read the features before either changes them.
            new_x, new_y = x, y
            if index < last_steps["rgb"] and name in self.to_rgb:
                new_x = self.to_rgb[name](x, y)
            if index < last_steps["flow"] and name in self.to_flow:
                new_y = self.to_flow[name](y, x)
            x, y = new_x, new_y
        heads = {"rgb": (self.rgb, x), "flow": (self.flow, y)}
        return {
            branch: network.head(features)
            for branch, (network, features) in heads.items()
            if self.scores in (branch, "both")
        }

    def list_branch_modules(self, branch: str) -> nn.ModuleList:
        """List all modules that are trained with a branch.

        Args:
            branch: "rgb" or "flow".

        Returns:
            The branch's backbone, and the cross-modality and non-local blocks that change its
            features.

        Raises:
            ValueError: If the branch is unknown.
        """
        if branch not in BRANCHES:
            raise ValueError(f"expected a branch rgb or flow, got {branch!r}")
        names = (branch, *(f"{kind}_{branch}" for kind in BLOCK_KINDS))
        return nn.ModuleList([getattr(self, name) for name in names])

    def freeze(self, branch: str) -> None:
        """Freeze a branch: no gradients for its parameters, no updates of its BN statistics.

        ``train()`` puts batch normalization (BN) back into training mode, so call this method again
        after ``train()``.

        Args:
            branch: "rgb" or "flow".

        Raises:
            ValueError: If the branch is unknown.
        """
        self.list_branch_modules(branch).eval().requires_grad_(False)

    def drop_identities(self, branches: tuple[str, ...] = BRANCHES) -> int:
        """Remove attention blocks that are the identity: the scales and shifts of their BN are 0.

        All logits stay bitwise equal. A block that is still to be trained is the identity too, so
        drop only blocks of branches that are not being trained.

        Args:
            branches: Remove blocks that change the features of these branches. Default: both.

        Returns:
            The number of removed blocks.
        """
        num_dropped = 0
        for branch in branches:
            for kind in BLOCK_KINDS:
                blocks = getattr(self, f"{kind}_{branch}")
                for name in [name for name, block in blocks.items() if is_identity(block)]:
                    del blocks[name]
                    num_dropped += 1
        return num_dropped

    def count_used_parameters(self) -> int:
        """Count the parameters that influence the logits which `forward` computes.

        Returns:
            The number of parameters.
        """
        state = {name: tensor.detach().to("meta") for name, tensor in self.state_dict().items()}
        parameters = [state[name].requires_grad_() for name, _ in self.named_parameters()]
        images = {branch: _make_meta_input(getattr(self, branch)) for branch in BRANCHES}
        outputs = torch.func.functional_call(self, state, kwargs=images)
        total = torch.stack([logits.sum() for logits in outputs.values()]).sum()
        gradients = torch.autograd.grad(total, parameters, allow_unused=True)
        pairs = zip(parameters, gradients, strict=True)
        return sum(parameter.numel() for parameter, gradient in pairs if gradient is not None)

    def _find_last_step(self, branch: str) -> int:
        """Find the index of the last step that a branch must run.

        It is −1 if none must run, and the number of steps if the branch's logits are computed.
        """
        names = [name for name, _ in self.rgb.steps()]
        if self.scores in (branch, "both"):
            return len(names)
        attending_blocks = self.to_flow if branch == "rgb" else self.to_rgb
        return max((i for i, name in enumerate(names) if name in attending_blocks), default=-1)


def _run_step(step: Step, non_local: nn.ModuleDict, name: str, features: Tensor) -> Tensor:
    """Run a step, and the non-local block that follows it, if there is one."""
    features = step(features)
    return non_local[name](features) if name in non_local else features


def _make_meta_input(network: Backbone) -> Tensor:
    """Make an input of a network on the meta device, where tensors have shapes and no data."""
    convention = network.rgb_input
    time = (convention.frames,) if network.dims == 3 else ()
    shape = (count_input_channels(network), *time, convention.size, convention.size)
    return torch.empty(1, *shape, device="meta")


def _describe_backbone(network: Backbone) -> str:
    """Describe a backbone in an error message."""
    name, channels = list(network.taps.items())[-1]
    return f"{type(network).__name__} ({len(network.taps)} taps, {channels} channels in {name})"


def is_identity(block: CrossModalityBlock) -> bool:
    """Tell whether an attention block returns its x unchanged.

    Args:
        block: A cross-modality or non-local block.

    Returns:
        True if all scales and shifts of its BN are 0.
    """
    return not (block.norm.weight.any() or block.norm.bias.any())


def count_parameters(module: nn.Module) -> int:
    """Count the parameters of a module, whether or not they are frozen.

    Args:
        module: Any module.

    Returns:
        The number of parameters.
    """
    return sum(parameter.numel() for parameter in module.parameters())

# ruff: noqa: N803
"""I3D-ResNet-50: a ResNet-50 for clips, whose kernels are inflated into time.

Wang, Girshick, Gupta, He, "Non-local Neural Networks", CVPR 2018, §4 and Table 1, in the layout
of the authors' training code; Carreira, Zisserman, "Quo Vadis, Action Recognition?", CVPR 2017,
for inflation (`models.weights.pretrained.inflate_time`).

Lengths of the kernels in time; in res2 … res5, those of the first convolution of each block:

    conv1  5×7×7      res2  3 3 3    res3  3 1 3 1    res4  3 1 3 1 3 1    res5  1 3 1

Two stems are published, for clips of 32 and of 8 frames. They differ in time alone:

    frames       conv1          pool1            pool2, after res2    clip → features in time
    32           by (2, 2, 2)   2×3×3 by 2       2×1×1 by (2, 1, 1)   32 → 16 → 8 → 4
     8           by (1, 2, 2)   1×3×3 by (1,2,2) the same              8 →  8 → 8 → 4

Unlike in ResNet, pool1 has no padding: 224² → 112² → 55² → 28² → 14² → 7².

Deviations from the paper, as in the authors' code: the paper (§4) inflates one kernel for every
two residual blocks, the code all three of res2. The scale of the last BN of each block starts at
0, so that a new block passes on its shortcut; all else starts as in `models.backbones.resnet`.
The state-dict keys are those of `models.backbones.resnet`, so that the weights of image networks
fit once they are inflated.

    B C T H W  batch, channels, time, height, width
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import torch
from torch import nn

from models.backbones.backbone import (
    FLOW_INPUT,
    RGB_INPUT,
    Backbone,
    InputConvention,
    Step,
    initialize_convolutions,
)

# For each stage, the length in time of the first convolution of each of its blocks.
TEMPORAL_KERNELS = ((3, 3, 3), (3, 1, 3, 1), (3, 1, 3, 1, 3, 1), (1, 3, 1))
NON_LOCAL_POSITIONS = ("res3_1", "res3_3", "res4_1", "res4_3", "res4_5")
POOL2_STRIDE = 2


@dataclass(frozen=True)
class StemStrides:
    """Strides of the stem in time."""

    conv1: int
    """Temporal stride of conv1."""

    pool1: int
    """Temporal stride of pool1, and length of its window."""


STEMS = {32: StemStrides(conv1=2, pool1=2), 8: StemStrides(conv1=1, pool1=1)}


class Bottleneck(nn.Module):
    """A T×1×1, a 1×3×3 (with the spatial stride) and a 1×1×1 convolution; residual."""

    expansion = 4

    def __init__(
        self, in_channels: int, inner_channels: int, temporal_kernel: int, stride: int = 1
    ) -> None:
        """Build the block with random weights; the scale of its last BN starts at 0.

        Args:
            in_channels: Channels of the input.
            inner_channels: Channels of the first two convolutions; the output has 4 times as many.
            temporal_kernel: Length of the first convolution in time, 1 or 3.
            stride: Spatial stride. Default: 1.
        """
        super().__init__()
        out_channels, strides = inner_channels * self.expansion, (1, stride, stride)
        self.conv1 = nn.Conv3d(
            in_channels,
            inner_channels,
            (temporal_kernel, 1, 1),
            padding=(temporal_kernel // 2, 0, 0),
            bias=False,
        )
        self.bn1 = nn.BatchNorm3d(inner_channels)
        self.conv2 = nn.Conv3d(
            inner_channels, inner_channels, (1, 3, 3), strides, padding=(0, 1, 1), bias=False
        )
        self.bn2 = nn.BatchNorm3d(inner_channels)
        self.conv3 = nn.Conv3d(inner_channels, out_channels, 1, bias=False)
        self.bn3 = nn.BatchNorm3d(out_channels)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = None
        if stride > 1 or in_channels != out_channels:
            self.downsample = nn.Sequential(
                nn.Conv3d(in_channels, out_channels, 1, strides, bias=False),
                nn.BatchNorm3d(out_channels),
            )
        nn.init.zeros_(self.bn3.weight)

    def forward(self, x_BCTHW: torch.Tensor) -> torch.Tensor:
        """Run the block.

        Args:
            x_BCTHW: Features (B, in_channels, T, H, W).

        Returns:
            Features (B, 4·inner_channels, T, ⌈H/stride⌉, ⌈W/stride⌉).
        """
        out = self.relu(self.bn1(self.conv1(x_BCTHW)))
        out = self.relu(self.bn2(self.conv2(out)))
        out = self.bn3(self.conv3(out))
        shortcut = x_BCTHW if self.downsample is None else self.downsample(x_BCTHW)
        return self.relu(out + shortcut)


class I3D(Backbone):
    """I3D-ResNet-50 for clips.

    Its steps are ``stem``, ``res2_0`` to ``res5_2``, and ``pool2`` after ``res2_2``. All residual
    blocks are taps.

    Example:
        >>> network = I3D(frames=8, num_classes=101)
        >>> network(torch.randn(1, 3, 8, 224, 224)).shape
        torch.Size([1, 101])
    """

    dims: ClassVar[int] = 3
    rgb_input: ClassVar[InputConvention] = replace(RGB_INPUT, frames=32)
    flow_input: ClassVar[InputConvention] = replace(FLOW_INPUT, frames=32)

    def __init__(
        self,
        *,
        frames: Literal[32, 8] = 32,
        in_channels: int = 3,
        num_classes: int = 400,
        dropout: float = 0.5,
        width: int = 64,
        non_local: Callable[[int], nn.Module] | None = None,
    ) -> None:
        """Build the network with random weights.

        Args:
            frames: Which stem to build, the one for 32 or for 8 frames. Either accepts clips of
                other lengths too: 8 frames or more for 32, 2 or more for 8. The ``frames`` of
                `rgb_input` and `flow_input` are those of the stem for 32. Default: 32.
            in_channels: 3 for RGB, 2 for flow. Default: 3.
            num_classes: Classes of the last layer. 0: no last layer, so that the network returns
                pooled features. Default: 400, those of Kinetics.
            dropout: Dropout probability before the last layer. Default: 0.5.
            width: Channels of the stem, which scale those of all layers. Default: 64, the
                paper's.
            non_local: A function from a number of channels to a block, called to add the paper's
                five non-local blocks, such as ``partial(NonLocalBlock, dims=3)``. Each block runs
                as part of the step that it follows. Default: no blocks.

        Raises:
            ValueError: If ``frames`` is neither 32 nor 8.
        """
        super().__init__()
        if frames not in STEMS:
            raise ValueError(
                f"expected the stem for {' or '.join(map(str, STEMS))} frames, got {frames}"
            )
        strides = STEMS[frames]
        self.frames, self.dropout = frames, nn.Dropout(dropout)
        self.min_frames = strides.conv1 * strides.pool1 * POOL2_STRIDE
        self.conv1 = nn.Conv3d(
            in_channels, width, (5, 7, 7), (strides.conv1, 2, 2), padding=(2, 3, 3), bias=False
        )
        self.bn1 = nn.BatchNorm3d(width)
        self.relu = nn.ReLU(inplace=True)
        self.pool1 = nn.MaxPool3d((strides.pool1, 3, 3), (strides.pool1, 2, 2))
        self.pool2 = nn.MaxPool3d((POOL2_STRIDE, 1, 1), (POOL2_STRIDE, 1, 1))
        channels, self.taps = width, {}
        for stage_index, temporal_kernels in enumerate(TEMPORAL_KERNELS):
            inner_channels, blocks = width << stage_index, []
            for block_index, temporal_kernel in enumerate(temporal_kernels):
                stride = 2 if stage_index > 0 and block_index == 0 else 1
                blocks.append(Bottleneck(channels, inner_channels, temporal_kernel, stride))
                channels = inner_channels * Bottleneck.expansion
                self.taps[f"res{stage_index + 2}_{block_index}"] = channels
            setattr(self, f"layer{stage_index + 1}", nn.Sequential(*blocks))
        self.num_features = channels
        self.fc = nn.Linear(channels, num_classes) if num_classes else None
        initialize_convolutions(self)
        # Added after the initialization, since non-local blocks have their own.
        self.non_local = nn.ModuleDict(
            {name: non_local(self.taps[name]) for name in NON_LOCAL_POSITIONS} if non_local else {}
        )

    def steps(self) -> Iterator[tuple[str, Step]]:
        """List ``stem``, the residual blocks and ``pool2``.

        Returns:
            Pairs of a name and a function from features to features.
        """
        yield "stem", self._run_stem
        for stage in (2, 3, 4, 5):
            for block_index, block in enumerate(getattr(self, f"layer{stage - 1}")):
                name = f"res{stage}_{block_index}"
                if name in self.non_local:
                    yield name, _chain_steps(block, self.non_local[name])
                else:
                    yield name, block
            if stage == 2:
                yield "pool2", self.pool2

    def _run_stem(self, x_BCTHW: torch.Tensor) -> torch.Tensor:
        """Run the layers before the residual blocks; ValueError for clips that are too short."""
        if x_BCTHW.ndim != 5 or x_BCTHW.shape[2] < self.min_frames:
            raise ValueError(
                f"expected clips (B, C, T, H, W) of {self.min_frames} frames or more, got "
                f"{tuple(x_BCTHW.shape)}: sample longer clips. The stem for 32 frames needs at "
                "least 8, the stem for 8 frames at least 2"
            )
        return self.pool1(self.relu(self.bn1(self.conv1(x_BCTHW))))


def _chain_steps(first: Step, second: Step) -> Step:
    """Combine two steps into one that runs the first and then the second."""
    return lambda x: second(first(x))

# ruff: noqa: N803
"""P3D-199: a ResNet-152 for clips, whose 3×3 convolutions are split into space and time.

Qiu, Yao, Mei, "Learning Spatio-Temporal Representation with Pseudo-3D Residual Networks",
ICCV 2017, §3. It is the 3-D network of Chi et al. 2019, §5.6, Table 5, where an attention block
follows the last block of res4.

S is a 1×3×3 convolution and T a 3×1×1 convolution (time, height, width), each with batch
normalization (BN) and ReLU. They are placed between the 1×1×1 convolutions of a bottleneck in three
ways, A, B and C, which alternate from block to block:

    A   T(S(x))          B   S(x) + T(x)          C   y + T(y),  y = S(x)

The layers, with kernel or window by stride, each as (time, height, width):

    stem                  1×7×7 by (1, 2, 2), max-pool 2×3×3 by 2
    res2, res3, res4      3, 8 and 36 blocks
    pool2, pool3, pool4   2×1×1 by (2, 1, 1), each after its stage
    res5                  3 blocks for images, with 3×3 instead of S and T, because the features
                          have length 1 in time there

Clips of 16 frames, 160²: 16 → 8 → 4 → 2 → 1 in time, and 160² → 80² → 40² → 20² → 10² → 5² in
space. The pools after the stages round up, like those of Caffe, in which the original was written.
So the 12 frames of Table 5 are accepted, 12 → 6 → 3 → 2 → 1, and nothing changes for 16. Unlike in
`models.backbones.resnet`, the first 1×1×1 convolution has the stride.

The state-dict keys are those of the public PyTorch port (github.com/qijiezhao/pseudo-3d-pytorch,
p3d_model.py): ``conv1_custom``, ``conv2`` and ``bn2`` of S, ``conv3`` and ``bn3`` of T,
``conv_normal`` and ``bn_normal`` of res5's 3×3, ``conv4`` and ``bn4`` of the last 1×1×1. The
authors' Caffe network (github.com/ZhaofanQiu/pseudo-3d-residual-networks) adds S and T before the
ReLU in B, and averages them before it in C; docs/weights.md compares the three.

Deviations from the port: features are averaged over all of space, which for 160² equals the
port's 5×5 average pool. Clips that are longer than 1 in time at res5 are refused; the port treats
their frames as more clips. RGB is normalized as in torchvision, and flow as in TSN.

    B C T H W  batch, channels, time, height, width
"""

from abc import abstractmethod
from dataclasses import replace
from functools import partial
from itertools import cycle
from typing import ClassVar, Literal

from torch import Tensor, nn

from models.backbones.backbone import FLOW_INPUT, RGB_INPUT, InputConvention, Step
from models.backbones.residual import (
    CONVOLUTIONS,
    NORMS,
    BlockBuilder,
    ResidualBackbone,
    ResidualBlock,
    make_shortcut,
)

BLOCKS = (3, 8, 36, 3)
MAX_FRAMES = 16
Variant = Literal["A", "B", "C"]
VARIANTS: tuple[Variant, ...] = ("A", "B", "C")


class Bottleneck(ResidualBlock):
    """A residual block: a 1×1 convolution (with the stride), those of a subclass, and a 1×1."""

    def __init__(
        self, in_channels: int, inner_channels: int, stride: int, dims: Literal[2, 3]
    ) -> None:
        """Build the outer convolutions with random weights.

        Args:
            in_channels: Channels of the input.
            inner_channels: Channels between the outer convolutions; the output has 4 times as
                many.
            stride: Spatial stride.
            dims: 2 for features (B, C, H, W), 3 for (B, C, T, H, W).
        """
        super().__init__()
        conv, norm, strides = CONVOLUTIONS[dims], NORMS[dims], (1, stride, stride)[-dims:]
        out_channels = inner_channels * self.expansion
        self.conv1 = conv(in_channels, inner_channels, 1, strides, bias=False)
        self.bn1 = norm(inner_channels)
        self.conv4 = conv(inner_channels, out_channels, 1, bias=False)
        self.bn4 = norm(out_channels)
        self.downsample = make_shortcut(in_channels, out_channels, stride, dims)

    @abstractmethod
    def run_inner(self, x: Tensor) -> Tensor:
        """Run the convolutions between the outer ones.

        Args:
            x: Features with the inner channels.

        Returns:
            A tensor of the shape of x.
        """

    def run_convolutions(self, x: Tensor) -> Tensor:
        """Run the outer and the inner convolutions and their BN, without the last ReLU."""
        out = self.run_inner(self.relu(self.bn1(self.conv1(x))))
        return self.bn4(self.conv4(out))


class ClipBottleneck(Bottleneck):
    """A bottleneck for clips, with S and T inside, in one of three variants."""

    def __init__(
        self, in_channels: int, inner_channels: int, stride: int, variant: Variant
    ) -> None:
        """Build the block with random weights.

        Args:
            in_channels: Channels of the input.
            inner_channels: Channels of S and T; the output has 4 times as many.
            stride: Spatial stride.
            variant: "A", "B" or "C".
        """
        super().__init__(in_channels, inner_channels, stride, dims=3)
        self.variant = variant
        self.conv2 = nn.Conv3d(
            inner_channels, inner_channels, (1, 3, 3), padding=(0, 1, 1), bias=False
        )
        self.bn2 = nn.BatchNorm3d(inner_channels)
        self.conv3 = nn.Conv3d(
            inner_channels, inner_channels, (3, 1, 1), padding=(1, 0, 0), bias=False
        )
        self.bn3 = nn.BatchNorm3d(inner_channels)

    def run_inner(self, x: Tensor) -> Tensor:
        """Run S, within each frame, and T.

        Args:
            x: Features (B, inner_channels, T, H, W).

        Returns:
            A tensor of the shape of x.
        """
        spatial = self.relu(self.bn2(self.conv2(x)))
        if self.variant == "B":
            return spatial + self._run_temporal(x)
        temporal = self._run_temporal(spatial)
        return temporal if self.variant == "A" else spatial + temporal

    def _run_temporal(self, x_BCTHW: Tensor) -> Tensor:
        """Run T, along time at each position."""
        return self.relu(self.bn3(self.conv3(x_BCTHW)))


class ImageBottleneck(Bottleneck):
    """A bottleneck for images, with a 3×3 convolution inside."""

    def __init__(self, in_channels: int, inner_channels: int, stride: int) -> None:
        """Build the block with random weights.

        Args:
            in_channels: Channels of the input.
            inner_channels: Channels of the 3×3 convolution; the output has 4 times as many.
            stride: Spatial stride.
        """
        super().__init__(in_channels, inner_channels, stride, dims=2)
        self.conv_normal = nn.Conv2d(inner_channels, inner_channels, 3, padding=1, bias=False)
        self.bn_normal = nn.BatchNorm2d(inner_channels)

    def run_inner(self, x: Tensor) -> Tensor:
        """Run the 3×3 convolution.

        Args:
            x: Features (B, inner_channels, H, W).

        Returns:
            A tensor of the shape of x.
        """
        return self.relu(self.bn_normal(self.conv_normal(x)))


class P3D199(ResidualBackbone):
    """P3D-199 for clips of 16 frames.

    Its steps are ``stem``, ``res2_0`` to ``res5_2``, and ``pool2``, ``pool3`` and ``pool4`` after
    their stages. Features are (B, C, T, H, W) up to ``res4_35`` and (B, C, H, W) from ``pool4``
    on. The blocks of res2 to res4 are taps (`models.backbones.backbone` explains steps and taps).

    `forward` raises ValueError unless a clip has 2, 4, … or 16 frames. With an odd number, the
    first pool would drop the last frame; with more than 16, features would be longer than 1 in time
    at res5.

    Example:
        >>> network = P3D199(num_classes=101)
        >>> network(torch.randn(1, 3, 16, 160, 160)).shape
        torch.Size([1, 101])
    """

    dims: ClassVar[int] = 3
    rgb_input: ClassVar[InputConvention] = replace(RGB_INPUT, size=160, frames=16)
    flow_input: ClassVar[InputConvention] = replace(FLOW_INPUT, size=160, frames=16)

    def __init__(
        self,
        *,
        in_channels: int = 3,
        num_classes: int = 400,
        dropout: float = 0.5,
        width: int = 64,
        blocks: tuple[int, int, int, int] = BLOCKS,
    ) -> None:
        """Build the network with random weights.

        Args:
            in_channels: 3 for RGB, 2 for flow. Default: 3.
            num_classes: Classes of the last layer. 0: no last layer, so that the network returns
                pooled features. Default: 400, those of Kinetics.
            dropout: Dropout probability before the last layer. Default: 0.5.
            width: Channels of the stem. The channels of all other layers are scaled in proportion.
                Default: 64, as in the paper.
            blocks: Number of blocks of res2, res3, res4 and res5, at least 1 each. Default: those
                of P3D-199.
        """
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.conv1_custom = nn.Conv3d(
            in_channels, width, (1, 7, 7), (1, 2, 2), padding=(0, 3, 3), bias=False
        )
        self.bn1 = nn.BatchNorm3d(width)
        self.relu = nn.ReLU(inplace=True)
        self.pool1 = nn.MaxPool3d((2, 3, 3), stride=2, padding=(0, 1, 1))
        self.temporal_pool = nn.MaxPool3d((2, 1, 1), stride=(2, 1, 1), ceil_mode=True)
        variants = cycle(VARIANTS)
        stages: list[list[BlockBuilder]] = [
            [partial(ClipBottleneck, variant=next(variants)) for _ in range(count)]
            for count in blocks[:3]
        ]
        self.build_stages(width, [*stages, [ImageBottleneck] * blocks[3]], num_classes)
        self.taps = {name: n for name, n in self.taps.items() if not name.startswith("res5")}

    def get_stage_pool(self, stage: int) -> Step | None:
        """Return the pool in time that follows res2, res3 and res4; None for res5."""
        if stage == 5:
            return None
        return self.temporal_pool if stage < 4 else self._run_last_temporal_pool

    def run_stem(self, x: Tensor) -> Tensor:
        """Run the layers before the residual blocks.

        Args:
            x: Normalized clips (B, C, T, H, W).

        Returns:
            Features.

        Raises:
            ValueError: If the clips have another number of frames than 2, 4, … or 16.
        """
        if x.ndim != 5 or x.shape[2] not in range(2, MAX_FRAMES + 1, 2):
            raise ValueError(
                f"expected clips (B, C, T, H, W) of 2, 4, … or {MAX_FRAMES} frames, got "
                f"{tuple(x.shape)}: sample 16 frames of each video"
            )
        return self.pool1(self.relu(self.bn1(self.conv1_custom(x))))

    def _run_last_temporal_pool(self, x_BCTHW: Tensor) -> Tensor:
        """Run ``pool4`` and drop the time axis: (B, C, 1 or 2, H, W) → (B, C, H, W)."""
        return self.temporal_pool(x_BCTHW).squeeze(2)

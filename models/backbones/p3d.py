# ruff: noqa: N803
"""P3D-199: a ResNet-152 whose 3×3 convolutions are one in space and one in time.

Qiu, Yao, Mei, "Learning Spatio-Temporal Representation with Pseudo-3D Residual Networks",
ICCV 2017, §3. It is the 3-D network of Chi et al. 2019, §5.6, Table 5, where a block
of attention stands after the last block of res4.

S, 1×3×3, and T, 3×1×1, each with BN and ReLU, stand between the 1×1×1 convolutions of a
bottleneck in three ways, which take turns from block to block:

    A   T(S(x))          B   S(x) + T(x)          C   y + T(y),  y = S(x)

    stem    1×7×7 by (1, 2, 2), max-pool 2×3×3 by 2      res2, res3, res4   3 + 8 + 36 blocks
    pool2, pool3, pool4   2×1×1 by (2, 1, 1), each after its stage
    res5    3 blocks of images, as no time is left, with 3×3 instead of S and T

Clips of 16 frames, 160²: 16 → 8 → 4 → 2 → 1 in time, and 160² → 80² → 40² → 20² → 10² → 5² in
space. The pools after the stages round up, as Caffe's do, in which the original was made: that
lets in the 12 frames of Table 5, 12 → 6 → 3 → 2 → 1, and changes nothing for 16. Strides are on
the first 1×1×1 convolution, unlike those of `resnet.py`.

Keys are meant to be those of the public PyTorch port. Certain, from descriptions of its layers
and its counts of parameters: the layers, their shapes, their order and that only the last one
has biases. From memory, not compared with a file: the names ``conv1_custom``, ``conv2`` and
``bn2`` of S, ``conv3`` and ``bn3`` of T, ``conv_normal`` and ``bn_normal`` of res5's 3×3,
``conv4`` and ``bn4`` of the last 1×1×1. Loading is strict: what differs would be listed.

Departs from it: the mean is over all of space, which for 160² is its 5×5 average pool; clips of
which time is left at res5 are refused, where it takes their frames for more clips. Normalization
is torchvision's, and for flow that of TSN.

    B C T H W  batch, channels, time, height, width
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import cycle
from typing import Any, ClassVar, Literal

import torch
from torch import nn

from models.backbones.backbone import (
    FLOW_INPUT,
    RGB_INPUT,
    Backbone,
    InputConvention,
    Step,
    initialize,
)

BLOCKS = (3, 8, 36, 3)
MOST_FRAMES = 16
Kind = Literal["A", "B", "C"]


def serial(x: torch.Tensor, space: Step, time: Step) -> torch.Tensor:
    """P3D-A."""
    return time(space(x))


def parallel(x: torch.Tensor, space: Step, time: Step) -> torch.Tensor:
    """P3D-B."""
    return space(x) + time(x)


def serial_and_direct(x: torch.Tensor, space: Step, time: Step) -> torch.Tensor:
    """P3D-C: the result of space also goes around time."""
    y = space(x)
    return y + time(y)


KINDS: dict[Kind, Callable[[torch.Tensor, Step, Step], torch.Tensor]] = {
    "A": serial,
    "B": parallel,
    "C": serial_and_direct,
}


class Bottleneck(nn.Module, ABC):
    """1×1 (which strides, in space), what a subclass puts into `middle`, and 1×1; residual.

    ``dims``: 2 for (B, C, H, W), 3 for (B, C, T, H, W).
    """

    expansion = 4

    def __init__(self, channels: int, inner: int, stride: int, dims: Literal[2, 3]) -> None:
        super().__init__()
        conv: Any = nn.Conv2d if dims == 2 else nn.Conv3d
        norm: Any = nn.BatchNorm2d if dims == 2 else nn.BatchNorm3d
        strides = (1, stride, stride)[-dims:]
        wide = inner * self.expansion
        self.conv1, self.bn1 = conv(channels, inner, 1, strides, bias=False), norm(inner)
        self.conv4, self.bn4 = conv(inner, wide, 1, bias=False), norm(wide)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = None
        if stride > 1 or channels != wide:
            self.downsample = nn.Sequential(
                conv(channels, wide, 1, strides, bias=False), norm(wide)
            )

    @abstractmethod
    def middle(self, x: torch.Tensor) -> torch.Tensor:
        """From and to the inner channels."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out = self.middle(self.relu(self.bn1(self.conv1(x))))
        out = self.bn4(self.conv4(out))
        shortcut = x if self.downsample is None else self.downsample(x)
        return self.relu(out + shortcut)


class ClipBottleneck(Bottleneck):
    """With S and T in the middle, in one of three ways."""

    def __init__(self, channels: int, inner: int, stride: int, kind: Kind) -> None:
        super().__init__(channels, inner, stride, dims=3)
        self.kind: Kind = kind
        self.conv2 = nn.Conv3d(inner, inner, (1, 3, 3), padding=(0, 1, 1), bias=False)
        self.bn2 = nn.BatchNorm3d(inner)
        self.conv3 = nn.Conv3d(inner, inner, (3, 1, 1), padding=(1, 0, 0), bias=False)
        self.bn3 = nn.BatchNorm3d(inner)

    def middle(self, x: torch.Tensor) -> torch.Tensor:
        return KINDS[self.kind](x, self.space, self.time)

    def space(self, x_BCTHW: torch.Tensor) -> torch.Tensor:
        """S: within each frame."""
        return self.relu(self.bn2(self.conv2(x_BCTHW)))

    def time(self, x_BCTHW: torch.Tensor) -> torch.Tensor:
        """T: along time, at each place."""
        return self.relu(self.bn3(self.conv3(x_BCTHW)))


class ImageBottleneck(Bottleneck):
    """With a 3×3 convolution in the middle."""

    def __init__(self, channels: int, inner: int, stride: int) -> None:
        super().__init__(channels, inner, stride, dims=2)
        self.conv_normal = nn.Conv2d(inner, inner, 3, padding=1, bias=False)
        self.bn_normal = nn.BatchNorm2d(inner)

    def middle(self, x: torch.Tensor) -> torch.Tensor:
        return self.relu(self.bn_normal(self.conv_normal(x)))


class P3D199(Backbone):
    """P3D-199. Its steps: ``stem``, ``res2_0`` to ``res5_2``, and each stage's ``pool2`` … 4.

    Features are (B, C, T, H, W) up to ``res4_35`` and (B, C, H, W) from ``pool4`` on. Attention
    may look at the former only: res5 is not in `taps`.

    Parameters
    ----------
    in_channels: 3 for RGB, 2 for flow.
    num_classes: of the last layer; 0 for none, which gives pooled features instead of scores.
    dropout: before the last layer.
    width: channels of the stem; 64 is the paper's.
    blocks: of res2, res3, res4 and res5, at least 1 each; for networks shorter than P3D-199.

    `forward` raises ValueError for clips of anything but 2, 4, … 16 frames: the first pool would
    leave out an odd one, and of more than 16, time would be left at res5.
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
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.conv1_custom = nn.Conv3d(
            in_channels, width, (1, 7, 7), (1, 2, 2), padding=(0, 3, 3), bias=False
        )
        self.bn1 = nn.BatchNorm3d(width)
        self.relu = nn.ReLU(inplace=True)
        self.pool1 = nn.MaxPool3d((2, 3, 3), stride=2, padding=(0, 1, 1))
        self.halve = nn.MaxPool3d((2, 1, 1), stride=(2, 1, 1), ceil_mode=True)
        channels, self.taps, kinds = width, {}, cycle(KINDS)
        for stage, length in enumerate(blocks, 2):
            inner, layer = width << (stage - 2), []
            for place in range(length):
                stride = 2 if stage > 2 and place == 0 else 1
                if stage < 5:
                    layer.append(ClipBottleneck(channels, inner, stride, next(kinds)))
                else:
                    layer.append(ImageBottleneck(channels, inner, stride))
                channels = inner * Bottleneck.expansion
                if stage < 5:
                    self.taps[f"res{stage}_{place}"] = channels
            setattr(self, f"layer{stage - 1}", nn.Sequential(*layer))
        self.num_features = channels
        self.fc = nn.Linear(channels, num_classes) if num_classes else None
        initialize(self)

    def stem(self, x_BCTHW: torch.Tensor) -> torch.Tensor:
        """What comes before the blocks."""
        if x_BCTHW.ndim != 5 or x_BCTHW.shape[2] not in range(2, MOST_FRAMES + 1, 2):
            raise ValueError(
                f"expected clips (B, C, T, H, W) of 2, 4, … or {MOST_FRAMES} frames, got "
                f"{tuple(x_BCTHW.shape)}: sample 16 frames of each video"
            )
        return self.pool1(self.relu(self.bn1(self.conv1_custom(x_BCTHW))))

    def end_time(self, x_BCTHW: torch.Tensor) -> torch.Tensor:
        """``pool4``, between clips and images: (B, C, 1 or 2, H, W) → (B, C, H, W)."""
        return self.halve(x_BCTHW).squeeze(2)

    def steps(self) -> Iterator[tuple[str, Step]]:
        yield "stem", self.stem
        pools = {2: self.halve, 3: self.halve, 4: self.end_time}
        for stage in (2, 3, 4, 5):
            for place, block in enumerate(getattr(self, f"layer{stage - 1}")):
                yield f"res{stage}_{place}", block
            if stage in pools:
                yield f"pool{stage}", pools[stage]

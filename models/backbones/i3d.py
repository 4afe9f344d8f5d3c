# ruff: noqa: N803
"""I3D-ResNet-50: a ResNet-50 whose kernels have grown into time.

Wang, Girshick, Gupta, He, "Non-local Neural Networks", CVPR 2018, §4 and Table 1, in the layout
of the authors' training code; Carreira, Zisserman, "Quo Vadis, Action Recognition?", CVPR 2017,
for inflation (`models.weights.pretrained.inflate_time`).

    conv1  5×7×7      res2  3 3 3    res3  3 1 3 1    res4  3 1 3 1 3 1    res5  1 3 1

are the kernels' lengths in time, in res2 … res5 those of each block's first convolution. Two
stems are published, for clips of 32 and of 8 frames. They differ in time alone:

    frames       conv1          pool1            pool2, after res2    clip → features in time
    32           by (2, 2, 2)   2×3×3 by 2       2×1×1 by (2, 1, 1)   32 → 16 → 8 → 4
     8           by (1, 2, 2)   1×3×3 by (1,2,2) the same              8 →  8 → 8 → 4

pool1 has no padding, other than in ResNet: 224² → 112² → 55² → 28² → 14² → 7².

The paper (§4) inflates one kernel for every two residual blocks; that res2 has it in all three
is the code's. As there, the last BN of each block starts at scale 0, so that a new block is its
shortcut; all else starts as in `resnet.py`. Keys are those of `resnet.py`, so that the weights
of image networks fit once they are inflated.

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
    initialize,
)

# By stage, the length in time of the first convolution of each of its blocks.
TIMES = ((3, 3, 3), (3, 1, 3, 1), (3, 1, 3, 1, 3, 1), (1, 3, 1))
NON_LOCAL = ("res3_1", "res3_3", "res4_1", "res4_3", "res4_5")
POOL2 = 2


@dataclass(frozen=True)
class Stem:
    """By how much conv1 and pool1 stride in time; pool1's window is as long as its stride."""

    conv1: int
    pool1: int


STEMS = {32: Stem(conv1=2, pool1=2), 8: Stem(conv1=1, pool1=1)}


class Bottleneck(nn.Module):
    """``time``×1×1, 1×3×3 (which strides, in space) and 1×1×1 around a residual connection."""

    expansion = 4

    def __init__(self, channels: int, inner: int, time: int, stride: int = 1) -> None:
        super().__init__()
        wide, in_space = inner * self.expansion, (1, stride, stride)
        self.conv1 = nn.Conv3d(channels, inner, (time, 1, 1), padding=(time // 2, 0, 0), bias=False)
        self.bn1 = nn.BatchNorm3d(inner)
        self.conv2 = nn.Conv3d(inner, inner, (1, 3, 3), in_space, padding=(0, 1, 1), bias=False)
        self.bn2 = nn.BatchNorm3d(inner)
        self.conv3 = nn.Conv3d(inner, wide, 1, bias=False)
        self.bn3 = nn.BatchNorm3d(wide)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = None
        if stride > 1 or channels != wide:
            self.downsample = nn.Sequential(
                nn.Conv3d(channels, wide, 1, in_space, bias=False), nn.BatchNorm3d(wide)
            )
        nn.init.zeros_(self.bn3.weight)

    def forward(self, x_BCTHW: torch.Tensor) -> torch.Tensor:
        out = self.relu(self.bn1(self.conv1(x_BCTHW)))
        out = self.relu(self.bn2(self.conv2(out)))
        out = self.bn3(self.conv3(out))
        shortcut = x_BCTHW if self.downsample is None else self.downsample(x_BCTHW)
        return self.relu(out + shortcut)


class I3D(Backbone):
    """I3D-ResNet-50. Its steps: ``stem``, ``res2_0`` to ``res5_2``, ``pool2`` after ``res2_2``.

    Parameters
    ----------
    frames: 32 or 8, of which stem; other lengths of clips can be run through either. What
        `rgb_input` and `flow_input` say of frames is meant for 32.
    in_channels: 3 for RGB, 2 for flow.
    num_classes: of the last layer; 0 for none, which gives pooled features instead of scores.
    dropout: before the last layer.
    width: channels of the stem; 64 is the paper's.
    non_local: what makes a block for so many channels, to get the paper's five non-local blocks:
        ``partial(NonLocalBlock, dims=3)`` of `models.attention.non_local`, of which backbones
        know nothing. Each belongs to the step that it follows (`NON_LOCAL`).

    Raises ValueError for other stems; `forward`, for clips of too few frames.
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
        super().__init__()
        if frames not in STEMS:
            raise ValueError(
                f"expected the stem for {' or '.join(map(str, STEMS))} frames, got {frames}"
            )
        stem = STEMS[frames]
        self.frames, self.dropout = frames, nn.Dropout(dropout)
        self.fewest_frames = stem.conv1 * stem.pool1 * POOL2
        self.conv1 = nn.Conv3d(
            in_channels, width, (5, 7, 7), (stem.conv1, 2, 2), padding=(2, 3, 3), bias=False
        )
        self.bn1 = nn.BatchNorm3d(width)
        self.relu = nn.ReLU(inplace=True)
        self.pool1 = nn.MaxPool3d((stem.pool1, 3, 3), (stem.pool1, 2, 2))
        self.pool2 = nn.MaxPool3d((POOL2, 1, 1), (POOL2, 1, 1))
        channels, self.taps = width, {}
        for number, times in enumerate(TIMES):
            inner, blocks = width << number, []
            for place, time in enumerate(times):
                stride = 2 if number > 0 and place == 0 else 1
                blocks.append(Bottleneck(channels, inner, time, stride))
                channels = inner * Bottleneck.expansion
                self.taps[f"res{number + 2}_{place}"] = channels
            setattr(self, f"layer{number + 1}", nn.Sequential(*blocks))
        self.num_features = channels
        self.fc = nn.Linear(channels, num_classes) if num_classes else None
        initialize(self)
        # After that, as these blocks start in their own way.
        self.non_local = nn.ModuleDict(
            {name: non_local(self.taps[name]) for name in NON_LOCAL} if non_local else {}
        )

    def stem(self, x_BCTHW: torch.Tensor) -> torch.Tensor:
        """What comes before the blocks."""
        if x_BCTHW.ndim != 5 or x_BCTHW.shape[2] < self.fewest_frames:
            raise ValueError(
                f"expected clips (B, C, T, H, W) of {self.fewest_frames} frames or more, got "
                f"{tuple(x_BCTHW.shape)}: sample longer clips; 8 frames are enough for any stem, "
                "2 for that of frames=8"
            )
        return self.pool1(self.relu(self.bn1(self.conv1(x_BCTHW))))

    def steps(self) -> Iterator[tuple[str, Step]]:
        yield "stem", self.stem
        for stage in (2, 3, 4, 5):
            for place, block in enumerate(getattr(self, f"layer{stage - 1}")):
                name = f"res{stage}_{place}"
                yield name, follow(block, self.non_local[name]) if name in self.non_local else block
            if stage == 2:
                yield "pool2", self.pool2


def follow(first: Step, second: Step) -> Step:
    """The step that does one and then the other."""
    return lambda x: second(first(x))

# ruff: noqa: N803
"""ResNet-18, 34, 50, 101 and 152, with the state-dict keys of torchvision's.

He, Zhang, Ren, Sun, "Deep Residual Learning for Image Recognition", CVPR 2016, Table 1.

    res2 … res5  of the papers are  layer1 … layer4  of the weight files.

Departs from the paper as torchvision does: in bottlenecks the 3×3 convolution strides, not the
first 1×1 ("ResNet v1.5"), which the public weights expect. `width` scales all layers, for small
networks.

    B C H W  batch, channels, height, width
"""

from collections.abc import Iterator

import torch
from torch import nn

from models.backbones.backbone import Backbone, Step, initialize

DEPTHS: dict[int, tuple[int, int, int, int]] = {
    18: (2, 2, 2, 2),
    34: (3, 4, 6, 3),
    50: (3, 4, 6, 3),
    101: (3, 4, 23, 3),
    152: (3, 8, 36, 3),
}
BOTTLENECKS_FROM = 50


class BasicBlock(nn.Module):
    """Two 3×3 convolutions around a residual connection."""

    expansion = 1

    def __init__(self, channels: int, inner: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, inner, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(inner)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(inner, inner, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(inner)
        self.downsample = make_shortcut(channels, inner * self.expansion, stride)

    def forward(self, x_BCHW: torch.Tensor) -> torch.Tensor:
        out = self.relu(self.bn1(self.conv1(x_BCHW)))
        out = self.bn2(self.conv2(out))
        shortcut = x_BCHW if self.downsample is None else self.downsample(x_BCHW)
        return self.relu(out + shortcut)


class Bottleneck(nn.Module):
    """1×1, 3×3 (which strides) and 1×1 convolutions around a residual connection."""

    expansion = 4

    def __init__(self, channels: int, inner: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, inner, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(inner)
        self.conv2 = nn.Conv2d(inner, inner, 3, stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(inner)
        self.conv3 = nn.Conv2d(inner, inner * self.expansion, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(inner * self.expansion)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = make_shortcut(channels, inner * self.expansion, stride)

    def forward(self, x_BCHW: torch.Tensor) -> torch.Tensor:
        out = self.relu(self.bn1(self.conv1(x_BCHW)))
        out = self.relu(self.bn2(self.conv2(out)))
        out = self.bn3(self.conv3(out))
        shortcut = x_BCHW if self.downsample is None else self.downsample(x_BCHW)
        return self.relu(out + shortcut)


def make_shortcut(channels: int, wanted: int, stride: int) -> nn.Sequential | None:
    """A projection where shapes differ; None where the input itself will do."""
    if stride == 1 and channels == wanted:
        return None
    return nn.Sequential(nn.Conv2d(channels, wanted, 1, stride, bias=False), nn.BatchNorm2d(wanted))


class ResNet(Backbone):
    """A ResNet. Its steps: ``stem``, and each residual block, ``res2_0`` to ``res5_…``.

    Parameters
    ----------
    depth: 18, 34, 50, 101 or 152.
    in_channels: 3 for RGB, 2 × the number of fields for flow.
    num_classes: of the last layer; 0 for none, which gives pooled features instead of scores.
    dropout: before the last layer.
    width: channels of the stem; 64 is the paper's.

    Raises ValueError for another depth.
    """

    def __init__(
        self,
        depth: int,
        *,
        in_channels: int = 3,
        num_classes: int = 1000,
        dropout: float = 0.0,
        width: int = 64,
    ) -> None:
        super().__init__()
        if depth not in DEPTHS:
            raise ValueError(f"expected a depth of {', '.join(map(str, DEPTHS))}, got {depth}")
        block = Bottleneck if depth >= BOTTLENECKS_FROM else BasicBlock
        self.depth, self.dropout = depth, nn.Dropout(dropout)
        self.conv1 = nn.Conv2d(in_channels, width, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        channels, self.taps = width, {}
        for number, count in enumerate(DEPTHS[depth]):
            inner, blocks = width << number, []
            for place in range(count):
                stride = 2 if number > 0 and place == 0 else 1
                blocks.append(block(channels, inner, stride))
                channels = inner * block.expansion
                self.taps[f"res{number + 2}_{place}"] = channels
            setattr(self, f"layer{number + 1}", nn.Sequential(*blocks))
        self.num_features = channels
        self.fc = nn.Linear(channels, num_classes) if num_classes else None
        initialize(self)

    def stem(self, x_BCHW: torch.Tensor) -> torch.Tensor:
        """What comes before the blocks."""
        return self.maxpool(self.relu(self.bn1(self.conv1(x_BCHW))))

    def steps(self) -> Iterator[tuple[str, Step]]:
        yield "stem", self.stem
        for stage in (2, 3, 4, 5):
            for place, block in enumerate(getattr(self, f"layer{stage - 1}")):
                yield f"res{stage}_{place}", block

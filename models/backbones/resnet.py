# ruff: noqa: N803
"""ResNet-18, 34, 50, 101 and 152, with the state-dict keys of torchvision's.

He, Zhang, Ren, Sun, "Deep Residual Learning for Image Recognition", CVPR 2016, Table 1.

    res2 … res5  of the papers are  layer1 … layer4  of the weight files.

Departs from the paper as torchvision does: in bottlenecks the 3×3 convolution strides, not the
first 1×1 ("ResNet v1.5"), which the public weights expect. `width` scales all layers, for small
networks. The blocks of the network can be walked one by one (`ResNet.blocks`), so that
attention can be put between them.

    B C H W  batch, channels, height, width
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import nn


@dataclass(frozen=True)
class InputConvention:
    """What a network's weights expect: values in [0, 1] less ``mean``, by ``std``, a channel."""

    mean: tuple[float, ...]
    std: tuple[float, ...]
    size: int = 224
    order: str = "RGB"


# torchvision's for RGB. Flow comes in [−1, 1] with 0 for no motion, and is divided by what
# TSN divides it by: the mean of RGB's deviations, on a scale from 0 to 1.
RGB_INPUT = InputConvention((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
FLOW_INPUT = InputConvention((0.0,), (2 * 0.226,), order="xy")

DEPTHS: dict[int, tuple[int, int, int, int]] = {
    18: (2, 2, 2, 2),
    34: (3, 4, 6, 3),
    50: (3, 4, 6, 3),
    101: (3, 4, 23, 3),
    152: (3, 8, 36, 3),
}
BOTTLENECKS_FROM = 50


def normalize(images: torch.Tensor, convention: InputConvention) -> torch.Tensor:
    """Images (B, C, H, W) as the datasets give them → as the network's weights expect them."""
    mean, std = (images.new_tensor(v)[:, None, None] for v in (convention.mean, convention.std))
    return (images - mean) / std


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


class ResNet(nn.Module):
    """A ResNet.

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
        channels = width
        for number, count in enumerate(DEPTHS[depth]):
            inner, blocks = width << number, []
            for place in range(count):
                stride = 2 if number > 0 and place == 0 else 1
                blocks.append(block(channels, inner, stride))
                channels = inner * block.expansion
            setattr(self, f"layer{number + 1}", nn.Sequential(*blocks))
        self.num_features = channels
        self.fc = nn.Linear(channels, num_classes) if num_classes else None
        initialize(self)

    def stem(self, x_BCHW: torch.Tensor) -> torch.Tensor:
        """What comes before the blocks."""
        return self.maxpool(self.relu(self.bn1(self.conv1(x_BCHW))))

    def blocks(self) -> Iterator[tuple[int, int, nn.Module]]:
        """All residual blocks in order: (stage 2 … 5 of the papers, place in it from 0, block)."""
        for stage in (2, 3, 4, 5):
            for place, block in enumerate(getattr(self, f"layer{stage - 1}")):
                yield stage, place, block

    def head(self, x_BCHW: torch.Tensor) -> torch.Tensor:
        """Average over space; then scores (B, classes), or the features (B, C) without fc."""
        features = x_BCHW.mean(dim=(2, 3))
        return features if self.fc is None else self.fc(self.dropout(features))

    def forward(self, x_BCHW: torch.Tensor) -> torch.Tensor:
        x = self.stem(x_BCHW)
        for _, _, block in self.blocks():
            x = block(x)
        return self.head(x)


def initialize(network: nn.Module) -> None:
    """He initialization of convolutions; BN is the identity."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Conv3d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")


def channels_of(depth: int, stage: int, width: int = 64) -> int:
    """Channels that a stage (2 … 5) puts out."""
    expansion = Bottleneck.expansion if depth >= BOTTLENECKS_FROM else BasicBlock.expansion
    return (width << (stage - 2)) * expansion

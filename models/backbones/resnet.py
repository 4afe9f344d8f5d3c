# ruff: noqa: N803
"""ResNet-18, 34, 50, 101 and 152, with torchvision's state-dict keys.

He, Zhang, Ren, Sun, "Deep Residual Learning for Image Recognition", CVPR 2016, Table 1.

    res2 … res5  of the papers are  layer1 … layer4  of the weight files.

Deviation from the paper, as in torchvision: in bottlenecks the 3×3 convolution has the stride,
not the first 1×1 convolution ("ResNet v1.5"). The public weights expect this.

    B C H W  batch, channels, height, width
"""

from collections.abc import Iterator

import torch
from torch import nn

from models.backbones.backbone import Backbone, Step, initialize_convolutions

DEPTHS: dict[int, tuple[int, int, int, int]] = {
    18: (2, 2, 2, 2),
    34: (3, 4, 6, 3),
    50: (3, 4, 6, 3),
    101: (3, 4, 23, 3),
    152: (3, 8, 36, 3),
}
BOTTLENECKS_FROM = 50


class BasicBlock(nn.Module):
    """Two 3×3 convolutions with a residual connection."""

    expansion = 1

    def __init__(self, in_channels: int, inner_channels: int, stride: int = 1) -> None:
        """Build the block with random weights.

        Args:
            in_channels: Channels of the input.
            inner_channels: Channels of both convolutions, and of the output.
            stride: Spatial stride of the first convolution. Default: 1.
        """
        super().__init__()
        out_channels = inner_channels * self.expansion
        self.conv1 = nn.Conv2d(in_channels, inner_channels, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(inner_channels)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(inner_channels, inner_channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(inner_channels)
        self.downsample = _make_shortcut(in_channels, out_channels, stride)

    def forward(self, x_BCHW: torch.Tensor) -> torch.Tensor:
        """Run the block.

        Args:
            x_BCHW: Features (B, in_channels, H, W).

        Returns:
            Features (B, inner_channels, ⌈H/stride⌉, ⌈W/stride⌉).
        """
        out = self.relu(self.bn1(self.conv1(x_BCHW)))
        out = self.bn2(self.conv2(out))
        shortcut = x_BCHW if self.downsample is None else self.downsample(x_BCHW)
        return self.relu(out + shortcut)


class Bottleneck(nn.Module):
    """A 1×1, a 3×3 (with the stride) and a 1×1 convolution with a residual connection."""

    expansion = 4

    def __init__(self, in_channels: int, inner_channels: int, stride: int = 1) -> None:
        """Build the block with random weights.

        Args:
            in_channels: Channels of the input.
            inner_channels: Channels of the first two convolutions; the output has 4 times as many.
            stride: Spatial stride of the 3×3 convolution. Default: 1.
        """
        super().__init__()
        out_channels = inner_channels * self.expansion
        self.conv1 = nn.Conv2d(in_channels, inner_channels, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(inner_channels)
        self.conv2 = nn.Conv2d(inner_channels, inner_channels, 3, stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(inner_channels)
        self.conv3 = nn.Conv2d(inner_channels, out_channels, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(out_channels)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = _make_shortcut(in_channels, out_channels, stride)

    def forward(self, x_BCHW: torch.Tensor) -> torch.Tensor:
        """Run the block.

        Args:
            x_BCHW: Features (B, in_channels, H, W).

        Returns:
            Features (B, 4·inner_channels, ⌈H/stride⌉, ⌈W/stride⌉).
        """
        out = self.relu(self.bn1(self.conv1(x_BCHW)))
        out = self.relu(self.bn2(self.conv2(out)))
        out = self.bn3(self.conv3(out))
        shortcut = x_BCHW if self.downsample is None else self.downsample(x_BCHW)
        return self.relu(out + shortcut)


def _make_shortcut(in_channels: int, out_channels: int, stride: int) -> nn.Sequential | None:
    """Build a projection if input and output have different shapes; None otherwise."""
    if stride == 1 and in_channels == out_channels:
        return None
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, 1, stride, bias=False), nn.BatchNorm2d(out_channels)
    )


class ResNet(Backbone):
    """A ResNet for images.

    Its steps are ``stem`` and each residual block, ``res2_0`` to ``res5_…``. All blocks are taps.

    Example:
        >>> network = ResNet(50, num_classes=101)
        >>> network(torch.randn(2, 3, 224, 224)).shape
        torch.Size([2, 101])
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
        """Build the network with random weights.

        Args:
            depth: 18, 34, 50, 101 or 152.
            in_channels: 3 for RGB, twice the number of flow fields for flow. Default: 3.
            num_classes: Classes of the last layer. 0: no last layer, so that the network returns
                pooled features. Default: 1000.
            dropout: Dropout probability before the last layer. Default: 0.
            width: Channels of the stem, which scale those of all layers. Default: 64, the
                paper's.

        Raises:
            ValueError: If the depth is not one of those listed.
        """
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
        for stage_index, num_blocks in enumerate(DEPTHS[depth]):
            inner_channels, blocks = width << stage_index, []
            for block_index in range(num_blocks):
                stride = 2 if stage_index > 0 and block_index == 0 else 1
                blocks.append(block(channels, inner_channels, stride))
                channels = inner_channels * block.expansion
                self.taps[f"res{stage_index + 2}_{block_index}"] = channels
            setattr(self, f"layer{stage_index + 1}", nn.Sequential(*blocks))
        self.num_features = channels
        self.fc = nn.Linear(channels, num_classes) if num_classes else None
        initialize_convolutions(self)

    def steps(self) -> Iterator[tuple[str, Step]]:
        """List ``stem`` and the residual blocks.

        Returns:
            Pairs of a name and a function from features to features.
        """
        yield "stem", self._run_stem
        for stage in (2, 3, 4, 5):
            for block_index, block in enumerate(getattr(self, f"layer{stage - 1}")):
                yield f"res{stage}_{block_index}", block

    def _run_stem(self, x_BCHW: torch.Tensor) -> torch.Tensor:
        """Run the layers before the residual blocks."""
        return self.maxpool(self.relu(self.bn1(self.conv1(x_BCHW))))

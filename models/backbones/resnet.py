"""ResNet-18, 34, 50, 101 and 152, with torchvision's state-dict keys.

He, Zhang, Ren, Sun, "Deep Residual Learning for Image Recognition", CVPR 2016, Table 1.

Deviation from the paper, as in torchvision: in bottlenecks the 3×3 convolution has the stride,
not the first 1×1 convolution ("ResNet v1.5"). The public weights expect this.
"""

from typing import ClassVar, Literal

from torch import Tensor, nn

from models.backbones.residual import (
    CONVOLUTIONS,
    NORMS,
    ResidualBackbone,
    ResidualBlock,
    make_shortcut,
)

# Number of blocks in res2, res3, res4 and res5, by depth.
DEPTHS: dict[int, tuple[int, int, int, int]] = {
    18: (2, 2, 2, 2),
    34: (3, 4, 6, 3),
    50: (3, 4, 6, 3),
    101: (3, 4, 23, 3),
    152: (3, 8, 36, 3),
}
BOTTLENECKS_FROM = 50  # smallest depth that has bottlenecks instead of basic blocks


class BasicBlock(ResidualBlock):
    """Two 3×3 convolutions with a residual connection."""

    expansion: ClassVar[int] = 1

    def __init__(self, in_channels: int, inner_channels: int, stride: int = 1) -> None:
        """Build the block with random weights.

        Args:
            in_channels: Channels of the input.
            inner_channels: Channels of both convolutions, and of the output.
            stride: Spatial stride of the first convolution. Default: 1.
        """
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, inner_channels, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(inner_channels)
        self.conv2 = nn.Conv2d(inner_channels, inner_channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(inner_channels)
        self.downsample = make_shortcut(in_channels, inner_channels, stride)

    def run_convolutions(self, x: Tensor) -> Tensor:
        """Run both convolutions and their BN, without the last ReLU."""
        out = self.relu(self.bn1(self.conv1(x)))
        return self.bn2(self.conv2(out))


class Bottleneck(ResidualBlock):
    """A 1×1, a 3×3 (with the stride) and a 1×1 convolution with a residual connection.

    For clips they are T×1×1, 1×3×3 and 1×1×1, as in I3D.
    """

    def __init__(
        self,
        in_channels: int,
        inner_channels: int,
        stride: int = 1,
        temporal_kernel: int | None = None,
    ) -> None:
        """Build the block with random weights.

        Args:
            in_channels: Channels of the input.
            inner_channels: Channels of the first two convolutions; the output has 4 times as many.
            stride: Spatial stride of the 3×3 convolution. Default: 1.
            temporal_kernel: T, the length of the first convolution in time, 1 or 3. Default: None,
                a block for images.
        """
        super().__init__()
        dims: Literal[2, 3] = 2 if temporal_kernel is None else 3
        length, conv, norm = temporal_kernel or 1, CONVOLUTIONS[dims], NORMS[dims]
        # Sizes are (time, height, width); those of a block for images leave out the time.
        kernel, padding = (length, 1, 1)[-dims:], (length // 2, 0, 0)[-dims:]
        self.conv1 = conv(in_channels, inner_channels, kernel, padding=padding, bias=False)
        self.bn1 = norm(inner_channels)
        kernel, strides, padding = (1, 3, 3)[-dims:], (1, stride, stride)[-dims:], (0, 1, 1)[-dims:]
        self.conv2 = conv(inner_channels, inner_channels, kernel, strides, padding, bias=False)
        self.bn2 = norm(inner_channels)
        out_channels = inner_channels * self.expansion
        self.conv3 = conv(inner_channels, out_channels, 1, bias=False)
        self.bn3 = norm(out_channels)
        self.downsample = make_shortcut(in_channels, out_channels, stride, dims)

    def run_convolutions(self, x: Tensor) -> Tensor:
        """Run the three convolutions and their BN, without the last ReLU."""
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.relu(self.bn2(self.conv2(out)))
        return self.bn3(self.conv3(out))


class ResNet(ResidualBackbone):
    """A ResNet for images.

    Its steps are ``stem`` and each residual block, ``res2_0`` to ``res5_…``. All blocks are taps
    (`models.backbones.backbone` explains steps and taps).

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
            width: Channels of the stem. The channels of all other layers are scaled in proportion.
                Default: 64, as in the paper.

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
        self.build_stages(width, [[block] * count for count in DEPTHS[depth]], num_classes)

    def run_stem(self, x: Tensor) -> Tensor:
        """Run the 7×7 convolution and the pool before the residual blocks."""
        return self.maxpool(self.relu(self.bn1(self.conv1(x))))

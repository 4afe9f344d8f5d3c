# ruff: noqa: N803
"""Inception-ResNet-v2, with the state-dict keys of Cadene's files.

The keys of timm's files differ only in the last layer.

Szegedy, Ioffe, Vanhoucke, Alemi, "Inception-v4, Inception-ResNet and the Impact of Residual
Connections on Learning", AAAI 2017, §3.2 and Figures 15 to 19.

    in the paper              in the files
    Inception-ResNet-A, B, C  repeat, repeat_1, repeat_2 + block8
    Reduction-A, B            mixed_6a, mixed_7a

Deviations from the paper, as in the public weights: the stem is that of Inception-v3 followed by
a block of towers, mixed_5b; there are 10, 20 and 10 residual blocks, not 5, 10 and 5, of 320, 1088
and 2080 channels; residuals are scaled by 0.17, 0.10 and 0.20, except the very last one.

Maps at 299²: 71×71 after conv2d_4a, 35×35 in A, 17×17 in B, 8×8 in C.

    B C H W  batch, channels, height, width
"""

from collections.abc import Iterable, Iterator
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.backbones.backbone import Backbone, InputConvention, Step, initialize_convolutions

EPSILON = 1e-3  # added to the variance in batch normalization (BN), as in TensorFlow
Layer = tuple[int, int | tuple[int, int]]  # channels and kernel (height, width)
Tower = tuple[Layer, ...]
Block = tuple[int, float, tuple[Tower, ...]]  # channels in and out, scale of the residual, towers
BLOCK_A: Block = (320, 0.17, (((32, 1),), ((32, 1), (32, 3)), ((32, 1), (48, 3), (64, 3))))
BLOCK_B: Block = (1088, 0.10, (((192, 1),), ((128, 1), (160, (1, 7)), (192, (7, 1)))))
BLOCK_C: Block = (2080, 0.20, (((192, 1),), ((192, 1), (224, (1, 3)), (256, (3, 1)))))
COUNTS = (10, 20, 9)  # blocks A, B and C; one more block C, block8, follows
STEPS_BEFORE_BLOCKS = (
    *("conv2d_1a", "conv2d_2a", "conv2d_2b", "maxpool_3a"),
    *("conv2d_3b", "conv2d_4a", "maxpool_5a", "mixed_5b"),
)


class Convolution(nn.Module):
    """A convolution followed by BN and ReLU."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: int | tuple[int, int],
        stride: int = 1,
        padded: bool = False,
    ) -> None:
        """Build the layer with random weights.

        Args:
            in_channels: Channels of the input.
            out_channels: Channels of the output.
            kernel: Side, or (height, width), of the kernel.
            stride: Spatial stride. Default: 1.
            padded: Pad the input so that the output has its size; the stride must then be 1.
                Default: False, no padding.
        """
        super().__init__()
        padding = "same" if padded else "valid"
        self.conv = nn.Conv2d(in_channels, out_channels, kernel, stride, padding, bias=False)
        self.bn = nn.BatchNorm2d(out_channels, eps=EPSILON)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Run the layer.

        Args:
            x_BCHW: Features (B, in_channels, H, W).

        Returns:
            Features (B, out_channels, H', W').
        """
        return functional.relu(self.bn(self.conv(x_BCHW)), inplace=True)


def _make_tower(in_channels: int, layers: Tower, reduces: bool = False) -> nn.Module:
    """Build a chain of padded convolutions; if it reduces, the last has stride 2, no padding."""
    modules: list[nn.Module] = []
    for layer_number, (out_channels, kernel) in enumerate(layers, 1):
        halves = reduces and layer_number == len(layers)
        stride = 2 if halves else 1
        modules.append(Convolution(in_channels, out_channels, kernel, stride, padded=not halves))
        in_channels = out_channels
    # In the weight files, a tower of one layer has no layer number in its names.
    return modules[0] if len(modules) == 1 else nn.Sequential(*modules)


class Towers(nn.Module):
    """Towers of the same input, ``branch0``, ``branch1`` …, whose outputs are concatenated."""

    def __init__(self, *towers: nn.Module) -> None:
        """Register the towers.

        Args:
            *towers: Modules from features (B, C, H, W) to features of one common size.
        """
        super().__init__()
        self.names = [f"branch{index}" for index in range(len(towers))]
        for name, tower in zip(self.names, towers, strict=True):
            setattr(self, name, tower)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Run all towers and concatenate their outputs.

        Args:
            x_BCHW: Features (B, C, H, W).

        Returns:
            Features (B, sum of the towers' channels, H', W').
        """
        return torch.cat([getattr(self, name)(x_BCHW) for name in self.names], dim=1)


class ResidualTowers(Towers):
    """A block A, B or C: ReLU(x + scale · conv2d(towers of x))."""

    def __init__(self, channels: int, scale: float, towers: tuple[Tower, ...]) -> None:
        """Build the block with random weights.

        Args:
            channels: Channels of x.
            scale: Factor of the residual.
            towers: Channels and kernels of the layers of each tower.
        """
        super().__init__(*(_make_tower(channels, layers) for layers in towers))
        inner_channels = sum(layers[-1][0] for layers in towers)
        self.scale, self.conv2d = scale, nn.Conv2d(inner_channels, channels, 1)

    def run_without_relu(self, x_BCHW: Tensor) -> Tensor:
        """Run the block without its ReLU.

        Args:
            x_BCHW: Features (B, C, H, W).

        Returns:
            A tensor of the same shape.
        """
        residual = self.conv2d(super().forward(x_BCHW))
        return x_BCHW + self.scale * residual

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Run the block.

        Args:
            x_BCHW: Features (B, C, H, W).

        Returns:
            A tensor of the same shape.
        """
        return functional.relu(self.run_without_relu(x_BCHW), inplace=True)


class InceptionResNetV2(Backbone):
    """Inception-ResNet-v2 for images with sides of 75 pixels or more.

    Its steps are the layers of the stem, ``mixed_5b``, the residual blocks and the reductions.
    The last blocks are named ``block_a``, ``block_b`` and ``block_c``, those before them
    ``block_a_0``, ``block_a_1`` and so on.

    The taps (`models.backbones.backbone` explains steps and taps) are ``conv2d_4a`` and the last
    blocks of A, B and C before their ReLU, which is a separate step: Du et al. 2018, §4.1, attend
    to "the last layers of Inception-ResNet-A, B, and C without activation". (They give conv2d_4a 92
    channels, a misprint of 192.)

    Example:
        >>> network = InceptionResNetV2(num_classes=101)
        >>> network(torch.randn(2, 3, 299, 299)).shape
        torch.Size([2, 101])
    """

    # RGB in [0, 1] is scaled to [−1, 1], the range that flow already has.
    rgb_input: ClassVar[InputConvention] = InputConvention(
        mean=(0.5,) * 3, std=(0.5,) * 3, size=299
    )
    flow_input: ClassVar[InputConvention] = InputConvention(
        mean=(0.0,), std=(1.0,), size=299, order="xy"
    )
    last_layer_name: ClassVar[str] = "last_linear"

    def __init__(
        self, *, in_channels: int = 3, num_classes: int = 1000, dropout: float = 0.0
    ) -> None:
        """Build the network with random weights.

        Args:
            in_channels: 3 for RGB, twice the number of flow fields for flow. Default: 3.
            num_classes: Classes of the last layer. 0: no last layer, so that the network returns
                pooled features. Default: 1000.
            dropout: Dropout probability before the last layer; the paper's is 0.2. Default: 0.
        """
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.conv2d_1a = Convolution(in_channels, 32, 3, stride=2)
        self.conv2d_2a = Convolution(32, 32, 3)
        self.conv2d_2b = Convolution(32, 64, 3, padded=True)
        self.maxpool_3a = nn.MaxPool2d(3, stride=2)
        self.conv2d_3b = Convolution(64, 80, 1)
        self.conv2d_4a = Convolution(80, 192, 3)
        self.maxpool_5a = nn.MaxPool2d(3, stride=2)
        self.mixed_5b = Towers(
            _make_tower(192, ((96, 1),)),
            _make_tower(192, ((48, 1), (64, 5))),
            _make_tower(192, ((64, 1), (96, 3), (96, 3))),
            nn.Sequential(
                nn.AvgPool2d(3, stride=1, padding=1, count_include_pad=False),
                _make_tower(192, ((64, 1),)),
            ),
        )
        self.repeat = nn.Sequential(*(ResidualTowers(*BLOCK_A) for _ in range(COUNTS[0])))
        self.mixed_6a = Towers(
            _make_tower(320, ((384, 3),), reduces=True),
            _make_tower(320, ((256, 1), (256, 3), (384, 3)), reduces=True),
            nn.MaxPool2d(3, stride=2),
        )
        self.repeat_1 = nn.Sequential(*(ResidualTowers(*BLOCK_B) for _ in range(COUNTS[1])))
        self.mixed_7a = Towers(
            _make_tower(1088, ((256, 1), (384, 3)), reduces=True),
            _make_tower(1088, ((256, 1), (288, 3)), reduces=True),
            _make_tower(1088, ((256, 1), (288, 3), (320, 3)), reduces=True),
            nn.MaxPool2d(3, stride=2),
        )
        self.repeat_2 = nn.Sequential(*(ResidualTowers(*BLOCK_C) for _ in range(COUNTS[2])))
        channels, _, towers = BLOCK_C
        self.block8 = ResidualTowers(channels, 1.0, towers)
        self.num_features = 1536
        self.conv2d_7b = Convolution(channels, self.num_features, 1)
        self.last_linear = nn.Linear(self.num_features, num_classes) if num_classes else None
        self.taps = {"conv2d_4a": 192, "block_a": 320, "block_b": 1088, "block_c": 2080}
        initialize_convolutions(self)

    def steps(self) -> Iterator[tuple[str, Step]]:
        """List the layers of the stem, the residual blocks and the reductions.

        Returns:
            Pairs of a name and a function from features to features.
        """
        yield from ((name, getattr(self, name)) for name in STEPS_BEFORE_BLOCKS)
        yield from _name_blocks("block_a", self.repeat)
        # These ReLUs do not write in place: attention may still need the features before them.
        yield "relu_a", functional.relu
        yield "mixed_6a", self.mixed_6a
        yield from _name_blocks("block_b", self.repeat_1)
        yield "relu_b", functional.relu
        yield "mixed_7a", self.mixed_7a
        yield from _name_blocks("block_c", (*self.repeat_2, self.block8))
        yield "conv2d_7b", self.conv2d_7b


def _name_blocks(name: str, blocks: Iterable[ResidualTowers]) -> Iterator[tuple[str, Step]]:
    """Name blocks ``name_0``, ``name_1`` … as steps; the last is ``name``, without its ReLU."""
    *inner_blocks, last_block = blocks
    for block_index, block in enumerate(inner_blocks):
        yield f"{name}_{block_index}", block
    yield name, last_block.run_without_relu

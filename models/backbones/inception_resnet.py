# ruff: noqa: N803
"""Inception-ResNet-v2, with the state-dict keys of Cadene's (timm's, but for the last layer).

Szegedy, Ioffe, Vanhoucke, Alemi, "Inception-v4, Inception-ResNet and the Impact of Residual
Connections on Learning", AAAI 2017, §3.2 and Figures 15 to 19.

    Inception-ResNet-A, B, C  of the paper are  repeat, repeat_1, repeat_2 + block8  of the files,
    Reduction-A, B                              mixed_6a, mixed_7a

Departs from the paper as the public weights do: the stem is that of Inception-v3 with a block of
towers, mixed_5b; there are 10, 20 and 10 residual blocks, not 5, 10 and 5, of 320, 1088 and 2080
channels; residuals are scaled by 0.17, 0.10 and 0.20, the very last one not.

Maps at 299²: 71×71 after conv2d_4a, 35×35 in A, 17×17 in B, 8×8 in C.

    B C H W  batch, channels, height, width
"""

from collections.abc import Iterable, Iterator
from typing import ClassVar

import torch
from torch import nn
from torch.nn import functional

from models.backbones.backbone import Backbone, InputConvention, Step, initialize

EPSILON = 1e-3  # of BN, as TensorFlow's
Layer = tuple[int, int | tuple[int, int]]  # channels and kernel (height, width)
Tower = tuple[Layer, ...]
Block = tuple[int, float, tuple[Tower, ...]]  # channels in and out, scale of the residual, towers
BLOCK_A: Block = (320, 0.17, (((32, 1),), ((32, 1), (32, 3)), ((32, 1), (48, 3), (64, 3))))
BLOCK_B: Block = (1088, 0.10, (((192, 1),), ((128, 1), (160, (1, 7)), (192, (7, 1)))))
BLOCK_C: Block = (2080, 0.20, (((192, 1),), ((192, 1), (224, (1, 3)), (256, (3, 1)))))
COUNTS = (10, 20, 9)  # of blocks A, B and C; one more C, block8, follows
BEFORE_BLOCKS = (
    *("conv2d_1a", "conv2d_2a", "conv2d_2b", "maxpool_3a"),
    *("conv2d_3b", "conv2d_4a", "maxpool_5a", "mixed_5b"),
)


class Convolution(nn.Module):
    """A convolution, BN and ReLU; padded to keep the size, or not at all."""

    def __init__(
        self,
        channels: int,
        wanted: int,
        kernel: int | tuple[int, int],
        stride: int = 1,
        padded: bool = False,
    ) -> None:
        super().__init__()
        padding = "same" if padded else "valid"
        self.conv = nn.Conv2d(channels, wanted, kernel, stride, padding, bias=False)
        self.bn = nn.BatchNorm2d(wanted, eps=EPSILON)

    def forward(self, x_BCHW: torch.Tensor) -> torch.Tensor:
        return functional.relu(self.bn(self.conv(x_BCHW)), inplace=True)


def make_tower(channels: int, layers: Tower, halve: bool = False) -> nn.Module:
    """Convolutions one after the other, padded; the last strides without padding if it halves."""
    modules: list[nn.Module] = []
    for place, (wanted, kernel) in enumerate(layers, 1):
        last = halve and place == len(layers)
        modules.append(Convolution(channels, wanted, kernel, 2 if last else 1, padded=not last))
        channels = wanted
    # The weight files have no number in the names of a tower of one layer.
    return modules[0] if len(modules) == 1 else nn.Sequential(*modules)


class Towers(nn.Module):
    """Towers of one input side by side, ``branch0`` and so on: their outputs, concatenated."""

    def __init__(self, *towers: nn.Module) -> None:
        super().__init__()
        self.names = [f"branch{number}" for number in range(len(towers))]
        for name, tower in zip(self.names, towers, strict=True):
            setattr(self, name, tower)

    def forward(self, x_BCHW: torch.Tensor) -> torch.Tensor:
        return torch.cat([getattr(self, name)(x_BCHW) for name in self.names], dim=1)


class ResidualTowers(Towers):
    """ReLU(x + scale · conv2d(towers of x)): the blocks A, B and C.

    ``channels`` of x; ``scale`` of the residual; the ``towers``' layers.
    """

    def __init__(self, channels: int, scale: float, towers: tuple[Tower, ...]) -> None:
        super().__init__(*(make_tower(channels, layers) for layers in towers))
        inner = sum(layers[-1][0] for layers in towers)
        self.scale, self.conv2d = scale, nn.Conv2d(inner, channels, 1)

    def add(self, x_BCHW: torch.Tensor) -> torch.Tensor:
        """The block without its ReLU."""
        residual = self.conv2d(super().forward(x_BCHW))
        return x_BCHW + self.scale * residual

    def forward(self, x_BCHW: torch.Tensor) -> torch.Tensor:
        return functional.relu(self.add(x_BCHW), inplace=True)


class InceptionResNetV2(Backbone):
    """Inception-ResNet-v2. Its steps: the layers of the stem, ``mixed_5b``, blocks, reductions.

    Taps are ``conv2d_4a`` and the last blocks ``block_a``, ``block_b`` and ``block_c``, before
    their ReLU, which is a step of its own: Du et al. 2018, §4.1, attend to "the last layers of
    Inception-ResNet-A, B, and C without activation" (and give conv2d_4a 92 channels, a misprint of
    192). The blocks before the last are ``block_a_0``, ``block_a_1`` and so on. Images have sides
    of 75 pixels at least.

    Parameters
    ----------
    in_channels: 3 for RGB, 2 × the number of fields for flow.
    num_classes: of the last layer; 0 for none, which gives pooled features instead of scores.
    dropout: before the last layer; the paper's is 0.2.
    """

    rgb_input: ClassVar[InputConvention] = InputConvention((0.5,) * 3, (0.5,) * 3, size=299)
    # The same of flow: [0, 1] less 0.5 by 0.5 are the [−1, 1] in which it comes.
    flow_input: ClassVar[InputConvention] = InputConvention((0.0,), (1.0,), size=299, order="xy")
    last: ClassVar[str] = "last_linear"

    def __init__(
        self, *, in_channels: int = 3, num_classes: int = 1000, dropout: float = 0.0
    ) -> None:
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
            make_tower(192, ((96, 1),)),
            make_tower(192, ((48, 1), (64, 5))),
            make_tower(192, ((64, 1), (96, 3), (96, 3))),
            nn.Sequential(
                nn.AvgPool2d(3, stride=1, padding=1, count_include_pad=False),
                make_tower(192, ((64, 1),)),
            ),
        )
        self.repeat = nn.Sequential(*(ResidualTowers(*BLOCK_A) for _ in range(COUNTS[0])))
        self.mixed_6a = Towers(
            make_tower(320, ((384, 3),), halve=True),
            make_tower(320, ((256, 1), (256, 3), (384, 3)), halve=True),
            nn.MaxPool2d(3, stride=2),
        )
        self.repeat_1 = nn.Sequential(*(ResidualTowers(*BLOCK_B) for _ in range(COUNTS[1])))
        self.mixed_7a = Towers(
            make_tower(1088, ((256, 1), (384, 3)), halve=True),
            make_tower(1088, ((256, 1), (288, 3)), halve=True),
            make_tower(1088, ((256, 1), (288, 3), (320, 3)), halve=True),
            nn.MaxPool2d(3, stride=2),
        )
        self.repeat_2 = nn.Sequential(*(ResidualTowers(*BLOCK_C) for _ in range(COUNTS[2])))
        channels, _, towers = BLOCK_C
        self.block8 = ResidualTowers(channels, 1.0, towers)
        self.num_features = 1536
        self.conv2d_7b = Convolution(channels, self.num_features, 1)
        self.last_linear = nn.Linear(self.num_features, num_classes) if num_classes else None
        self.taps = {"conv2d_4a": 192, "block_a": 320, "block_b": 1088, "block_c": 2080}
        initialize(self)

    def steps(self) -> Iterator[tuple[str, Step]]:
        yield from ((name, getattr(self, name)) for name in BEFORE_BLOCKS)
        yield from name_blocks("block_a", self.repeat)
        # Not in place, here and below: what was tapped is still looked at.
        yield "relu_a", functional.relu
        yield "mixed_6a", self.mixed_6a
        yield from name_blocks("block_b", self.repeat_1)
        yield "relu_b", functional.relu
        yield "mixed_7a", self.mixed_7a
        yield from name_blocks("block_c", (*self.repeat_2, self.block8))
        yield "conv2d_7b", self.conv2d_7b


def name_blocks(name: str, blocks: Iterable[ResidualTowers]) -> Iterator[tuple[str, Step]]:
    """Steps of blocks ``name_0``, ``name_1`` …; the last is ``name``, and lacks its ReLU."""
    *others, last = blocks
    for place, block in enumerate(others):
        yield f"{name}_{place}", block
    yield name, last.add

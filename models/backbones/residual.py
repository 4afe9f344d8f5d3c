"""Residual blocks, and the base class of networks of four stages of them: ResNet, I3D and P3D.

He, Zhang, Ren, Sun, "Deep Residual Learning for Image Recognition", CVPR 2016.

    The stages res2 … res5 of the papers are layer1 … layer4 in the weight files.

    B C [T] H W   batch, channels, time (of 3-D networks), height, width
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from typing import Any, ClassVar, Literal

from torch import Tensor, nn

from models.backbones.backbone import Backbone, Step, initialize_convolutions

CONVOLUTIONS: dict[int, Any] = {2: nn.Conv2d, 3: nn.Conv3d}
NORMS: dict[int, Any] = {2: nn.BatchNorm2d, 3: nn.BatchNorm3d}


class ResidualBlock(nn.Module, ABC):
    """ReLU(convolutions of x + shortcut of x).

    Attributes:
        expansion: Channels of the output divided by the inner channels.
        downsample: The projection of the shortcut; None if x is added as it is.
    """

    expansion: ClassVar[int] = 4
    downsample: nn.Sequential | None

    def __init__(self) -> None:
        """Build the ReLU, which subclasses use between their convolutions too."""
        super().__init__()
        self.relu = nn.ReLU(inplace=True)

    @abstractmethod
    def run_convolutions(self, x: Tensor) -> Tensor:
        """Run the convolutions and their batch normalization (BN), without the last ReLU.

        Args:
            x: Features (B, in_channels, H, W) or (B, in_channels, T, H, W).

        Returns:
            Features (B, expansion·inner_channels, [T,] ⌈H/stride⌉, ⌈W/stride⌉).
        """

    def forward(self, x: Tensor) -> Tensor:
        """Run the block.

        Args:
            x: Features (B, in_channels, H, W) or (B, in_channels, T, H, W).

        Returns:
            Features (B, expansion·inner_channels, [T,] ⌈H/stride⌉, ⌈W/stride⌉).
        """
        out = self.run_convolutions(x)
        shortcut = x if self.downsample is None else self.downsample(x)
        return self.relu(out + shortcut)


BlockBuilder = Callable[[int, int, int], ResidualBlock]  # from in_channels, inner_channels, stride


def make_shortcut(
    in_channels: int, out_channels: int, stride: int, dims: Literal[2, 3] = 2
) -> nn.Sequential | None:
    """Build the projection of a shortcut.

    Args:
        in_channels: Channels of the block's input.
        out_channels: Channels of the block's output.
        stride: Spatial stride of the block.
        dims: 2 for images, 3 for clips. Default: 2.

    Returns:
        A 1×1 (1×1×1) convolution with BN; None if input and output have the same shape.
    """
    if stride == 1 and in_channels == out_channels:
        return None
    strides = (1, stride, stride)[-dims:]
    convolution = CONVOLUTIONS[dims](in_channels, out_channels, 1, strides, bias=False)
    return nn.Sequential(convolution, NORMS[dims](out_channels))


class ResidualBackbone(Backbone):
    """A stem, four stages of residual blocks, and one fully connected layer.

    Its steps are ``stem`` and the blocks, ``res2_0`` to ``res5_…``; a stage may be followed by a
    pool, ``pool2`` to ``pool5``. All blocks are taps (`models.backbones.backbone` explains steps
    and taps).
    """

    @abstractmethod
    def run_stem(self, x: Tensor) -> Tensor:
        """Run the layers before the residual blocks.

        Args:
            x: Normalized images (B, C, H, W) or clips (B, C, T, H, W).

        Returns:
            Features.
        """

    def get_stage_pool(self, stage: int) -> Step | None:
        """Return the pool that follows a stage.

        Args:
            stage: 2 for res2, … 5 for res5.

        Returns:
            A function from features to features; None if no pool follows.
        """
        return None

    def build_stages(
        self, width: int, stages: Sequence[Sequence[BlockBuilder]], num_classes: int
    ) -> None:
        """Build the blocks and the last layer, and initialize all convolutions.

        Args:
            width: Channels of the stem's output, and inner channels of res2; each stage has twice
                as many inner channels as the one before. In all stages but res2 the first block has
                stride 2.
            stages: For each stage, the functions that build its blocks.
            num_classes: Classes of the last layer; 0: no last layer.
        """
        channels, self.taps = width, {}
        for stage_index, builders in enumerate(stages):
            inner_channels, blocks = width << stage_index, []
            for block_index, build_block in enumerate(builders):
                stride = 2 if stage_index > 0 and block_index == 0 else 1
                blocks.append(build_block(channels, inner_channels, stride))
                channels = inner_channels * blocks[-1].expansion
                self.taps[f"res{stage_index + 2}_{block_index}"] = channels
            setattr(self, f"layer{stage_index + 1}", nn.Sequential(*blocks))
        self.num_features = channels
        self.fc = nn.Linear(channels, num_classes) if num_classes else None
        initialize_convolutions(self)

    def steps(self) -> Iterator[tuple[str, Step]]:
        """List ``stem``, the residual blocks and the pools between stages.

        Returns:
            Pairs of a name and a function from features to features.
        """
        yield "stem", self.run_stem
        for stage in (2, 3, 4, 5):
            for block_index, block in enumerate(getattr(self, f"layer{stage - 1}")):
                yield f"res{stage}_{block_index}", block
            pool = self.get_stage_pool(stage)
            if pool is not None:
                yield f"pool{stage}", pool

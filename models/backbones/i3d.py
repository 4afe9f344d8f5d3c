"""I3D-ResNet-50: a ResNet-50 for clips, whose kernels are inflated into time.

Wang, Girshick, Gupta, He, "Non-local Neural Networks", CVPR 2018, §4 and Table 1, in the layout
of the authors' training code; Carreira, Zisserman, "Quo Vadis, Action Recognition?", CVPR 2017,
for inflation (`models.weights.pretrained.inflate_time`).

Lengths of the kernels in time; in res2 … res5, those of the first convolution of each block:

    conv1  5×7×7      res2  3 3 3    res3  3 1 3 1    res4  3 1 3 1 3 1    res5  1 3 1

Two stems are published, for clips of 32 and of 8 frames. They differ only along time. Windows and
strides (after "by") are (time, height, width):

    frames       conv1          pool1            pool2, after res2    frames → features in time
    32           by (2, 2, 2)   2×3×3 by 2       2×1×1 by (2, 1, 1)   32 → 16 → 8 → 4
     8           by (1, 2, 2)   1×3×3 by (1,2,2) the same              8 →  8 → 8 → 4

Unlike in ResNet, pool1 has no padding: 224² → 112² → 55² → 28² → 14² → 7².

Deviations from the paper, as in the authors' code: the paper (§4) inflates one kernel for every
two residual blocks, the code all three of res2. The scale of the last batch normalization of each
block starts at 0, so that a new block returns its shortcut; all other parameters start as in
`models.backbones.resnet`.
The state-dict keys are those of `models.backbones.resnet`, so that the weights of image networks
fit once they are inflated.

    B C T H W  batch, channels, time, height, width
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import ClassVar, Literal

from torch import Tensor, nn

from models.backbones.backbone import FLOW_INPUT, RGB_INPUT, InputConvention, Step
from models.backbones.residual import ResidualBackbone
from models.backbones.resnet import Bottleneck

# For each stage, the length in time of the first convolution of each of its blocks.
TEMPORAL_KERNELS = ((3, 3, 3), (3, 1, 3, 1), (3, 1, 3, 1, 3, 1), (1, 3, 1))
NON_LOCAL_POSITIONS = ("res3_1", "res3_3", "res4_1", "res4_3", "res4_5")
POOL2_STRIDE = 2
# For each stem, by its frames: the temporal stride of conv1, which is also that of pool1 and the
# length of its window.
STEM_STRIDES = {32: 2, 8: 1}


class I3D(ResidualBackbone):
    """I3D-ResNet-50 for clips.

    Its steps are ``stem``, ``res2_0`` to ``res5_2``, and ``pool2`` after ``res2_2``. All residual
    blocks are taps (`models.backbones.backbone` explains steps and taps).

    Example:
        >>> network = I3D(frames=8, num_classes=101)
        >>> network(torch.randn(1, 3, 8, 224, 224)).shape
        torch.Size([1, 101])
    """

    dims: ClassVar[int] = 3
    rgb_input: ClassVar[InputConvention] = replace(RGB_INPUT, frames=32)
    flow_input: ClassVar[InputConvention] = replace(FLOW_INPUT, frames=32)

    def __init__(
        self,
        *,
        frames: Literal[32, 8] = 32,
        in_channels: int = 3,
        num_classes: int = 400,
        dropout: float = 0.5,
        width: int = 64,
        non_local: Callable[[int], nn.Module] | None = None,
    ) -> None:
        """Build the network with random weights.

        Args:
            frames: Which stem to build, the one for 32 or the one for 8 frames. Both accept clips
                of other lengths too: the stem for 32 frames those of 8 or more, the stem for 8
                those of 2 or more. `rgb_input` and `flow_input` have the ``frames`` of the stem for
                32. Default: 32.
            in_channels: 3 for RGB, 2 for flow. Default: 3.
            num_classes: Classes of the last layer. 0: no last layer, so that the network returns
                pooled features. Default: 400, those of Kinetics.
            dropout: Dropout probability before the last layer. Default: 0.5.
            width: Channels of the stem. The channels of all other layers are scaled in proportion.
                Default: 64, as in the paper.
            non_local: A function that builds a block for a number of channels, such as
                ``partial(NonLocalBlock, dims=3)``. It is called for each of the paper's five
                non-local blocks. Each block runs as part of the step that it follows. Default: no
                blocks.

        Raises:
            ValueError: If ``frames`` is neither 32 nor 8.
        """
        super().__init__()
        if frames not in STEM_STRIDES:
            raise ValueError(
                f"expected the stem for {' or '.join(map(str, STEM_STRIDES))} frames, got {frames}"
            )
        stride = STEM_STRIDES[frames]
        self.frames, self.dropout = frames, nn.Dropout(dropout)
        self.min_frames = stride * stride * POOL2_STRIDE
        self.conv1 = nn.Conv3d(
            in_channels, width, (5, 7, 7), (stride, 2, 2), padding=(2, 3, 3), bias=False
        )
        self.bn1 = nn.BatchNorm3d(width)
        self.relu = nn.ReLU(inplace=True)
        self.pool1 = nn.MaxPool3d((stride, 3, 3), (stride, 2, 2))
        self.pool2 = nn.MaxPool3d((POOL2_STRIDE, 1, 1), (POOL2_STRIDE, 1, 1))
        stages = [
            [partial(Bottleneck, temporal_kernel=kernel) for kernel in kernels]
            for kernels in TEMPORAL_KERNELS
        ]
        self.build_stages(width, stages, num_classes)
        for block in self.modules():
            if isinstance(block, Bottleneck):
                nn.init.zeros_(block.bn3.weight)
        # Added after the initialization, since non-local blocks have their own.
        self.non_local = nn.ModuleDict(
            {name: non_local(self.taps[name]) for name in NON_LOCAL_POSITIONS} if non_local else {}
        )

    def steps(self) -> Iterator[tuple[str, Step]]:
        """List ``stem``, the residual blocks and ``pool2``.

        Returns:
            Pairs of a name and a function from features to features.
        """
        for name, step in super().steps():
            yield name, _chain_steps(step, self.non_local[name]) if name in self.non_local else step

    def get_stage_pool(self, stage: int) -> Step | None:
        """Return ``pool2`` for res2, None for the other stages."""
        return self.pool2 if stage == 2 else None

    def run_stem(self, x: Tensor) -> Tensor:
        """Run the layers before the residual blocks.

        Args:
            x: Normalized clips (B, C, T, H, W).

        Returns:
            Features.

        Raises:
            ValueError: If the clips are too short.
        """
        if x.ndim != 5 or x.shape[2] < self.min_frames:
            raise ValueError(
                f"expected clips (B, C, T, H, W) of {self.min_frames} frames or more, got "
                f"{tuple(x.shape)}: sample longer clips. The stem for 32 frames needs at "
                "least 8, the stem for 8 frames at least 2"
            )
        return self.pool1(self.relu(self.bn1(self.conv1(x))))


def _chain_steps(first: Step, second: Step) -> Step:
    """Combine two steps into one that runs the first and then the second."""
    return lambda x: second(first(x))

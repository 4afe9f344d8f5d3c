# ruff: noqa: N803
"""VGG-16, with torchvision's state-dict keys.

Simonyan, Zisserman, "Very Deep Convolutional Networks for Large-Scale Image Recognition", ICLR
2015, Table 1, column D.

The layers have the names that are common for VGG-16, and these names in the weight files:

    conv1_1 … conv5_3     features.0 … features.28
    fc6, fc7, fc8         classifier.0, classifier.3, classifier.6

Deviation from the paper, as in torchvision: a feature map that is not 7×7 after pool5 is resized to
7×7 by adaptive average pooling (each cell is the mean of the pixels in its part of the map, and a
smaller map is repeated). So images may have any sides of 32 pixels or more. Log-mel patches of 96
windows × 64 bands are images of one channel.

    B C H W  batch, channels, height, width
"""

from collections.abc import Iterator
from typing import ClassVar

from torch import Tensor, nn

from models.backbones.backbone import Backbone, InputConvention, Step, initialize_convolutions

# For each of the five stages: the channels of its convolutions in a network of the paper's width,
# and their number. Each stage ends with a max-pool.
STAGES = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))
WIDTH = 64  # channels of the first convolution in the paper
GRID = 7  # side in pixels of the feature map that the classifier expects
HIDDEN = 4096  # features of fc6 and of fc7 in the paper


class VGG16(Backbone):
    """VGG-16 for images or log-mel patches.

    Its steps are ``conv1_1`` to ``conv5_3``, each with its ReLU, and ``pool1`` to ``pool5``. All
    convolutions are taps (`models.backbones.backbone` explains steps and taps). The pooled features
    are those of fc7, 4096 at the paper's width.

    Attributes:
        audio_input: Input convention for log-mel patches.

    Example:
        >>> network = VGG16(in_channels=1, num_classes=10)
        >>> network(torch.randn(2, 1, 96, 64)).shape
        torch.Size([2, 10])
    """

    last_layer_name: ClassVar[str] = "classifier.6"
    # Log-mel patches of 96 windows by 64 bands, as in VGGish; they are not normalized further.
    audio_input: ClassVar[InputConvention] = InputConvention(
        mean=(0.0,), std=(1.0,), size=96, order="mel"
    )

    def __init__(
        self,
        *,
        in_channels: int = 3,
        num_classes: int = 1000,
        dropout: float = 0.0,
        width: int = WIDTH,
    ) -> None:
        """Build the network with random weights.

        Args:
            in_channels: 3 for RGB, twice the number of flow fields for flow, 1 for log-mel
                patches. Default: 3.
            num_classes: Classes of the last layer. 0: no last layer, so that the network returns
                the features of fc7. Default: 1000.
            dropout: Dropout probability after fc6 and fc7; the paper's is 0.5. Default: 0.
            width: Channels of the first convolution. The channels of all other layers are scaled
                in proportion. Default: 64, as in the paper.
        """
        super().__init__()
        layers: list[nn.Module] = []
        hidden = HIDDEN * width // WIDTH
        channels, self.taps = in_channels, {}
        for stage, (channels_at_64, num_convolutions) in enumerate(STAGES, 1):
            for convolution in range(1, num_convolutions + 1):
                out_channels = channels_at_64 * width // WIDTH
                layers += nn.Conv2d(channels, out_channels, 3, padding=1), nn.ReLU(inplace=True)
                self.taps[f"conv{stage}_{convolution}"] = out_channels
                channels = out_channels
            layers.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*layers)
        self.avgpool = nn.AdaptiveAvgPool2d(GRID)
        # The same module after fc6 and after fc7, so that its mode and rate are changed together.
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Sequential(
            nn.Linear(channels * GRID**2, hidden),
            nn.ReLU(inplace=True),
            self.dropout,
            nn.Linear(hidden, hidden),
            nn.ReLU(inplace=True),
            self.dropout,
        )
        self.num_features = hidden
        if num_classes:
            self.classifier.append(nn.Linear(hidden, num_classes))
        initialize_convolutions(self)
        self._initialize_classifier()

    def _initialize_classifier(self) -> None:
        """Initialize the classifier as torchvision does: normal with standard deviation 0.01."""
        for layer in self.classifier:
            # On the meta device PyTorch would import its compiler, as in initialize_convolutions.
            if isinstance(layer, nn.Linear) and not layer.weight.is_meta:
                nn.init.normal_(layer.weight, std=0.01)
                nn.init.zeros_(layer.bias)

    @property
    def last_layer(self) -> nn.Linear | None:
        """The layer that computes the logits, fc8; None if ``num_classes`` is 0."""
        layer: nn.Module = self.classifier[-1]
        return layer if isinstance(layer, nn.Linear) else None

    def steps(self) -> Iterator[tuple[str, Step]]:
        """List the convolutions with their ReLUs, and the max-pools.

        Returns:
            Pairs of a name and a function from features to features.
        """
        module_index = 0
        for stage, (_, num_convolutions) in enumerate(STAGES, 1):
            for convolution in range(1, num_convolutions + 1):
                yield f"conv{stage}_{convolution}", self.features[module_index : module_index + 2]
                module_index += 2
            yield f"pool{stage}", self.features[module_index]
            module_index += 1

    def pool_features(self, x_BCHW: Tensor) -> Tensor:
        """Run fc6 and fc7, each with its ReLU, and the dropout between them.

        Args:
            x_BCHW: Features of pool5, (B, C, H, W).

        Returns:
            Features (B, num_features).
        """
        # The first five modules end with the ReLU of fc7. `Backbone.classify` runs the rest.
        features: Tensor = self.classifier[:5](self.avgpool(x_BCHW).flatten(1))
        return features

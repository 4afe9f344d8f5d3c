# ruff: noqa: N803
"""VGG-16, with the state-dict keys of torchvision's.

Simonyan, Zisserman, "Very Deep Convolutional Networks for Large-Scale Image Recognition", ICLR
2015, Table 1, column D.

    conv1_1 … conv5_3  of the papers are  features.0 … features.28  of the weight files,
    fc6, fc7, fc8                         classifier.0, .3, .6

Departs from the paper as torchvision does: maps that are not 7×7 after pool5 are averaged to it,
so images of any size ≥ 32 will do: log-mel patches of 96 windows × 64 bands are one of 1 channel.

    B C H W  batch, channels, height, width
"""

from collections.abc import Iterator
from typing import ClassVar

import torch
from torch import nn

from models.backbones.backbone import Backbone, InputConvention, Step, initialize

# Of each stage, before its pool: channels (of width 64), and how many convolutions have them.
STAGES = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))
WIDTH = 64
GRID = 7  # places along a side that the classifier sees
HIDDEN = 4096


class VGG16(Backbone):
    """VGG-16. Its steps: ``conv1_1`` to ``conv5_3``, each with its ReLU, ``pool1`` to ``pool5``.

    All convolutions are taps. Features are the 4096 (of width 64) of fc7.

    Parameters
    ----------
    in_channels: 3 for RGB, 2 × the number of fields for flow, 1 for log-mel patches.
    num_classes: of the last layer; 0 for none, which gives features instead of scores.
    dropout: after either hidden layer of the classifier; the paper's is 0.5.
    width: channels of the first convolution; 64 is the paper's. All other layers follow.
    """

    last: ClassVar[str] = "classifier.6"
    # Log-mel patches as the store has them and VGGish takes them: 96 windows by 64 bands.
    audio_input: ClassVar[InputConvention] = InputConvention((0.0,), (1.0,), size=96, order="mel")

    def __init__(
        self,
        *,
        in_channels: int = 3,
        num_classes: int = 1000,
        dropout: float = 0.0,
        width: int = WIDTH,
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        hidden = HIDDEN * width // WIDTH
        channels, self.taps = in_channels, {}
        for stage, (wanted, count) in enumerate(STAGES, 1):
            for number in range(1, count + 1):
                own = wanted * width // WIDTH
                layers += nn.Conv2d(channels, own, 3, padding=1), nn.ReLU(inplace=True)
                self.taps[f"conv{stage}_{number}"] = channels = own
            layers.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*layers)
        self.avgpool = nn.AdaptiveAvgPool2d(GRID)
        # One module in both places: what sets the dropout of a backbone sets it everywhere.
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
        self.initialize()

    def initialize(self) -> None:
        """He initialization, and torchvision's of the classifier: normal of deviation 0.01."""
        initialize(self)
        for layer in self.classifier:
            if isinstance(layer, nn.Linear):
                nn.init.normal_(layer.weight, std=0.01)
                nn.init.zeros_(layer.bias)

    @property
    def last_layer(self) -> nn.Linear | None:
        """The layer that gives scores, if there is one."""
        layer: nn.Module = self.classifier[-1]
        return layer if isinstance(layer, nn.Linear) else None

    def steps(self) -> Iterator[tuple[str, Step]]:
        place = 0
        for stage, (_, count) in enumerate(STAGES, 1):
            for number in range(1, count + 1):
                yield f"conv{stage}_{number}", self.features[place : place + 2]
                place += 2
            yield f"pool{stage}", self.features[place]
            place += 1

    def pool(self, x_BCHW: torch.Tensor) -> torch.Tensor:
        """Features of the last step → those of fc7 (B, 4096): the classifier without its end."""
        # The ReLU of fc7 is the classifier's fifth module; `classify` goes on with its dropout.
        features: torch.Tensor = self.classifier[:5](self.avgpool(x_BCHW).flatten(1))
        return features

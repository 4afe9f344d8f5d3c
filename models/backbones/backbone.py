"""Base class of all backbones: named steps followed by a head; and the inputs they expect.

    images ─ step ─ step ─ … ─ step ─ pool ─ classify → scores

Attention is inserted between steps by their names. A network that needs the features of
``res4_5`` runs the steps up to ``res4_5``, and runs the remaining steps on the features that it
computed from them. A backbone lists the names that can be used this way, with their channels, in
`taps`.

    B C [T] H W   batch, channels, time (of 3-D networks), height, width
"""

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

Step = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class InputConvention:
    """The input that the weights of a network expect.

    Images are given with values in [0, 1], flow with values in [−1, 1], where 0 is no motion.
    Each channel is normalized as (value − mean) / std.
    """

    mean: tuple[float, ...]
    """Mean of each channel, or one value for all channels."""

    std: tuple[float, ...]
    """Standard deviation of each channel, or one value for all channels."""

    size: int = 224
    """Side of the square image in pixels; the height, where the image is not square."""

    order: str = "RGB"
    """Order of the channels: "RGB", "BGR", "xy" (flow) or "mel" (log-mel patches)."""

    frames: int = 1
    """Frames of a clip; 1 for images."""


# RGB: torchvision's mean and standard deviation. Flow: TSN divides by the mean of RGB's three
# standard deviations, on a scale from 0 to 1; values from −1 to 1 span twice as much.
RGB_INPUT = InputConvention((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
FLOW_INPUT = InputConvention((0.0,), (2 * 0.226,), order="xy")


def normalize(images: Tensor, convention: InputConvention) -> Tensor:
    """Normalize images as the weights of a network expect them.

    Args:
        images: Float images (B, C, H, W) or clips (B, C, T, H, W) as the datasets return them:
            RGB in [0, 1], flow in [−1, 1].
        convention: The network's ``rgb_input``, ``flow_input`` or ``audio_input``.

    Returns:
        A tensor of the same shape.
    """
    shape = (-1, *(1 for _ in images.shape[2:]))
    mean, std = (images.new_tensor(v).view(shape) for v in (convention.mean, convention.std))
    if convention.order == "BGR":
        images = images.flip(1)
    return (images - mean) / std


class Backbone(nn.Module, ABC):
    """A network that consists of named steps and a head.

    Subclasses set the attributes and implement `steps`.

    Attributes:
        rgb_input: Input convention of the network's public weights for RGB.
        flow_input: Input convention for optical flow.
        last: Name of the last layer, which computes the scores.
        dims: 2 for images, 3 for clips. Flow fields are stacked as channels of images, and are
            the frames of clips.
        taps: Channels by step name, for the steps after which attention can be inserted.
        num_features: Dimension of the features that `pool` returns.
        dropout: The dropout before the last layer.
    """

    rgb_input: ClassVar[InputConvention] = RGB_INPUT
    flow_input: ClassVar[InputConvention] = FLOW_INPUT
    last: ClassVar[str] = "fc"
    dims: ClassVar[int] = 2
    taps: dict[str, int]
    num_features: int
    dropout: nn.Dropout

    @abstractmethod
    def steps(self) -> Iterator[tuple[str, Step]]:
        """List the steps before the head, in order.

        Returns:
            Pairs of a name and a function from features to features.
        """

    def pool(self, x: Tensor) -> Tensor:
        """Average the features of the last step over space, and over time.

        Args:
            x: Features (B, C, H, W) or (B, C, T, H, W).

        Returns:
            Features (B, num_features).
        """
        return x.mean(dim=tuple(range(2, x.ndim)))

    def classify(self, features: Tensor) -> Tensor:
        """Compute the scores of pooled features.

        Args:
            features: Features (B, num_features).

        Returns:
            Scores (B, num_classes), before the softmax; the features if there is no last layer.
        """
        layer = self.last_layer
        return features if layer is None else layer(self.dropout(features))

    @property
    def last_layer(self) -> nn.Linear | None:
        """The layer that computes the scores; None if ``num_classes`` is 0."""
        layer: nn.Linear | None = getattr(self, self.last)
        return layer

    def head(self, x: Tensor) -> Tensor:
        """Pool and classify the features of the last step.

        Args:
            x: Features (B, C, H, W) or (B, C, T, H, W).

        Returns:
            Scores (B, num_classes).
        """
        return self.classify(self.pool(x))

    def embed(self, x: Tensor) -> Tensor:
        """Compute local features: the input of dropout and of the last layer.

        Args:
            x: Normalized images (B, C, H, W) or clips (B, C, T, H, W).

        Returns:
            Features (B, num_features).
        """
        for _, step in self.steps():
            x = step(x)
        return self.pool(x)

    def forward(self, x: Tensor) -> Tensor:
        """Compute the scores of images or clips.

        Args:
            x: Normalized images (B, C, H, W) or clips (B, C, T, H, W).

        Returns:
            Scores (B, num_classes), before the softmax; features (B, num_features) if
            ``num_classes`` is 0.
        """
        return self.classify(self.embed(x))


def count_input_channels(network: nn.Module) -> int:
    """Count the channels of the images that a network takes.

    Args:
        network: A network that begins with a 2-D or 3-D convolution.

    Returns:
        The input channels of its first convolution.
    """
    layers = (m for m in network.modules() if isinstance(m, nn.Conv2d | nn.Conv3d))
    return int(next(layers).in_channels)


def trace_shapes(network: Backbone, image: tuple[int, ...]) -> dict[str, tuple[int, ...]]:
    """Determine the shape of each step's features without computing them.

    A copy of the network runs on PyTorch's meta device, where tensors have shapes and no data.

    Args:
        network: The backbone.
        image: Shape of the input without the batch: (C, H, W) or (C, T, H, W).

    Returns:
        Shapes without the batch, by step name.
    """
    meta_network = copy.deepcopy(network).to("meta").eval()
    x, shapes = torch.empty(1, *image, device="meta"), {}
    with torch.no_grad():
        for name, step in meta_network.steps():
            x = step(x)
            shapes[name] = tuple(x.shape[1:])
    return shapes


def initialize_convolutions(network: nn.Module) -> None:
    """Apply He initialization to all convolutions, and set their biases to 0, in place.

    Args:
        network: Any module. Layers other than 2-D and 3-D convolutions are not changed.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Conv3d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)

"""Base class of all backbones: named steps followed by a head; and the inputs they expect.

    images ─ step ─ step ─ … ─ step ─ pool_features ─ classify → logits

A step is a part of the network that has a name, such as the residual block ``res4_5``, and turns
features into features. A tap is a step after which attention can be inserted: a network with
attention runs the steps up to the tap, computes new features from the result, and runs the
remaining steps on these. The attribute `taps` lists a backbone's taps with their channels.

Logits are the scores of the classes before the softmax.

    B C [T] H W   batch, channels, time (of 3-D networks), height, width
"""

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from models.layers.shapes import ShapesOnly

Step = Callable[[Tensor], Tensor]


@dataclass(frozen=True, kw_only=True)
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
    """Side of the square image in pixels; of log-mel patches, the height."""

    order: str = "RGB"
    """Order of the channels: "RGB", "BGR", "xy" (flow) or "mel" (log-mel patches)."""

    frames: int = 1
    """Frames of a clip; 1 for images."""


# RGB: torchvision's mean and standard deviation. Flow: TSN divides by the mean of RGB's three
# standard deviations, on a scale from 0 to 1; values from −1 to 1 span twice as much.
RGB_INPUT = InputConvention(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
FLOW_INPUT = InputConvention(mean=(0.0,), std=(2 * 0.226,), order="xy")


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
    """A network that consists of named steps and a head; see the text at the top of this module.

    Subclasses set the attributes and implement `steps`.

    Attributes:
        rgb_input: Input convention of the network's public weights for RGB.
        flow_input: Input convention for optical flow.
        last_layer_name: Name of the last layer, which computes the logits, as in the state dict.
        dims: 2 for images, 3 for clips. Flow fields are stacked as channels of images, and are
            the frames of clips.
        taps: Channels of each step after which attention can be inserted, by its name.
        num_features: Dimension of the features that `pool_features` returns.
        dropout: The dropout layer before the last layer.
    """

    rgb_input: ClassVar[InputConvention] = RGB_INPUT
    flow_input: ClassVar[InputConvention] = FLOW_INPUT
    last_layer_name: ClassVar[str] = "fc"
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

    def pool_features(self, x: Tensor) -> Tensor:
        """Turn the features of the last step into one vector for each image or clip.

        By default this is their mean over space and time.

        Args:
            x: Features (B, C, H, W) or (B, C, T, H, W).

        Returns:
            Features (B, num_features).
        """
        return x.mean(dim=tuple(range(2, x.ndim)))

    def classify(self, features: Tensor) -> Tensor:
        """Apply the dropout and the last layer to pooled features.

        Args:
            features: Features (B, num_features).

        Returns:
            Logits (B, num_classes); the features themselves if there is no last layer.
        """
        layer = self.last_layer
        if layer is None:
            return features
        logits: Tensor = layer(self.dropout(features))
        return logits

    @property
    def last_layer(self) -> nn.Module | None:
        """The layer that computes the logits; None if ``num_classes`` is 0."""
        layer: nn.Module | None = getattr(self, self.last_layer_name)
        return layer

    def head(self, x: Tensor) -> Tensor:
        """Pool and classify the features of the last step.

        Args:
            x: Features (B, C, H, W) or (B, C, T, H, W).

        Returns:
            Logits (B, num_classes).
        """
        return self.classify(self.pool_features(x))

    def embed(self, x: Tensor) -> Tensor:
        """Compute local features: the input of dropout and of the last layer.

        Args:
            x: Normalized images (B, C, H, W) or clips (B, C, T, H, W).

        Returns:
            Features (B, num_features).
        """
        for _, step in self.steps():
            x = step(x)
        return self.pool_features(x)

    def forward(self, x: Tensor) -> Tensor:
        """Compute the logits of images or clips.

        Args:
            x: Normalized images (B, C, H, W) or clips (B, C, T, H, W).

        Returns:
            Logits (B, num_classes); features (B, num_features) if ``num_classes`` is 0.
        """
        return self.classify(self.embed(x))


def count_input_channels(network: nn.Module) -> int:
    """Count the channels of the images that a network expects.

    Args:
        network: A network whose first layer is a 2-D or 3-D convolution.

    Returns:
        The input channels of its first convolution.
    """
    return int(_find_first_convolution(network)[1].in_channels)


def name_first_convolution(network: nn.Module) -> str:
    """Name the kernel of the first convolution, whose shape has the channels of the images.

    Args:
        network: A network whose first layer is a 2-D or 3-D convolution.

    Returns:
        The name of the kernel in the network's state dict.
    """
    return f"{_find_first_convolution(network)[0]}.weight"


def _find_first_convolution(network: nn.Module) -> tuple[str, nn.Conv2d | nn.Conv3d]:
    """Find the first convolution of a network, and its name."""
    return next(
        (name, module)
        for name, module in network.named_modules()
        if isinstance(module, nn.Conv2d | nn.Conv3d)
    )


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
    with torch.no_grad(), ShapesOnly():
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
        # On the meta device PyTorch would import its compiler for this, which takes two seconds.
        if isinstance(module, nn.Conv2d | nn.Conv3d) and not module.weight.is_meta:
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)

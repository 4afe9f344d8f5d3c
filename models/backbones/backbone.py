"""What all backbones are: a chain of named steps, and a head; and the inputs that they expect.

    images ─ step ─ step ─ … ─ step ─ pool ─ classify → scores

Attention is put between steps by their names: a network that wants features of ``res4_5`` runs
the steps up to it, and those after it on whatever it made of them. The names that can be asked
for, with their channels, are the backbone's `taps`.

    B C [T] H W   batch, channels, time (of 3-D networks), height, width
"""

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import nn

Step = Callable[[torch.Tensor], torch.Tensor]


@dataclass(frozen=True)
class InputConvention:
    """What a network's weights expect: values in [0, 1] less ``mean``, by ``std``, a channel.

    ``size``: of the image, pixels (its height, where it is no square); ``frames`` of the clip, 1
    for images; ``order``: of the channels.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    size: int = 224
    order: str = "RGB"
    frames: int = 1


# torchvision's for RGB. Flow comes in [−1, 1] with 0 for no motion, and is divided by what
# TSN divides it by: the mean of RGB's deviations, on a scale from 0 to 1.
RGB_INPUT = InputConvention((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
FLOW_INPUT = InputConvention((0.0,), (2 * 0.226,), order="xy")


def normalize(images: torch.Tensor, convention: InputConvention) -> torch.Tensor:
    """Images (B, C, [T,] H, W) as the datasets give them → as the network's weights expect them."""
    shape = (-1, *(1 for _ in images.shape[2:]))
    mean, std = (images.new_tensor(v).view(shape) for v in (convention.mean, convention.std))
    if convention.order == "BGR":
        images = images.flip(1)
    return (images - mean) / std


class Backbone(nn.Module, ABC):
    """A network as steps and a head. Subclasses set the attributes and write `steps`.

    ``rgb_input``, ``flow_input``: the input conventions of its weight files.
    ``dims``: 2 for images, 3 for clips; flow comes as channels there, here as time.
    ``taps``: channels by name of step, of those that attention may look at.
    ``num_features``: what `pool` gives; ``last``: the name of the layer that gives scores.
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
        """Name and function of each step in order, the head left out."""

    def pool(self, x: torch.Tensor) -> torch.Tensor:
        """Features of the last step → (B, num_features): the mean over space, and time."""
        return x.mean(dim=tuple(range(2, x.ndim)))

    def classify(self, features: torch.Tensor) -> torch.Tensor:
        """Pooled features → scores (B, classes); the features themselves without a last layer."""
        layer = self.last_layer
        return features if layer is None else layer(self.dropout(features))

    @property
    def last_layer(self) -> nn.Linear | None:
        """The layer that gives scores, if there is one."""
        layer: nn.Linear | None = getattr(self, self.last)
        return layer

    def head(self, x: torch.Tensor) -> torch.Tensor:
        """What follows the steps."""
        return self.classify(self.pool(x))

    def embed(self, x: torch.Tensor) -> torch.Tensor:
        """Local features (B, num_features): what comes before dropout and the last layer."""
        for _, step in self.steps():
            x = step(x)
        return self.pool(x)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Scores (B, classes) of images (B, C, H, W) or clips (B, C, T, H, W)."""
        return self.classify(self.embed(x))


def find_channels(network: nn.Module) -> int:
    """Channels of the images that a network takes: of its first convolution."""
    layers = (m for m in network.modules() if isinstance(m, nn.Conv2d | nn.Conv3d))
    return int(next(layers).in_channels)


def trace_shapes(network: Backbone, image: tuple[int, ...]) -> dict[str, tuple[int, ...]]:
    """The shape of each step's features, without the batch, for images (C, [T,] H, W).

    Computes nothing: runs a copy of the network that has shapes and no numbers.
    """
    twin = copy.deepcopy(network).to("meta").eval()
    x, shapes = torch.empty(1, *image, device="meta"), {}
    with torch.no_grad():
        for name, step in twin.steps():
            x = step(x)
            shapes[name] = tuple(x.shape[1:])
    return shapes


def initialize(network: nn.Module) -> None:
    """He initialization of convolutions, their biases 0; BN is the identity."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Conv3d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)

"""Build the backbones that recipes name, and describe the inputs that they expect.

A backbone is the convolutional network of a branch, and a branch is the network of one stream.
"""

import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast

import torch

from flowkit.streams import STREAMS, StreamName
from models.backbones.backbone import Backbone, InputConvention
from models.backbones.registry import BACKBONES, get_backbone_class
from models.backbones.resnet import DEPTHS
from models.weights.publishers import find_family
from train.recipe.recipe import AudioRecipe, Family, ImageRecipe, Network, Recipe
from train.runs.phases import Phase

FAMILIES: dict[Family, Any] = {
    cast(Family, find_family(name)): get_backbone_class(name) for name in BACKBONES
}
"""The class of each backbone that recipes name."""
WIDTH = 64.0  # channels of the first convolution of networks that are not thin
# The arguments of each family that come from the section ``network`` of a recipe. The stem of an
# I3D is made for clips of so many frames: it decides the strides over time.
OPTIONS: dict[Family, Callable[[Network], dict[str, Any]]] = {
    "resnet": lambda network: {"depth": network.depth, "width": network.width},
    "vgg16": lambda network: {"width": network.width},
    "bn_inception": lambda network: {"width": network.width / WIDTH},
    "i3d": lambda network: {"frames": network.stem, "width": network.width},
    "i3d_inception": lambda network: {"width": network.width},
    "p3d": lambda network: {"width": network.width, "blocks": network.blocks},
}
NETWORKS: dict[str, Network] = {
    **{f"resnet{depth}": Network(backbone="resnet", depth=cast(Any, depth)) for depth in DEPTHS},
    **{family: Network(backbone=family) for family in FAMILIES if family != "resnet"},
}
"""The networks of ``flowkit features --backbone``, as a recipe describes them: all of `BACKBONES`,
each with the default options."""


@dataclass(frozen=True, kw_only=True)
class InputDescription:
    """What one input of a network consists of."""

    input_conventions: dict[StreamName, InputConvention]
    """Channel order, mean and scale of each stream."""

    frames: int | None = None
    """Snippets (K) that the network processes together, or None if it processes each alone."""

    num_images: int = 1
    """Images in one input: the frames of a clip, or the snippets that are processed together."""


@contextmanager
def seed_initial_weights(recipe: Recipe, phase: Phase) -> Iterator[None]:
    """Make random weights depend on the recipe's seed and the name of the phase alone.

    Afterwards torch's random state on the CPU is what it was before.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(zlib.crc32(phase.name.encode()) ^ recipe.seed)
        yield


def make_backbone(recipe: ImageRecipe | AudioRecipe, stream: StreamName) -> Backbone:
    """Build the backbone of a branch, with random weights."""
    network = recipe.network
    dropout = network.dropout
    backbone: Backbone = FAMILIES[network.backbone](
        in_channels=count_channels(recipe, stream),
        num_classes=recipe.classes,
        # The network always has both branches. One that the recipe does not train is not used.
        dropout=dropout.get(stream, 0.0) if isinstance(dropout, dict) else dropout,
        **list_options(network),
    )
    return backbone


def list_options(network: Network) -> dict[str, Any]:
    """List the arguments of a backbone's class that come from a recipe, by name."""
    list_family_options = OPTIONS.get(network.backbone)
    return list_family_options(network) if list_family_options else {}


def is_offered(name: str, options: Mapping[str, Any]) -> bool:
    """Return whether ``flowkit features --backbone`` has a network with these options.

    Args:
        name: Name of the network.
        options: Arguments of its class, such as those that `identify_family` finds in weights.
    """
    offered = list_options(NETWORKS[name])
    return all(offered.get(key) == value for key, value in options.items())


def count_channels(recipe: ImageRecipe | AudioRecipe, stream: StreamName) -> int:
    """Count the input channels of a branch; flow fields are stacked, except those of a clip."""
    fields = 1 if recipe.data.clip else recipe.data.flow_length
    return STREAMS[stream].channels * (fields if stream == "flow" else 1)


def describe_input(recipe: ImageRecipe, segments: int) -> InputDescription:
    """Describe the inputs of the recipe's network for samples of this many segments."""
    family, clip = FAMILIES[recipe.network.backbone], recipe.data.clip
    return InputDescription(
        input_conventions={"rgb": family.rgb_input, "flow": family.flow_input},
        frames=segments if recipe.network.pyramid else None,
        num_images=segments if recipe.network.pyramid else clip.length if clip else 1,
    )

"""Say which network weights are from that do not fit, and with which option they would fit."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from flowkit.streams import StreamName
from models.backbones.registry import CLIP_BACKBONES, get_backbone_class
from models.weights.families import Family, identify_family
from models.weights.foreign_families import name_foreign_family
from models.weights.publishers import find_family

INFLATED = "resnet50"
"""The network of images whose weights fit I3D-ResNet-50 (``i3d``) once its kernels are repeated
along time."""


def name_recipe_network(network: Mapping[str, Any]) -> str:
    """Name the network of a recipe as `models.build_backbone` does, such as ``resnet50``."""
    backbone = str(network["backbone"])
    return f"{backbone}{network['depth']}" if backbone == "resnet" else backbone


def list_settings(family: Family) -> dict[str, str]:
    """List the settings of a recipe that build a network of this family, by key."""
    name = find_family(family.backbone)
    settings = {"network.backbone": name}
    if name == "resnet":
        settings["network.depth"] = family.backbone.removeprefix("resnet")
    if name != "inception_resnet_v2":
        is_factor = name == "bn_inception"  # whose width multiplies all channels; 1 is the usual
        width = family.options.get("width", 1 if is_factor else 64) * (64 if is_factor else 1)
        settings["network.width"] = f"{width:g}"
    if "blocks" in family.options:
        settings["network.blocks"] = f"[{', '.join(map(str, family.options['blocks']))}]"
    return settings


def suggest_network(weights: Mapping[str, Tensor], network: Mapping[str, Any], stream: str) -> str:
    """Say in one sentence why weights do not fit the network of a recipe, and what would fit.

    Args:
        weights: Tensors of one backbone, by the names of any publisher.
        network: The values of the recipe's section ``network``.
        stream: The stream of the branch, "rgb", "flow" or "audio".

    Returns:
        The sentence, without a full stop; empty if nothing is known about the weights.
    """
    family, wanted = identify_family(weights), name_recipe_network(network)
    if family is None or not family.is_exact:
        return _suggest_for_unknown(weights, family, wanted)
    what = f"these are weights of {family.title} ({family.publisher})"
    if family.backbone == wanted and stream == "rgb" and family.in_channels != 3:
        advice = ": --weights flow=FILE" if find_stream(family) == "flow" else ""
        channels = describe_channels(family.in_channels, family.dims)
        return f"{what} for {channels}, but the branch rgb has 3 channels{advice}"
    own = {f"network.{key}": _format(value) for key, value in network.items()}
    changes = {key: text for key, text in list_settings(family).items() if own.get(key) != text}
    if not changes:
        has_other_channels = stream == "flow" and find_stream(family) != "rgb"
        return what + (_suggest_fields(family) if has_other_channels else "")
    options = " ".join(f"--set {key}={_quote(text)}" for key, text in changes.items())
    is_clip_network = wanted in CLIP_BACKBONES
    if family.dims == 3 and not is_clip_network:
        length = get_backbone_class(family.backbone).rgb_input.frames
        options += f" --set data.clip='{{length: {length}}}'"
        return f"{what}, whose kernels are 3-D, but {wanted} processes single images: {options}"
    if family.dims == 2 and is_clip_network:
        hint = f"--set network.backbone=i3d, which inflates {INFLATED}"
        if wanted == "i3d":
            hint = _suggest_inflated(family, changes)
        elif family.backbone != INFLATED:
            hint = f"{options} --set data.clip=null"
        return f"{what}, whose kernels are 2-D, but {wanted} processes clips: {hint}"
    return f"{what}: {options}"


def _suggest_fields(family: Family) -> str:
    """Say how a flow branch can have the channels of weights of the same network."""
    text = f" for {describe_channels(family.in_channels, family.dims)}"
    if family.dims == 2 and find_stream(family) == "flow":
        return f"{text}: --set data.flow_length={family.in_channels // 2}"
    return f"{text}, and only weights for RGB can start a flow branch of other channels"


def _suggest_inflated(family: Family, changes: Mapping[str, str]) -> str:
    """Say why weights of a network of images are not inflated to I3D-ResNet-50."""
    if family.backbone != INFLATED:
        return f"only weights of {INFLATED} are inflated to i3d"
    if "network.width" in changes:
        return f"--set network.width={changes['network.width']} inflates them"
    return f"only those for RGB are inflated, and these have {family.in_channels} channels"


def _suggest_for_unknown(weights: Mapping[str, Tensor], family: Family | None, wanted: str) -> str:
    """Name the network that is nearest to weights that match none exactly."""
    foreign = name_foreign_family(weights)
    is_clip_file = any(tensor.ndim == 5 for tensor in weights.values())
    kernels = "3-D" if is_clip_file else "2-D"
    differs = is_clip_file != (wanted in CLIP_BACKBONES)
    dims = f", whose kernels are {kernels}," if differs else ""
    if foreign is not None:
        return f"these are weights of {foreign.title}{dims or ','} which recipes do not have: " + (
            foreign.advice
        )
    if family is not None:
        return f"these weights are nearest to {family.title}{dims.rstrip(',')}"
    return f"these are weights of an unknown network{dims.rstrip(',')}"


def describe_channels(channels: int, dims: int) -> str:
    """Describe the images of a network by the channels of its first convolution.

    Args:
        channels: Input channels.
        dims: 2 for images, 3 for clips.

    Returns:
        Words such as "optical flow (10 channels: 5 fields)".
    """
    if channels == 3:
        return "RGB (3 channels)"
    if channels == 1:
        return "one channel, such as log-mel patches of sound"
    if dims == 3:
        return "optical flow (2 channels)" if channels == 2 else f"{channels} channels"
    if channels % 2 == 0:
        fields = "1 field" if channels == 2 else f"{channels // 2} fields"
        return f"optical flow ({channels} channels: {fields})"
    if channels % 3 == 0:
        return f"{channels} channels, such as {channels // 3} RGB differences"
    return f"{channels} channels"


def find_stream(family: Family) -> StreamName | None:
    """Return the stream that a network reads: "rgb", "flow" or "audio"; None for no stream."""
    return determine_stream(family.backbone, family.in_channels, family.dims)


def determine_stream(backbone: str, channels: int, dims: int) -> StreamName | None:
    """Determine the stream: 3 input channels mean RGB; 2, or any even number for images, flow.

    Args:
        backbone: Name of the network; one channel is audio only for "vgg16".
        channels: Its input channels.
        dims: 2 for images, 3 for clips.

    Returns:
        The stream; None if the channels fit no stream.
    """
    if channels == 3:
        return "rgb"
    if channels == 1:
        return "audio" if backbone == "vgg16" else None
    is_flow = channels == 2 if dims == 3 else channels > 0 and channels % 2 == 0
    return "flow" if is_flow else None


def _format(value: Any) -> str:
    """Format a value of a recipe as in an option."""
    return f"[{', '.join(map(str, value))}]" if isinstance(value, tuple | list) else str(value)


def _quote(text: str) -> str:
    """Quote a value for the shell if it has spaces."""
    return f"'{text}'" if " " in text else text

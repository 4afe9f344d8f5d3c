"""Recognize the network that a weight file belongs to, by the names and shapes of its tensors.

Networks are built on PyTorch's meta device, where tensors have shapes and no values.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from models.backbones.p3d import BLOCKS as P3D_BLOCKS
from models.backbones.registry import build_backbone, get_backbone_class
from models.backbones.resnet import BOTTLENECKS_FROM, DEPTHS
from models.weights.errors import WeightsError
from models.weights.foreign_families import name_foreign_family
from models.weights.layouts import rename_tensor
from models.weights.pretrained import describe_mismatches
from models.weights.publishers import name_publisher
from models.weights.weight_files import convert_weights

TITLES = {
    **{f"resnet{depth}": f"ResNet-{depth}" for depth in (18, 34, 50, 101, 152)},
    "vgg16": "VGG-16",
    "bn_inception": "BN-Inception",
    "inception_resnet_v2": "Inception-ResNet-v2",
    "i3d": "I3D-ResNet-50",
    "i3d_inception": "I3D on Inception-v1",
    "p3d": "P3D",
}
# The kernel of the first convolution of each network, by the network's own name.
FIRST_KERNELS: dict[str, str] = {
    **{name: "conv1.weight" for name in TITLES if name.startswith("resnet")},
    "vgg16": "features.0.weight",
    "bn_inception": "conv1_7x7_s2.weight",
    "inception_resnet_v2": "conv2d_1a.conv.weight",
    "i3d": "conv1.weight",
    "i3d_inception": "Conv3d_1a_7x7.conv3d.weight",
    "p3d": "conv1_custom.weight",
}
USUAL_WIDTH = 64  # channels of the first convolution in the papers, for networks with a width
P3D_TITLES = {P3D_BLOCKS: "P3D-199", (3, 4, 23, 3): "P3D-131", (3, 4, 6, 3): "P3D-63"}
MAX_BLOCKS = 50  # in a stage; the largest network has 36
# Least share of tensors of the same name and shape for a network to be named as the nearest one.
NEAREST = 0.3


@dataclass(frozen=True, kw_only=True)
class Family:
    """The network of this project that a weight file belongs to, or that is nearest to it."""

    backbone: str
    """Name of the network, one of `BACKBONES`."""

    options: Mapping[str, Any]
    """Arguments of the network that follow from the shapes, besides channels and classes."""

    publisher: str
    """Whose names the file has, such as "TSN"."""

    in_channels: int
    """Input channels of the first convolution."""

    num_classes: int
    """Rows of the last layer; 0 if the file has none."""

    last_layer: str
    """Name of the last layer in the network."""

    last_layer_tensors: tuple[str, ...]
    """Names of the network's tensors of the last layer; empty if the file has none."""

    share: float
    """Share of the tensors, of the file and of the network, that agree in name and shape."""

    missing: tuple[str, ...]
    """Names of the network's tensors that the file lacks."""

    unexpected: tuple[str, ...]
    """Names of the file's tensors that the network lacks."""

    wrong_shapes: tuple[str, ...]
    """Tensors whose shapes differ, each with both shapes."""

    @property
    def is_exact(self) -> bool:
        """Whether every tensor fits."""
        return not (self.missing or self.unexpected or self.wrong_shapes)

    @property
    def dims(self) -> int:
        """2 for a network of images, 3 for one of clips."""
        return get_backbone_class(self.backbone).dims

    @property
    def title(self) -> str:
        """The network in words, such as "ResNet-50, width 4"."""
        words = [TITLES[self.backbone]]
        if "blocks" in self.options:
            blocks = self.options["blocks"]
            words = [P3D_TITLES.get(blocks, f"P3D with {', '.join(map(str, blocks))} blocks")]
        if "width" in self.options:
            words.append(f"width {self.options['width']:g}")
        return ", ".join(words)

    def describe_difference(self) -> str:
        """Describe which tensors do not fit, in one line."""
        return describe_mismatches(
            {
                "missing": self.missing,
                "unexpected": self.unexpected,
                "wrong shape": self.wrong_shapes,
            }
        )


def identify_family(weights: Mapping[str, Tensor]) -> Family | None:
    """Find the network that weights belong to, or the nearest one.

    Args:
        weights: Tensors of one backbone by the names of any publisher.

    Returns:
        The network with the largest share of tensors of the same name and shape; None if none
        reaches `NEAREST`. It fits exactly only if its ``is_exact`` is true.
    """
    return max(_list_families(dict(weights)), key=lambda family: family.share, default=None)


def describe_family(weights: Mapping[str, Tensor]) -> str:
    """Describe in a few words which network weights belong to.

    Args:
        weights: Tensors by the names of any publisher.

    Returns:
        Words such as "weights of BN-Inception (TSN)", or "unknown weights".
    """
    family = identify_family(weights)
    if family is not None and family.is_exact:
        return f"weights of {family.title} ({family.publisher})"
    foreign = name_foreign_family(weights)
    if foreign is not None:
        return f"weights of {foreign.title}"
    if family is not None:
        return f"unknown weights, nearest to {family.title}"
    return "unknown weights"


def _list_families(weights: dict[str, Tensor]) -> Iterator[Family]:
    """Compare weights with each network whose first kernel they have."""
    depths = _list_depths(weights)
    for backbone, first in FIRST_KERNELS.items():
        if depths and backbone.startswith("resnet") and backbone not in depths:
            continue
        kernel = rename_tensors(backbone, weights).get(first)
        ndim = get_backbone_class(backbone).dims + 2
        if kernel is not None and kernel.ndim == ndim and 0 not in kernel.shape:
            family = _compare(backbone, weights)
            if family.share >= NEAREST:
                yield family


def rename_tensors(backbone: str, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename the tensors of a file as a network names them, without changing their shapes."""
    backbone_class = get_backbone_class(backbone)
    return {rename_tensor(backbone_class, name): tensor for name, tensor in weights.items()}


def _list_depths(weights: Mapping[str, Tensor]) -> list[str]:
    """List the ResNets that have as many blocks as a file; all are compared if there is none."""
    names = rename_tensors("resnet50", weights)
    counts = _count_blocks(names)
    has_bottlenecks = any(re.match(r"layer1\.\d+\.conv3\.", name) for name in names)
    return [
        f"resnet{depth}"
        for depth, blocks in DEPTHS.items()
        if blocks == counts and has_bottlenecks == (depth >= BOTTLENECKS_FROM)
    ]


def _count_blocks(names: Iterable[str]) -> tuple[int, ...]:
    """Count the residual blocks of each stage, up to `MAX_BLOCKS`, by their highest number."""
    counts = dict.fromkeys("1234", 1)
    for name in names:
        match = re.match(r"layer([1-4])\.(\d{1,3})\.", name)
        if match:
            counts[match[1]] = max(counts[match[1]], min(int(match[2]) + 1, MAX_BLOCKS))
    return tuple(counts.values())


def _compare(backbone: str, weights: dict[str, Tensor]) -> Family:
    """Compare weights with one network, built with the options that their shapes show."""
    renamed = rename_tensors(backbone, weights)
    kernel = renamed[FIRST_KERNELS[backbone]]
    last_layer = get_backbone_class(backbone).last_layer_name
    inner = "conv3d." if backbone == "i3d_inception" else ""
    last = renamed.get(f"{last_layer}.{inner}weight")
    num_classes = 0 if last is None or last.ndim == 0 else last.shape[0]
    options = _find_options(backbone, kernel.shape[0], renamed)
    with torch.device("meta"):
        network = build_backbone(
            backbone, num_classes=num_classes, in_channels=kernel.shape[1], **options
        )
    try:
        converted = convert_weights(network, weights)
    except WeightsError:  # two of its tensors would get the same name
        converted = renamed
    state = network.state_dict()
    names = {name for name in state if not name.endswith("num_batches_tracked")}
    given = {name for name in converted if not name.endswith("num_batches_tracked")}
    missing, unexpected = names - given, given - names
    wrong = [n for n in names & given if converted[n].shape != state[n].shape]
    return Family(
        backbone=backbone,
        options=options,
        publisher=name_publisher(backbone, weights),
        in_channels=kernel.shape[1],
        num_classes=num_classes,
        last_layer=last_layer,
        last_layer_tensors=tuple(n for n in state if n.startswith(f"{last_layer}.")),
        share=(len(names & given) - len(wrong)) / max(1, len(names | given)),
        missing=tuple(n for n in state if n in missing),
        unexpected=tuple(n for n in converted if n in unexpected),
        wrong_shapes=tuple(
            f"{n} {tuple(converted[n].shape)} instead of {tuple(state[n].shape)}"
            for n in sorted(wrong)
        ),
    )


def _find_options(
    backbone: str, out_channels: int, renamed: Mapping[str, Tensor]
) -> dict[str, Any]:
    """Find the arguments of a network that its weights show: its width and its blocks."""
    options: dict[str, Any] = {}
    if out_channels != USUAL_WIDTH and backbone != "inception_resnet_v2":
        is_factor = backbone == "bn_inception"
        options["width"] = out_channels / USUAL_WIDTH if is_factor else out_channels
    if backbone == "p3d":
        options["blocks"] = _count_blocks(renamed)
    return options

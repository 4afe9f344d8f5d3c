"""List the backbones, and build one by its name."""

from collections.abc import Callable
from difflib import get_close_matches
from functools import partial
from typing import Any

from models.backbones.backbone import Backbone
from models.backbones.bn_inception import BNInception
from models.backbones.i3d import I3D
from models.backbones.i3d_inception import InceptionI3D
from models.backbones.inception_resnet import InceptionResNetV2
from models.backbones.p3d import P3D199
from models.backbones.resnet import DEPTHS, ResNet
from models.backbones.vgg import VGG16

BACKBONES: dict[str, Callable[..., Backbone]] = {
    **{f"resnet{depth}": partial(ResNet, depth) for depth in DEPTHS},
    "vgg16": VGG16,
    "bn_inception": BNInception,
    "inception_resnet_v2": InceptionResNetV2,
    "i3d": I3D,
    "i3d_inception": InceptionI3D,
    "p3d": P3D199,
}


def get_backbone_class(name: str) -> type[Backbone]:
    """Return the class of a backbone.

    Args:
        name: Name of the backbone, one of `BACKBONES`.

    Returns:
        Its class. Those of all ResNets are the same.
    """
    builder: Any = BACKBONES[name]
    backbone_class: type[Backbone] = getattr(builder, "func", builder)
    return backbone_class


CLIP_BACKBONES = tuple(name for name in BACKBONES if get_backbone_class(name).dims == 3)
"""Names of the backbones that process clips."""


def build_backbone(name: str, num_classes: int, **options: Any) -> Backbone:
    """Build a backbone with random weights.

    Inputs are float tensors, normalized as the backbone's ``rgb_input`` or ``flow_input`` says
    (see `normalize`):

        name                          input                  usual size
        resnet18, resnet34, resnet50,
        resnet101, resnet152          (B, C, H, W)           224 × 224
        vgg16                         (B, C, H, W)           224 × 224; sides of 32 or more
        bn_inception                  (B, C, H, W)           224 × 224; multiples of 32
        inception_resnet_v2           (B, C, H, W)           299 × 299; sides of 75 or more
        i3d                           (B, C, T, H, W)        32 or 8 frames of 224 × 224
        i3d_inception                 (B, C, T, H, W)        64 or 16 frames of 224 × 224
        p3d                           (B, C, T, H, W)        16 frames of 160 × 160

    For RGB, C is 3. For flow it is twice the number of flow fields that are stacked as channels
    of an image, and 2 for clips.

    Args:
        name: Name of the backbone, one of those in the table.
        num_classes: Classes of the last layer. 0: no last layer, so that the network returns
            features (B, num_features).
        **options: Further arguments of the backbone's class. All classes have ``in_channels``
            (default 3) and ``dropout``; all but inception_resnet_v2 have ``width``, to build small
            networks. i3d has ``frames`` and ``non_local``, p3d has ``blocks``.

    Returns:
        The backbone, in training mode. It returns logits (B, num_classes).

    Raises:
        ValueError: If there is no backbone of this name, or an option has a wrong value.
        TypeError: If the backbone does not have an option.

    Example:
        >>> from models import build_backbone
        >>> network = build_backbone("resnet50", num_classes=101, in_channels=10)
        >>> network(torch.randn(2, 10, 224, 224)).shape
        torch.Size([2, 101])
    """
    if name not in BACKBONES:
        nearest = get_close_matches(name, BACKBONES, n=1, cutoff=0.0)[0]
        raise ValueError(
            f"unknown backbone {name!r}; did you mean {nearest!r}? "
            f"The backbones are {', '.join(BACKBONES)}"
        )
    return BACKBONES[name](num_classes=num_classes, **options)

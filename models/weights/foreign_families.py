"""Recognize weight files of networks that this project does not have, by their names.

The patterns are those of the public state dicts of torchvision, timm and the authors' code.
"""

import re
from collections.abc import Mapping
from typing import NamedTuple

from torch import Tensor

from models.backbones.registry import CLIP_BACKBONES


class ForeignFamily(NamedTuple):
    """A network that this project does not have."""

    title: str
    """Its name."""

    patterns: tuple[str, ...]
    """Regular expressions, each of which a name in the file must match."""

    dims: int
    """2 for images, 3 for clips; 0 for features or unknown input."""

    advice: str
    """What to do instead."""


TIMM = "flowkit features --model FILE --backbone timm/{name} computes features with it"
NO_CLIPS = f"networks of clips here are {', '.join(CLIP_BACKBONES[:-1])} and {CLIP_BACKBONES[-1]}"
FOREIGN = (
    ForeignFamily("VGG with batch normalization", (r"^features\.1\.running_mean$",), 2,
                  "vgg16 here has no batch normalization: use the file without _bn, such as "
                  "vgg16-397923af.pth of torchvision"),
    ForeignFamily("VGG-19", (r"^features\.34\.weight$", r"^classifier\.6\."), 2,
                  "vgg16 here has 13 convolutions: use a file of VGG-16"),
    ForeignFamily("VGG-11 or VGG-13", (r"^features\.0\.weight$", r"^classifier\.6\.weight$"), 2,
                  "vgg16 here has 13 convolutions: use a file of VGG-16"),
    ForeignFamily("ResNet-D of timm, with three convolutions in the stem",
                  (r"^conv1\.0\.weight$", r"^layer1\.0\.conv1"), 2,
                  TIMM.format(name="resnet50d")),
    ForeignFamily("non-local ResNet of TSM", (r"\.nl\.theta\.",), 2,
                  "its non-local blocks work over time and are not those of recipes: use a file "
                  "without _nl"),
    ForeignFamily("non-local network of MMAction2", (r"\.non_local_block\.",), 3,
                  "its non-local blocks have other names and inputs: use a file without nl"),
    ForeignFamily("Inception-v3", (r"^(?:base_model\.)?Conv2d_1a_3x3\.", r"Mixed_5b\.branch1x1"), 2,
                  TIMM.format(name="inception_v3")),
    ForeignFamily("GoogLeNet (Inception-v1 for images)",
                  (r"^inception3a\.branch1\.",), 2,
                  "bn_inception is the nearest network here, but it needs a file of its own"),
    ForeignFamily("Inception-v4", (r"^features\.0\.conv\.weight$", r"^features\.21\."), 2,
                  TIMM.format(name="inception_v4")),
    ForeignFamily("R(2+1)D", (r"conv1\.0\.0\.weight$|^stem\.3\.weight$",), 3, NO_CLIPS),
    ForeignFamily("R3D (3-D ResNet of torchvision)", (r"^layer1\.0\.conv1\.0\.weight$",), 3,
                  NO_CLIPS),
    ForeignFamily("SlowFast, Slow or X3D", (r"^(?:s1\.pathway0_stem|blocks\.0\..*conv)",), 3,
                  NO_CLIPS),
    ForeignFamily("S3D", (r"(?:conv_s|conv_t)\.weight$|^features\.0\.0\.0\.weight$",), 3, NO_CLIPS),
    ForeignFamily("C3D", (r"conv3a\.", r"conv5b\."), 3, NO_CLIPS),
    ForeignFamily("CLIP", (r"visual\.|^vision_model\.", r"text|transformer"), 2,
                  TIMM.format(name="vit_base_patch16_clip_224")),
    ForeignFamily("Vision Transformer", (r"cls_token|class_token", r"pos_embed"), 2,
                  TIMM.format(name="vit_base_patch16_224")),
    ForeignFamily("Swin Transformer", (r"relative_position_bias_table",), 2,
                  TIMM.format(name="swin_tiny_patch4_window7_224")),
    ForeignFamily("ConvNeXt", (r"(?:gamma|layer_scale)$", r"dwconv|conv_dw|\.block\.0\."), 2,
                  TIMM.format(name="convnext_tiny")),
    ForeignFamily("EfficientNet", (r"conv_stem|^features\.0\.0\.", r"\.se\.|\.block\.\d\.fc1"), 2,
                  TIMM.format(name="efficientnet_b0")),
    ForeignFamily("MobileNet", (r"^(?:base_model\.)?features\.0\.0\.weight$",), 2,
                  TIMM.format(name="mobilenetv2_100")),
    ForeignFamily("DenseNet", (r"denseblock1",), 2, TIMM.format(name="densenet121")),
)  # fmt: skip


def name_foreign_family(weights: Mapping[str, Tensor]) -> ForeignFamily | None:
    """Recognize a network that this project does not have.

    Args:
        weights: Tensors by name.

    Returns:
        The first of `FOREIGN` whose patterns all match a name; None if there is none.
    """
    return next(
        (
            family
            for family in FOREIGN
            if all(any(re.search(p, name) for name in weights) for p in family.patterns)
        ),
        None,
    )

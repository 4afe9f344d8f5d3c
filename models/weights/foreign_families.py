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
    """2 for images, 3 for clips. A file with 3-D kernels is not one of images."""

    advice: str
    """What to do instead."""


TIMM_ADVICE = (
    "flowkit features --model FILE --backbone timm/{name}, or its own name in timm, computes "
    "features with it"
)
TORCHVISION_ADVICE = (
    "timm cannot load torchvision's names. With a file of timm, flowkit features --model FILE "
    "--backbone timm/{name} computes features"
)
CLIP_ADVICE = (
    f"networks of clips here are {', '.join(CLIP_BACKBONES[:-1])} and {CLIP_BACKBONES[-1]}"
)
FOREIGN = (
    ForeignFamily("VGG with batch normalization", (r"^features\.1\.running_mean$",), 2,
                  "vgg16 here has no batch normalization: use the file without _bn, such as "
                  "vgg16-397923af.pth of torchvision"),
    ForeignFamily("VGG-19", (r"^features\.34\.weight$", r"^(?:classifier\.6|pre_logits\.fc1)\."), 2,
                  "vgg16 here has 13 convolutions: use a file of VGG-16"),
    # Among the networks of VGG, only VGG-11 has a convolution 18, and only VGG-13 a convolution 22.
    ForeignFamily("VGG-11 or VGG-13",
                  (r"^features\.(?:18|22)\.weight$", r"^(?:classifier\.6|pre_logits\.fc1)\."), 2,
                  "vgg16 here has 13 convolutions: use a file of VGG-16"),
    ForeignFamily("AlexNet",
                  (r"^features\.3\.weight$", r"^features\.10\.weight$", r"^classifier\.6\."), 2,
                  "vgg16 is the nearest network here, but it needs a file of its own"),
    ForeignFamily("ResNet-D of timm, with three convolutions in the stem",
                  (r"^conv1\.0\.weight$", r"^layer1\.0\.conv1"), 2,
                  TIMM_ADVICE.format(name="resnet50d")),
    ForeignFamily("non-local ResNet of TSM", (r"\.nl\.theta\.",), 2,
                  "its non-local blocks work over time and are not those of recipes: use a file "
                  "without _nl"),
    ForeignFamily("non-local network of MMAction2", (r"\.non_local_block\.",), 3,
                  "its non-local blocks have other names and inputs: use a file without nl"),
    ForeignFamily("Inception-v3", (r"^(?:base_model\.)?Conv2d_1a_3x3\.", r"Mixed_5b\.branch1x1"), 2,
                  TIMM_ADVICE.format(name="inception_v3")),
    ForeignFamily("GoogLeNet (Inception-v1 for images)",
                  (r"^inception3a\.branch1\.",), 2,
                  "bn_inception is the nearest network here, but it needs a file of its own"),
    ForeignFamily("Inception-v4", (r"^features\.0\.conv\.weight$", r"^features\.21\."), 2,
                  TIMM_ADVICE.format(name="inception_v4")),
    ForeignFamily("R(2+1)D", (r"conv1\.0\.0\.weight$|^stem\.3\.weight$",), 3, CLIP_ADVICE),
    ForeignFamily("R3D (3-D ResNet of torchvision)", (r"^layer1\.0\.conv1\.0\.weight$",), 3,
                  CLIP_ADVICE),
    ForeignFamily("SlowFast, Slow or X3D",
                  (r"s1\.pathway0_stem|blocks\.\d\.(?:multipathway_blocks|res_blocks)\.",), 3,
                  CLIP_ADVICE),
    ForeignFamily("S3D", (r"(?:conv_s|conv_t)\.weight$|^features\.0\.0\.0\.weight$",), 3,
                  CLIP_ADVICE),
    ForeignFamily("C3D", (r"conv3a\.", r"conv5b\."), 3, CLIP_ADVICE),
    ForeignFamily("CLIP", (r"visual\.|^vision_model\.", r"text|transformer"), 2,
                  TIMM_ADVICE.format(name="vit_base_patch16_clip_224")),
    ForeignFamily("TimeSformer", (r"temporal_att\w+\..*qkv|^(?:\w+\.)?time_embed$",), 3,
                  CLIP_ADVICE),
    ForeignFamily("Vision Transformer of torchvision", (r"^class_token$", r"pos_embedding$"), 2,
                  TORCHVISION_ADVICE.format(name="vit_base_patch16_224")),
    ForeignFamily("Vision Transformer", (r"cls_token|class_token", r"pos_embed"), 2,
                  TIMM_ADVICE.format(name="vit_base_patch16_224")),
    ForeignFamily("Vision Transformer for clips", (r"cls_token|class_token", r"pos_embed"), 3,
                  CLIP_ADVICE),
    ForeignFamily("Swin Transformer of torchvision",
                  (r"^features\.\d\.\d\.attn\.(?:relative_position_bias_table|cpb_mlp)",), 2,
                  TORCHVISION_ADVICE.format(name="swin_tiny_patch4_window7_224")),
    ForeignFamily("Swin Transformer",
                  (r"layers\.\d\.blocks\.\d+\.attn\.(?:relative_position_bias_table|cpb_mlp)",), 2,
                  TIMM_ADVICE.format(name="swin_tiny_patch4_window7_224")),
    ForeignFamily("Video Swin Transformer",
                  (r"(?:layers\.\d\.blocks|features\.\d)\.\d+\.attn\.relative_position_bias_table",),
                  3, CLIP_ADVICE),
    ForeignFamily("ConvNeXt of torchvision", (r"layer_scale$", r"^features\.1\.0\.block\.0\."), 2,
                  TORCHVISION_ADVICE.format(name="convnext_tiny")),
    ForeignFamily("ConvNeXt", (r"gamma$", r"dwconv|conv_dw"), 2,
                  TIMM_ADVICE.format(name="convnext_tiny")),
    ForeignFamily("EfficientNet of torchvision", (r"^features\.\d\.\d+\.block\.\d\.fc1\.",), 2,
                  TORCHVISION_ADVICE.format(name="efficientnet_b0")),
    ForeignFamily("MobileNetV3 of torchvision", (r"^features\.\d+\.block\.\d\.fc1\.",), 2,
                  TORCHVISION_ADVICE.format(name="mobilenetv3_large_100")),
    ForeignFamily("MobileNetV2 of torchvision or TSM", (r"^(?:\w+\.)?features\.1\.conv\.",), 2,
                  TORCHVISION_ADVICE.format(name="mobilenetv2_100")),
    ForeignFamily("MobileNetV3", (r"^conv_stem\.", r"^conv_head\.bias$"), 2,
                  TIMM_ADVICE.format(name="mobilenetv3_large_100")),
    ForeignFamily("EfficientNet", (r"^conv_stem\.", r"\.se\."), 2,
                  TIMM_ADVICE.format(name="efficientnet_b0")),
    ForeignFamily("MobileNetV2 or a similar network", (r"^conv_stem\.", r"^blocks\.0\.0\."), 2,
                  TIMM_ADVICE.format(name="mobilenetv2_100")),
    ForeignFamily("DenseNet", (r"denseblock1",), 2, TIMM_ADVICE.format(name="densenet121")),
)  # fmt: skip


def name_foreign_family(weights: Mapping[str, Tensor]) -> ForeignFamily | None:
    """Recognize a network that this project does not have.

    Args:
        weights: Tensors by name.

    Returns:
        The first of `FOREIGN` whose patterns all match a name, and which is one of clips if the
        weights have 3-D kernels; None if there is none.
    """
    has_3d_kernels = any(tensor.ndim == 5 for tensor in weights.values())
    return next(
        (
            family
            for family in FOREIGN
            if not (has_3d_kernels and family.dims == 2)
            and all(any(re.search(p, name) for name in weights) for p in family.patterns)
        ),
        None,
    )

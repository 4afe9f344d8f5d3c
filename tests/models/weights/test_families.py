"""What weights are, by their names and shapes."""

import re

import pytest
import torch

from models.backbones.registry import BACKBONES, CLIP_BACKBONES, build_backbone
from models.weights.families import (
    FIRST_KERNELS,
    TITLES,
    describe_family,
    identify_family,
    rename_tensors,
)
from models.weights.foreign_families import CLIP_ADVICE, name_foreign_family
from models.weights.publishers import PUBLISHERS, describe_difference, describe_input


def make_shapes(backbone, **options):
    with torch.device("meta"):
        return build_backbone(backbone, **{"num_classes": 7, **options}).state_dict()


def test_every_network_has_a_title_and_a_first_kernel():
    assert TITLES.keys() == FIRST_KERNELS.keys() == BACKBONES.keys()
    assert {"resnet" if b.startswith("resnet") else b for b in BACKBONES} == PUBLISHERS.keys()


@pytest.mark.parametrize("backbone", BACKBONES)
@pytest.mark.parametrize("channels", [3, 2])
def test_every_network_is_recognized(backbone, channels):
    family = identify_family(make_shapes(backbone, in_channels=channels))
    assert (family.backbone, family.in_channels, family.num_classes) == (backbone, channels, 7)
    assert family.is_exact and family.share == 1
    assert [name.rpartition(".")[2] for name in family.last_layer_tensors] == ["weight", "bias"]
    assert family.describe_difference() == ""
    kernel = make_shapes(backbone)[FIRST_KERNELS[backbone]]
    assert family.dims == kernel.ndim - 2
    assert (backbone in CLIP_BACKBONES) == (kernel.ndim == 5)


@pytest.mark.parametrize(
    ("backbone", "options", "title"),
    [
        ("resnet18", {"width": 4}, "ResNet-18, width 4"),
        ("bn_inception", {"width": 0.25}, "BN-Inception, width 0.25"),
        ("p3d", {}, "P3D-199"),
        ("p3d", {"blocks": (3, 4, 6, 3)}, "P3D-63"),
        ("p3d", {"blocks": (3, 4, 23, 3)}, "P3D-131"),
        ("p3d", {"blocks": (1, 1, 2, 1), "width": 4}, "P3D with 1, 1, 2, 1 blocks, width 4"),
        ("resnet50", {"num_classes": 0}, "ResNet-50"),
    ],
)
def test_variants(backbone, options, title):
    family = identify_family(make_shapes(backbone, **options))
    assert (family.title, family.is_exact) == (title, True)
    assert family.num_classes == options.get("num_classes", 7)
    assert bool(family.last_layer_tensors) == bool(family.num_classes)


def test_names_of_publishers_are_named():
    state = make_shapes("resnet50")
    tsn = {f"base_model.{n}" if "fc" not in n else f"new_{n}": t for n, t in state.items()}
    assert describe_family(tsn) == "weights of ResNet-50 (TSN or TSM)"
    tsm = {n.replace("conv1.", "conv1.net.") if "layer" in n else n: t for n, t in tsn.items()}
    assert describe_family(tsm) == "weights of ResNet-50 (TSM, with temporal shift)"
    assert "do not give its scores" in describe_difference("resnet50", "TSM, with temporal shift")


def test_the_nearest_network():
    state = make_shapes("resnet50")
    del state["layer1.0.conv1.weight"]
    state["layer1.0.conv2.weight"] = torch.empty(64, 64, 5, 5, device="meta")
    state["attention.query.weight"] = state["fc.weight"]
    family = identify_family(state)
    assert (family.backbone, family.is_exact) == ("resnet50", False)
    assert family.missing == ("layer1.0.conv1.weight",)
    assert family.unexpected == ("attention.query.weight",)
    assert family.describe_difference() == (
        "missing: layer1.0.conv1.weight; unexpected: attention.query.weight; wrong shape: "
        "layer1.0.conv2.weight (64, 64, 5, 5) instead of (64, 64, 3, 3)"
    )
    assert describe_family(state) == "unknown weights, nearest to ResNet-50"


@pytest.mark.parametrize(
    ("names", "title"),
    [
        (["features.0.weight", "features.1.running_mean", "classifier.6.weight"], "VGG with batch"),
        (["features.0.weight", "features.34.weight", "classifier.6.weight"], "VGG-19"),
        (["features.0.weight", "features.18.weight", "classifier.6.weight"], "VGG-11 or VGG-13"),
        (["features.0.weight", "features.22.weight", "pre_logits.fc1.weight"], "VGG-11 or VGG-13"),
        (["features.3.weight", "features.10.weight", "classifier.6.weight"], "AlexNet"),
        (["Conv2d_1a_3x3.conv.weight", "Mixed_5b.branch1x1.conv.weight"], "Inception-v3"),
        (["conv1.conv.weight", "inception3a.branch1.conv.weight"], "GoogLeNet"),
        (["stem.0.weight", "stem.3.weight", "layer1.0.conv1.0.0.weight"], "R(2+1)D"),
        (["stem.0.weight", "layer1.0.conv1.0.weight"], "R3D"),
        (["s1.pathway0_stem.conv.weight"], "SlowFast"),
        (["blocks.0.multipathway_blocks.0.conv.weight"], "SlowFast"),
        (["blocks.0.conv.weight", "blocks.1.res_blocks.0.branch2.conv_a.weight"], "SlowFast"),
        (["cls_token", "pos_embed", "blocks.0.attn.qkv.weight"], "Vision Transformer"),
        (["layers.0.blocks.0.attn.relative_position_bias_table"], "Swin"),
        (["layers.0.blocks.0.attn.cpb_mlp.0.weight"], "Swin Transformer"),
        (["conv1.0.weight", "layer1.0.conv1.weight"], "ResNet-D"),
        (["model.cls_token", "model.pos_embed", "model.blocks.0.temporal_attn.qkv.weight"],
         "TimeSformer"),
        (["backbone.cls_token", "backbone.pos_embed", "backbone.time_embed"], "TimeSformer"),
        (["base_model.layer2.0.nl.theta.weight", "base_model.conv1.weight"], "non-local ResNet"),
    ],
)  # fmt: skip
def test_other_networks_are_named_with_advice(names, title):
    weights = {name: torch.zeros(2) for name in names}
    family = name_foreign_family(weights)
    assert family.title.startswith(title)
    assert len(family.advice) > 20
    assert describe_family(weights) == f"weights of {family.title}"


@pytest.mark.parametrize(
    ("names", "title", "timm_name"),
    [
        (["conv_stem.weight", "blocks.0.0.conv_dw.weight", "blocks.0.0.se.conv_reduce.weight"],
         "EfficientNet", "efficientnet_b0"),
        (["conv_stem.weight", "blocks.1.0.se.conv_reduce.weight", "conv_head.bias"],
         "MobileNetV3", "mobilenetv3_large_100"),
        (["conv_stem.weight", "blocks.0.0.conv_dw.weight"],
         "MobileNetV2 or a similar network", "mobilenetv2_100"),
        (["stages.0.blocks.0.gamma", "stages.0.blocks.0.conv_dw.weight"],
         "ConvNeXt", "convnext_tiny"),
    ],
)  # fmt: skip
def test_files_of_timm_compute_features(names, title, timm_name):
    family = name_foreign_family({name: torch.zeros(2) for name in names})
    assert (family.title, family.dims) == (title, 2)
    assert f"flowkit features --model FILE --backbone timm/{timm_name}, " in family.advice


@pytest.mark.parametrize(
    ("names", "title"),
    [
        (["features.0.0.weight", "features.1.0.block.1.fc1.weight"], "EfficientNet of torchvision"),
        (["features.0.0.weight", "features.4.block.2.fc1.weight"], "MobileNetV3 of torchvision"),
        (["features.0.0.weight", "features.1.conv.0.0.weight"], "MobileNetV2 of torchvision"),
        (["base_model.features.0.0.weight", "base_model.features.1.conv.0.weight"],
         "MobileNetV2 of torchvision or TSM"),
        (["class_token", "encoder.pos_embedding"], "Vision Transformer of torchvision"),
        (["features.0.0.weight", "features.1.0.attn.relative_position_bias_table"],
         "Swin Transformer of torchvision"),
        (["features.0.0.weight", "features.1.0.attn.cpb_mlp.0.weight"],
         "Swin Transformer of torchvision"),
        (["features.0.0.weight", "features.1.0.layer_scale", "features.1.0.block.0.weight"],
         "ConvNeXt of torchvision"),
    ],
)  # fmt: skip
def test_files_of_torchvision_need_a_file_of_timm(names, title):
    """timm cannot load them: it has other names."""
    family = name_foreign_family({name: torch.zeros(2) for name in names})
    assert family.title.startswith(title)
    assert family.advice.startswith("timm cannot load torchvision's names")


@pytest.mark.parametrize(
    ("names", "title"),
    [
        (["patch_embed.proj.weight", "layers.0.blocks.0.attn.relative_position_bias_table"],
         "Video Swin Transformer"),
        (["patch_embed.proj.weight", "features.0.0.attn.relative_position_bias_table"],
         "Video Swin Transformer"),
        (["patch_embed.proj.weight", "cls_token", "pos_embed"], "Vision Transformer for clips"),
    ],
)  # fmt: skip
def test_networks_of_clips_are_not_taken_for_those_of_images(names, title):
    """Their names are those of the network of images; the first kernel is 3-D."""
    shapes = {"patch_embed.proj.weight": (2, 3, 2, 4, 4)}
    family = name_foreign_family({name: torch.zeros(shapes.get(name, 2)) for name in names})
    assert (family.title, family.dims, family.advice) == (title, 3, CLIP_ADVICE)


@pytest.mark.parametrize(
    "name",
    [
        "blocks.0.attn.relative_position_bias_table",
        "blocks.0.layers.0.layers.MBconv.layers.conv_a.0.weight",
    ],
)
def test_similar_names_are_not_taken_for_another_network(name):
    """BEiT and MaxViT have names that are nearly those of Swin and SlowFast."""
    assert name_foreign_family({name: torch.zeros(2)}) is None


def test_vgg16_with_another_tensor_is_not_taken_for_vgg11():
    state = make_shapes("vgg16") | {"extra.weight": torch.zeros(2)}
    assert name_foreign_family(state) is None
    assert describe_family(state) == "unknown weights, nearest to VGG-16"


def test_advice_names_all_networks_of_clips():
    assert set(CLIP_BACKBONES) < set(re.findall(r"\w+", CLIP_ADVICE))


@pytest.mark.parametrize("weights", [{}, {"a": torch.zeros(3)}, {"conv1.weight": torch.zeros(())},
                                     {"conv1.weight": torch.zeros(0, 3, 7, 7)}])  # fmt: skip
def test_unknown_weights(weights):
    assert identify_family(weights) is None
    assert describe_family(weights) == "unknown weights"


@pytest.mark.parametrize("backbone", BACKBONES)
def test_no_network_of_ours_is_taken_for_a_foreign_one(backbone):
    assert name_foreign_family(make_shapes(backbone)) is None


def test_normalizations():
    """Those whose text says that they differ are the only ones that do."""
    assert describe_input("bn_inception", "TSN or TSM", "rgb").is_same
    assert describe_input("resnet50", "TSN or TSM", "flow").is_same
    assert not describe_input("resnet50", "MMAction2", "flow").is_same
    assert not describe_input("resnet101", "Caffe", "rgb").is_same
    assert describe_input("vgg16", "torchvision", "audio") is None


def test_renaming_keeps_every_tensor_of_our_own():
    for backbone in ("resnet50", "vgg16", "bn_inception", "i3d_inception", "p3d"):
        state = make_shapes(backbone)
        assert list(rename_tensors(backbone, state)) == list(state)

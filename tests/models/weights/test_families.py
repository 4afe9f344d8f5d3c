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
from models.weights.foreign_families import NO_CLIPS, name_foreign_family
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
    kernel = make_shapes(backbone)[FIRST_KERNELS[backbone][0]]
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
        (["Conv2d_1a_3x3.conv.weight", "Mixed_5b.branch1x1.conv.weight"], "Inception-v3"),
        (["conv1.conv.weight", "inception3a.branch1.conv.weight"], "GoogLeNet"),
        (["stem.0.weight", "stem.3.weight", "layer1.0.conv1.0.0.weight"], "R(2+1)D"),
        (["stem.0.weight", "layer1.0.conv1.0.weight"], "R3D"),
        (["s1.pathway0_stem.conv.weight"], "SlowFast"),
        (["cls_token", "pos_embed", "blocks.0.attn.qkv.weight"], "Vision Transformer"),
        (["layers.0.blocks.0.attn.relative_position_bias_table"], "Swin"),
        (["conv1.0.weight", "layer1.0.conv1.weight"], "ResNet-D"),
        (["base_model.layer2.0.nl.theta.weight", "base_model.conv1.weight"], "non-local ResNet"),
    ],
)
def test_other_networks_are_named_with_advice(names, title):
    weights = {name: torch.zeros(2) for name in names}
    family = name_foreign_family(weights)
    assert family.title.startswith(title)
    assert len(family.advice) > 20
    assert describe_family(weights) == f"weights of {family.title}"


def test_advice_names_all_networks_of_clips():
    assert set(CLIP_BACKBONES) < set(re.findall(r"\w+", NO_CLIPS))


@pytest.mark.parametrize("weights", [{}, {"a": torch.zeros(3)}, {"conv1.weight": torch.zeros(())},
                                     {"conv1.weight": torch.zeros(0, 3, 7, 7)}])  # fmt: skip
def test_unknown_weights(weights):
    assert identify_family(weights) is None
    assert describe_family(weights) == "unknown weights"


@pytest.mark.parametrize("backbone", BACKBONES)
def test_no_network_of_ours_is_taken_for_a_foreign_one(backbone):
    state = make_shapes(backbone)
    assert name_foreign_family(state) is None or identify_family(state).is_exact


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

"""Names of tensors in the weight files of other publishers, and what replaces them.

A rule is a regular expression and its replacement, or a function from the match to the replacement.
The rules of a family of networks are applied to each name one after the other.

The names come from the public code of each publisher:

    TSN            github.com/yjxiong/tsn-pytorch and tensorflow-model-zoo.torch: ``base_model.``
                   before the backbone, ``new_fc.`` for the last layer
    TSM            github.com/mit-han-lab/temporal-shift-module: those of TSN, and ``.net.`` where a
                   layer is wrapped by the temporal shift, which has no weights of its own
    Cadene         github.com/Cadene/pretrained-models.pytorch: ``last_linear.`` for the last layer
    MMAction       github.com/open-mmlab/mmaction and mmaction2: ``backbone.`` before the backbone,
                   ``cls_head.fc_cls.``; mmaction2 joins a convolution with its BN (``conv1.conv``,
                   ``conv1.bn``)
    timm           the names of torchvision for ResNets; VGG-16 has convolutions for fc6 and fc7
    Caffe          names of layers, such as ``inception_3a/1x1`` and ``res2a_branch2b``, and the
                   same names with ``_`` for ``/`` and ``-`` in conversions to PyTorch
    P3D-199        github.com/qijiezhao/pseudo-3d-pytorch: the names of `models.backbones.p3d`
"""

import re
from collections.abc import Callable
from typing import NamedTuple

from models.backbones.backbone import Backbone
from models.backbones.bn_inception import BNInception
from models.backbones.i3d import I3D
from models.backbones.i3d_inception import BLOCKS, InceptionI3D
from models.backbones.inception_resnet import InceptionResNetV2
from models.backbones.p3d import P3D199
from models.backbones.resnet import ResNet
from models.backbones.vgg import STAGES, VGG16


class Rule(NamedTuple):
    """A part of a name, and what replaces it."""

    pattern: re.Pattern[str]
    """The part."""

    replacement: str | Callable[[re.Match[str]], str]
    """What replaces it."""


def make_rule(pattern: str, replacement: str | Callable[[re.Match[str]], str]) -> Rule:
    """Compile a rule."""
    return Rule(re.compile(pattern), replacement)


# What publishers put before the names of a backbone. A name can have more before it, where the
# layers of a network in Caffe became parts of nested containers.
WRAPPERS = (make_rule(r"^(?:.*\.)?base_model\.|^backbone\.", ""),)
# Names of the last layer, which become the network's. A linear layer can be the second of two in a
# container, after one without weights.
LAST_LAYERS = re.compile(
    r"(?:fc|new_fc|last_linear|classif|cls_head\.fc_cls|fc[_-]action|fc1000|head\.fc|fc8)"
    r"(?:\.1)?\.(weight|bias)"
)


def _rename_caffe_layer(match: re.Match[str]) -> str:
    """Rename a layer of a residual network of Caffe: ``res4b12_branch2a`` or ``bn2a_branch1``.

    In Caffe a batch normalization is a layer ``bn`` with the statistics, and a layer ``scale`` with
    weights and biases. Blocks have letters (a, b, c, …), or numbers after the first (a, b1, b2, …).
    """
    layer_type, stage, letter, number, branch = match.groups()
    block = int(number) if number else ord(letter) - ord("a")
    prefix = f"layer{int(stage) - 1}.{block}."
    is_convolution = layer_type == "res"
    if branch == "1":
        return f"{prefix}downsample.{0 if is_convolution else 1}."
    return f"{prefix}{'conv' if is_convolution else 'bn'}{'abc'.index(branch[1]) + 1}."


RESIDUAL_RULES = (
    *WRAPPERS,
    make_rule(r"\.net\.", "."),
    make_rule(r"(^|\.)conv(\d)\.conv\.", r"\1conv\2."),
    make_rule(r"(^|\.)conv(\d)\.bn\.", r"\1bn\2."),
    make_rule(r"\.downsample\.conv\.", ".downsample.0."),
    make_rule(r"\.downsample\.bn\.", ".downsample.1."),
    make_rule(r"^(res|bn|scale)(\d)([a-z])(\d*)_branch(1|2[abc])\.", _rename_caffe_layer),
    make_rule(r"^(?:bn|scale)_conv1\.", "bn1."),
)
# The convolutions of VGG-16 in Caffe, and the numbers of the layers in torchvision: a convolution
# and its ReLU have two numbers, a pool one.
CAFFE_CONVOLUTIONS = {
    f"conv{stage}_{i + 1}": sum(2 * count + 1 for _, count in STAGES[: stage - 1]) + 2 * i
    for stage, (_, num_convolutions) in enumerate(STAGES, 1)
    for i in range(num_convolutions)
}
# Layers of a block of I3D by hassony2's names, and by piergiaj's.
TOWERS = {"0": "0", "1.0": "1a", "1.1": "1b", "2.0": "2a", "2.1": "2b", "3.1": "3b"}
# By network, prefixes of other publishers' names, and what replaces them.
PREFIXES: dict[type[Backbone], dict[str, str]] = {
    VGG16: {
        "_features.": "features.",
        "features.module.": "features.",
        **{f"{name}.": f"features.{number}." for name, number in CAFFE_CONVOLUTIONS.items()},
        **dict.fromkeys(("linear0.", "fc6.", "pre_logits.fc1."), "classifier.0."),
        **dict.fromkeys(("linear1.", "fc7.", "pre_logits.fc2."), "classifier.3."),
    },
    InceptionI3D: {
        **{f"conv3d_{layer}.": f"Conv3d_{layer}." for layer in ("1a_7x7", "2b_1x1", "2c_3x3")},
        "conv3d_0c_1x1.": "logits.",
        **{
            f"{block.lower()}.branch_{tower}.": f"{block}.b{layer}."
            for block in BLOCKS
            for tower, layer in TOWERS.items()
        },
    },
}
RULES: dict[type[Backbone], tuple[Rule, ...]] = {
    ResNet: RESIDUAL_RULES,
    I3D: RESIDUAL_RULES,
    P3D199: WRAPPERS,
    VGG16: WRAPPERS,
    BNInception: (
        *WRAPPERS,
        make_rule(r"^(conv[12]|inception_\d[a-e])/", r"\1_"),
        make_rule(r"_bn/|/bn\.", "_bn."),
    ),
    InceptionResNetV2: WRAPPERS,
    InceptionI3D: (make_rule(r"\.batch3d\.", ".bn."),),
}


def rename_tensor(network_class: type[Backbone], name: str) -> str:
    """Rename a tensor of a file as a network names it.

    Args:
        network_class: The class of the network, a key of `RULES`.
        name: Name in the file.

    Returns:
        The network's name, or the name itself if no rule changes it.
    """
    for rule in RULES[network_class]:
        name = rule.pattern.sub(rule.replacement, name)
    prefixes = PREFIXES.get(network_class, {})
    old_prefix = next((prefix for prefix in prefixes if name.startswith(prefix)), "")
    name = prefixes.get(old_prefix, "") + name.removeprefix(old_prefix)
    match = LAST_LAYERS.fullmatch(name)
    if match is None or network_class is InceptionI3D:
        return name
    return f"{network_class.last_layer_name}.{match[1]}"

"""Tell whose layout a weight file has, and how its publisher normalizes the input.

Recipes normalize images as the ``rgb_input`` and ``flow_input`` of a network say, and have no key
for another normalization. Where the publisher of a file normalizes differently, `describe_input`
says so.
"""

import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple

# By network, publishers in the order in which they are tried: a pattern that the names of only
# their files match. The last one has none.
PUBLISHERS: dict[str, tuple[tuple[str, str], ...]] = {
    "resnet": (
        ("TSM, with temporal shift", r"^base_model\..*\.net\."),
        ("TSM, with temporal shift", r"^layer\d\.\d+\..*net\."),
        ("TSN or TSM", r"^base_model\.|^new_fc\."),
        ("MMAction2, with temporal shift", r"^backbone\..*\.conv\.net\."),
        ("MMAction2", r"^backbone\.conv1\.conv\."),
        ("MMAction", r"^backbone\."),
        ("Caffe", r"^res2a_branch"),
        ("Cadene", r"^last_linear\."),
        ("torchvision or timm", ""),
    ),
    "vgg16": (
        ("TSN", r"^base_model\."),
        ("Cadene", r"^_features\.|^linear0\."),
        ("timm", r"^pre_logits\."),
        ("Caffe", r"^conv1_1"),
        ("torchvision", ""),
    ),
    "bn_inception": (
        ("TSN or TSM", r"^base_model\.|^new_fc\.|\.base_model\."),
        ("MMAction", r"^backbone\."),
        ("Caffe", r"/|^fc[-_]action\."),
        ("Cadene", r"^last_linear\."),
        ("TSN's Caffe network", ""),
    ),
    "inception_resnet_v2": (
        ("TSN", r"^base_model\."),
        ("timm", r"^classif\."),
        ("Cadene", ""),
    ),
    "i3d": (
        ("MMAction2", r"^backbone\.conv1\.conv\."),
        ("MMAction", r"^backbone\."),
        ("torchvision's names", ""),
    ),
    "i3d_inception": (("hassony2 or video_features", r"branch_"), ("piergiaj", "")),
    "p3d": (("qijiezhao", ""),),
}


class InputNote(NamedTuple):
    """How the publisher of a file normalizes the input, and whether recipes do the same."""

    text: str
    """The normalization in words."""

    is_same: bool
    """Whether the network's convention in this project is the same."""


IMAGENET = InputNote(
    "RGB in [0, 1], minus torchvision's mean, divided by its standard deviation", True
)
TSN_FLOW = InputNote("flow in [0, 1], minus 0.5, divided by 0.226", True)
HALF = InputNote("RGB in [0, 1], minus 0.5, divided by 0.5", True)
SYMMETRIC = InputNote("values in [−1, 1]", True)
CAFFE_BGR = InputNote("BGR from 0 to 255, minus 104, 117, 128", True)
CAFFE_FLOW = InputNote("flow bytes minus 128 (here minus 127.5, so that no motion is 0)", True)
CAFFE_IMAGES = InputNote(
    "BGR from 0 to 255, minus a mean such as 104, 117, 123, not scaled. Recipes normalize RGB with "
    "torchvision's mean and standard deviation instead, and have no key for this: expect to train "
    "all layers",
    False,
)
MMACTION_FLOW = InputNote(
    "flow bytes minus 128, divided by 128. Recipes divide flow by 0.452 after scaling it to "
    "[−1, 1], so the network sees values 2.2 times as large, and have no key for this: train the "
    "first layer, or multiply its kernel by 0.452",
    False,
)
# By network and stream, and by publisher where one differs ("" for all others).
INPUTS: dict[tuple[str, str], Mapping[str, InputNote]] = {
    ("resnet", "rgb"): {"Caffe": CAFFE_IMAGES, "": IMAGENET},
    ("resnet", "flow"): {"MMAction2": MMACTION_FLOW, "": TSN_FLOW},
    ("vgg16", "rgb"): {"Caffe": CAFFE_IMAGES, "": IMAGENET},
    ("bn_inception", "rgb"): {"": CAFFE_BGR},
    ("bn_inception", "flow"): {"": CAFFE_FLOW},
    ("inception_resnet_v2", "rgb"): {"": HALF},
    ("inception_resnet_v2", "flow"): {"": SYMMETRIC},
    ("i3d", "rgb"): {"": IMAGENET},
    ("i3d", "flow"): {"MMAction2": MMACTION_FLOW, "": TSN_FLOW},
    ("i3d_inception", "rgb"): {"": SYMMETRIC},
    ("i3d_inception", "flow"): {"": SYMMETRIC},
    ("p3d", "rgb"): {"": IMAGENET},
    ("p3d", "flow"): {"": TSN_FLOW},
}
# What else differs between a publisher's network and ours, by network and publisher.
DIFFERENCES: dict[tuple[str, str], str] = {
    ("resnet", "TSM, with temporal shift"): "it was trained with temporal shifts, which the "
    "networks here do not have: they start from its weights, but do not give its scores",
    ("resnet", "MMAction2, with temporal shift"): "it was trained with temporal shifts, which the "
    "networks here do not have: they start from its weights, but do not give its scores",
    ("resnet", "Caffe"): "in Caffe the first convolution of a block has the stride, here the "
    "second: networks start from its weights, but do not give its scores",
    ("i3d", "MMAction2"): "its first pool is padded and has no window in time: networks start from "
    "its weights, but scores differ slightly",
    ("i3d", "MMAction"): "its first pool is padded and has no window in time: networks start from "
    "its weights, but scores differ slightly",
    ("p3d", "qijiezhao"): "converted from the authors' Caffe network, which adds S and T before "
    "the ReLU (B) and averages them (C); here and in the conversion they are added after it",
}


def find_family(backbone: str) -> str:
    """Return the family of a network, such as ``resnet`` for ``resnet50``."""
    return "resnet" if backbone.startswith("resnet") else backbone


def name_publisher(backbone: str, names: Iterable[str]) -> str:
    """Name the publisher whose layout a file has.

    Args:
        backbone: Name of the network, as in `models.build_backbone`.
        names: Names of the tensors in the file.

    Returns:
        A name such as "TSN or TSM".
    """
    listed = list(names)
    return next(
        publisher
        for publisher, pattern in PUBLISHERS[find_family(backbone)]
        if not pattern or any(re.search(pattern, name) for name in listed)
    )


def describe_input(backbone: str, publisher: str, stream: str) -> InputNote | None:
    """Describe how the publisher of a file normalizes the input.

    Args:
        backbone: Name of the network.
        publisher: As `name_publisher` returns it.
        stream: "rgb", "flow" or "audio".

    Returns:
        The normalization; None if it is not known.
    """
    notes = INPUTS.get((find_family(backbone), stream), {})
    return notes.get(publisher.partition(",")[0], notes.get(""))


def describe_difference(backbone: str, publisher: str) -> str | None:
    """Describe what else differs between the publisher's network and ours; None for nothing."""
    return DIFFERENCES.get((find_family(backbone), publisher))

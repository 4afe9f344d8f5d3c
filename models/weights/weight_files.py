"""What publishers call the same weights differently → the names and shapes of the networks here.

    VGG-16               torchvision's names; Cadene's (_features, linear0, linear1, last_linear)
    BN-Inception         Cadene's names; TSN's and TSM's (base_model., fc or new_fc); BN of [1, C]
    Inception-ResNet-v2  Cadene's names; timm's (classif); 1001 classes, of which 0 is background

Converted weights go to `pretrained.load_weights`. Nothing is guessed: names that are not listed
here go through as they are, and it is for `load_weights` to say that they do not belong.
"""

from collections.abc import Callable

import torch
from torch import nn

from models.backbones.backbone import Backbone
from models.backbones.bn_inception import BNInception
from models.backbones.inception_resnet import InceptionResNetV2
from models.backbones.vgg import VGG16
from models.weights.pretrained import WeightsError

IMAGENET_CLASSES = 1000
Weights = dict[str, torch.Tensor]
Converter = Callable[[Weights, Backbone], Weights]


def convert_weights(network: nn.Module, weights: Weights) -> Weights:
    """Weights as a public file of the network's family has them → by the network's names.

    The dict given stays as it was. Networks of other families get it back. Raises WeightsError
    where two names of the file mean the same weight.
    """
    for family, convert in CONVERTERS.items():
        if isinstance(network, family):
            return convert(weights, network)
    return weights


def convert_vgg(weights: Weights, network: Backbone) -> Weights:
    """Cadene's wrapper took torchvision's network apart; this puts it together."""
    begin = {
        "_features.": "features.",
        "linear0.": "classifier.0.",
        "linear1.": "classifier.3.",
        "last_linear.": "classifier.6.",
    }
    return rename(weights, begin)


def convert_bn_inception(weights: Weights, network: Backbone) -> Weights:
    """TSN's and TSM's: the network is one's ``base_model``, and BN of [1, C] was Caffe's blob."""
    weights = rename(weights, {"base_model.": ""})
    weights = rename(weights, {"fc.": "last_linear.", "new_fc.": "last_linear."})
    return {
        name: tensor.squeeze(0) if "_bn." in name and tensor.ndim == 2 else tensor
        for name, tensor in weights.items()
    }


def convert_inception_resnet(weights: Weights, network: Backbone) -> Weights:
    """timm's last layer; and TensorFlow's class 0, background, is left out if ours has 1000."""
    weights = rename(weights, {"classif.": "last_linear."})
    layer = network.last_layer
    if layer is None or layer.out_features != IMAGENET_CLASSES:
        return weights
    return {
        name: tensor[1:] if background_leads(name, tensor) else tensor
        for name, tensor in weights.items()
    }


def background_leads(name: str, tensor: torch.Tensor) -> bool:
    """Whether a tensor is of a last layer of ImageNet's classes and one before them."""
    is_last = name in ("last_linear.weight", "last_linear.bias")
    return is_last and tensor.shape[:1] == (IMAGENET_CLASSES + 1,)


def rename(weights: Weights, begin: dict[str, str]) -> Weights:
    """Weights whose names begin differently, by the first of ``begin`` that fits."""
    renamed: Weights = {}
    for name, tensor in weights.items():
        old = next((prefix for prefix in begin if name.startswith(prefix)), "")
        new = begin.get(old, "") + name.removeprefix(old)
        if new in renamed:
            raise WeightsError(f"two tensors of the file are {new}, and one of them is {name}")
        renamed[new] = tensor
    return renamed


CONVERTERS: dict[type[Backbone], Converter] = {
    VGG16: convert_vgg,
    BNInception: convert_bn_inception,
    InceptionResNetV2: convert_inception_resnet,
}

"""Convert the weight files of other publishers to the names and shapes of the networks here.

    VGG-16               torchvision's names; Cadene's (_features, linear0, linear1, last_linear)
    BN-Inception         Cadene's names; TSN's and TSM's (base_model., fc or new_fc), whose BN
                         parameters may have the shape [1, C]
    Inception-ResNet-v2  Cadene's names; timm's (classif); 1001 classes, of which 0 is background

Pass the converted weights to `models.weights.pretrained.load_weights`. Names that are not listed
here stay as they are, and `load_weights` reports those that the network does not have.
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
    """Convert the weights of a public file to a network's names and shapes.

    Args:
        network: The network that will load the weights. Its class decides the conversion.
        weights: Tensors by name, as `read_weights` returns them; not changed.

    Returns:
        Tensors by the network's names. A network without a conversion gets ``weights`` itself.

    Raises:
        WeightsError: If two tensors of the file would get the same name.

    Example:
        >>> network = BNInception(num_classes=51)
        >>> weights = convert_weights(network, read_weights("bn_inception.pth"))
        >>> load_weights(network, weights, skip=("last_linear.",))
    """
    for backbone_class, convert in CONVERTERS.items():
        if isinstance(network, backbone_class):
            return convert(weights, network)
    return weights


def convert_vgg(weights: Weights, network: Backbone) -> Weights:
    """Convert Cadene's names of VGG-16 to torchvision's.

    Args:
        weights: Tensors by Cadene's or torchvision's names.
        network: Not used; all converters have the same signature.

    Returns:
        Tensors by torchvision's names.

    Raises:
        WeightsError: If two tensors would get the same name.
    """
    prefixes = {
        "_features.": "features.",
        "linear0.": "classifier.0.",
        "linear1.": "classifier.3.",
        "last_linear.": "classifier.6.",
    }
    return _rename_prefixes(weights, prefixes)


def convert_bn_inception(weights: Weights, network: Backbone) -> Weights:
    """Convert TSN's and TSM's names and BN shapes of BN-Inception to Cadene's.

    Their networks keep the backbone as ``base_model``. Parameters of BN that come from Caffe have
    the shape [1, C] instead of [C].

    Args:
        weights: Tensors by the names of TSN, TSM or Cadene.
        network: Not used; all converters have the same signature.

    Returns:
        Tensors by Cadene's names.

    Raises:
        WeightsError: If two tensors would get the same name.
    """
    weights = _rename_prefixes(weights, {"base_model.": ""})
    weights = _rename_prefixes(weights, {"fc.": "last_linear.", "new_fc.": "last_linear."})
    return {
        name: tensor.squeeze(0) if "_bn." in name and tensor.ndim == 2 else tensor
        for name, tensor in weights.items()
    }


def convert_inception_resnet(weights: Weights, network: Backbone) -> Weights:
    """Convert timm's last layer of Inception-ResNet-v2, and drop TensorFlow's background class.

    Class 0 of 1001 is the background. Its row is dropped if the network has ImageNet's 1000
    classes.

    Args:
        weights: Tensors by the names of timm or Cadene.
        network: The network that will load the weights.

    Returns:
        Tensors by Cadene's names.

    Raises:
        WeightsError: If two tensors would get the same name.
    """
    weights = _rename_prefixes(weights, {"classif.": "last_linear."})
    layer = network.last_layer
    if layer is None or layer.out_features != IMAGENET_CLASSES:
        return weights
    return {
        name: tensor[1:] if _has_background_class(name, tensor) else tensor
        for name, tensor in weights.items()
    }


def _has_background_class(name: str, tensor: torch.Tensor) -> bool:
    """Tell whether a tensor is of a last layer with 1001 classes, background first."""
    is_last = name in ("last_linear.weight", "last_linear.bias")
    return is_last and tensor.shape[:1] == (IMAGENET_CLASSES + 1,)


def _rename_prefixes(weights: Weights, prefixes: dict[str, str]) -> Weights:
    """Replace the beginning of each name by the first entry of ``prefixes`` that matches."""
    renamed: Weights = {}
    for name, tensor in weights.items():
        old_prefix = next((prefix for prefix in prefixes if name.startswith(prefix)), "")
        new_name = prefixes.get(old_prefix, "") + name.removeprefix(old_prefix)
        if new_name in renamed:
            raise WeightsError(
                f"two tensors of the file would be named {new_name}; one of them is {name}. "
                "Remove one of the two from the file"
            )
        renamed[new_name] = tensor
    return renamed


CONVERTERS: dict[type[Backbone], Converter] = {
    VGG16: convert_vgg,
    BNInception: convert_bn_inception,
    InceptionResNetV2: convert_inception_resnet,
}

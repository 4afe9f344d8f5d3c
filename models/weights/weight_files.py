"""Convert the weight files of other publishers to the names and shapes of the networks here.

    ResNet, I3D-ResNet-50  torchvision's and timm's names; Cadene's (last_linear), TSN's and TSM's
                           (base_model., new_fc., .net.), MMAction's (backbone., conv1.conv,
                           cls_head.fc_cls), Caffe's (res2a_branch2a, bn2a_branch2a)
    VGG-16                 torchvision's names; Cadene's (_features, linear0, last_linear), timm's
                           (pre_logits.fc1, head.fc), Caffe's (conv1_1, fc6)
    BN-Inception           Cadene's names; TSN's, TSM's and MMAction's; Caffe's
                           (inception_3a/1x1, fc-action). BN parameters may have the shape [1, C]
    Inception-ResNet-v2    Cadene's names; timm's and TSN's (classif); 1001 classes, of which 0 is
                           background
    I3D on Inception-v1    piergiaj's names; hassony2's (mixed_3b.branch_0, batch3d), whose files
                           are also those of video_features
    P3D-199                qijiezhao's names

`models.weights.layouts` has the rules. Pass the converted weights to
`models.weights.pretrained.load_weights`. Names without a rule stay as they are, and `load_weights`
reports those that the network does not have.
"""

from torch import Tensor, nn

from models.backbones.inception_resnet import InceptionResNetV2
from models.backbones.vgg import VGG16
from models.weights.errors import WeightsError
from models.weights.layouts import PREFIXES, RULES, rename_tensor

IMAGENET_CLASSES = 1000


def convert_weights(network: nn.Module, weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Convert the weights of a public file to a network's names and shapes.

    Args:
        network: The network that will load the weights. Its class decides the conversion.
        weights: Tensors by name, as `read_weights` returns them; not changed.

    Returns:
        Tensors by the network's names; ``weights`` itself if nothing is to be converted.

    Raises:
        WeightsError: If two tensors of the file would get the same name.

    Example:
        >>> network = BNInception(num_classes=51)
        >>> weights = convert_weights(network, read_weights("bn_inception.pth"))
        >>> load_weights(network, weights, skip=("last_linear.",))
    """
    kind = next((kind for kind in RULES if isinstance(network, kind)), None)
    if kind is None:
        return weights
    converted: dict[str, Tensor] = {}
    old_names: dict[str, str] = {}
    for old_name, tensor in weights.items():
        name = rename_tensor(kind, old_name)
        if name in converted:
            raise WeightsError(
                f"two tensors of the file would be named {name}: {old_names[name]} and {old_name}. "
                "Remove one of the two from the file"
            )
        old_names[name] = old_name
        converted[name] = _convert_shape(network, name, tensor)
    is_same = all(converted.get(name) is tensor for name, tensor in weights.items())
    return weights if is_same else converted


def _convert_shape(network: nn.Module, name: str, tensor: Tensor) -> Tensor:
    """Convert a tensor to the network's shape, for the layers whose shape differs between files."""
    if tensor.ndim > 1 and name.endswith((".bias", ".running_mean", ".running_var")):
        return _flatten(tensor)  # Caffe's vectors can be [1, C] or [1, 1, 1, C]
    if tensor.ndim in (2, 4) and tensor.shape[0] == 1 and _is_batch_norm_weight(network, name):
        return _flatten(tensor)
    if isinstance(network, VGG16) and name.startswith("classifier.") and tensor.ndim == 4:
        return tensor.flatten(1)  # timm has convolutions for fc6 and fc7
    last_layer_names = ("last_linear.weight", "last_linear.bias")
    if isinstance(network, InceptionResNetV2) and name in last_layer_names:
        layer, has_background = network.last_layer, tensor.shape[:1] == (IMAGENET_CLASSES + 1,)
        if layer is not None and layer.out_features == IMAGENET_CLASSES and has_background:
            return tensor[1:]  # class 0 is TensorFlow's background
    return tensor


def _flatten(tensor: Tensor) -> Tensor:
    """Remove the dimensions of length 1 of a vector; other tensors stay as they are."""
    return tensor.flatten() if tensor.numel() == max(tensor.shape, default=0) else tensor


def _is_batch_norm_weight(network: nn.Module, name: str) -> bool:
    """Tell whether a name is that of the weights of a batch normalization in a network."""
    module_name, _, end = name.rpartition(".")
    module = dict(network.named_modules()).get(module_name) if end == "weight" else None
    return isinstance(module, nn.modules.batchnorm._BatchNorm)


__all__ = ["IMAGENET_CLASSES", "PREFIXES", "convert_weights"]

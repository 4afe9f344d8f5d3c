"""Convert the weight files of other publishers to the names and shapes of the networks here.

    VGG-16               torchvision's names; Cadene's (_features, linear0, linear1, last_linear)
    BN-Inception         Cadene's names; TSN's and TSM's (base_model., fc or new_fc), whose BN
                         parameters may have the shape [1, C]
    Inception-ResNet-v2  Cadene's names; timm's (classif); 1001 classes, of which 0 is background
    I3D on Inception-v1  piergiaj's names; hassony2's (mixed_3b.branch_0, batch3d), whose files are
                         also those of video_features

Pass the converted weights to `models.weights.pretrained.load_weights`. Names that are not listed
here stay as they are, and `load_weights` reports those that the network does not have.
"""

from torch import Tensor, nn

from models.backbones.bn_inception import BNInception
from models.backbones.i3d_inception import BLOCKS, InceptionI3D
from models.backbones.inception_resnet import InceptionResNetV2
from models.backbones.vgg import VGG16
from models.weights.pretrained import WeightsError

IMAGENET_CLASSES = 1000

# Layers of a block of I3D by hassony2's names, and by piergiaj's.
TOWERS = {"0": "0", "1.0": "1a", "1.1": "1b", "2.0": "2a", "2.1": "2b", "3.1": "3b"}
# By network, prefixes of other publishers' names, and what replaces them. The first prefix that
# matches is used.
PREFIXES: dict[type[nn.Module], dict[str, str]] = {
    VGG16: {
        "_features.": "features.",
        "linear0.": "classifier.0.",
        "linear1.": "classifier.3.",
        "last_linear.": "classifier.6.",
    },
    BNInception: {
        "base_model.fc.": "last_linear.",
        "base_model.new_fc.": "last_linear.",
        "base_model.": "",
        "fc.": "last_linear.",
        "new_fc.": "last_linear.",
    },
    InceptionResNetV2: {"classif.": "last_linear."},
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
# Parts inside of names, and what replaces them.
PARTS: dict[type[nn.Module], tuple[str, str]] = {InceptionI3D: (".batch3d.", ".bn.")}


def convert_weights(network: nn.Module, weights: dict[str, Tensor]) -> dict[str, Tensor]:
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
    kind = next((kind for kind in PREFIXES if isinstance(network, kind)), None)
    if kind is None:
        return weights
    prefixes, part = PREFIXES[kind], PARTS.get(kind)
    converted: dict[str, Tensor] = {}
    for old_name, tensor in weights.items():
        old_prefix = next((prefix for prefix in prefixes if old_name.startswith(prefix)), "")
        name = prefixes.get(old_prefix, "") + old_name.removeprefix(old_prefix)
        name = name.replace(*part) if part else name
        if name in converted:
            raise WeightsError(
                f"two tensors of the file would be named {name}; one of them is {old_name}. "
                "Remove one of the two from the file"
            )
        converted[name] = _convert_shape(network, name, tensor)
    return converted


def _convert_shape(network: nn.Module, name: str, tensor: Tensor) -> Tensor:
    """Convert a tensor to the network's shape, for the layers whose shape differs between files."""
    if isinstance(network, BNInception) and "_bn." in name and tensor.ndim == 2:
        return tensor.squeeze(0)
    last_layer_names = ("last_linear.weight", "last_linear.bias")
    if isinstance(network, InceptionResNetV2) and name in last_layer_names:
        layer, has_background = network.last_layer, tensor.shape[:1] == (IMAGENET_CLASSES + 1,)
        if layer is not None and layer.out_features == IMAGENET_CLASSES and has_background:
            return tensor[1:]  # class 0 is TensorFlow's background
    return tensor

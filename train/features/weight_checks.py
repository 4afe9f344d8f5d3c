"""Check which network and which stream a weight file is of, by its tensors."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from flowkit.streams import STREAMS, StreamName
from models.backbones.backbone import Backbone, name_first_convolution
from models.weights.errors import WeightsError
from models.weights.families import describe_family, identify_family
from models.weights.weight_files import convert_weights
from train.tasks.backbones import FAMILIES, NETWORKS, is_offered, list_options
from train.tasks.weight_hints import determine_stream
from train.tasks.weights import has_prefix

# Prefixes of the names of i3d_inception's first layer, as two publishers write them.
INCEPTION_PREFIXES = ("Conv3d_1a_7x7.", "conv3d_1a_7x7.")
MAX_LISTED_TENSORS = 3


@contextmanager
def suggest_backbone(name: str, weights: dict[str, torch.Tensor]) -> Iterator[None]:
    """Add to the error of weights that do not fit a network which network they belong to.

    Args:
        name: Name of the network.
        weights: Its tensors by the names of any publisher.

    Raises:
        WeightsError: The block raised WeightsError.
    """
    try:
        yield
    except WeightsError as error:
        family = identify_family(weights)
        if family is None or not family.is_exact:
            words = f"{describe_family(weights)}: use another file, or another --backbone"
        elif not is_offered(family.backbone, family.options):
            words = (
                f"weights of {family.title}, a network that --backbone does not offer: use the run "
                "that trained it, or another file"
            )
        elif family.backbone != name:
            words = f"weights of {family.title}: --backbone {family.backbone}"
        else:
            raise
        raise WeightsError(f"{error}. These are {words}") from error


def identify_network(name: str, weights: dict[str, torch.Tensor]) -> str:
    """Decide which I3D ``i3d`` means by the names of a file's tensors.

    Args:
        name: Name of a network, as the user gave it.
        weights: Tensors by name.

    Returns:
        ``i3d_inception`` for "i3d" and the weights of that network; otherwise the name itself.
    """
    is_inception = name == "i3d" and any(
        has_prefix(weights, prefix) for prefix in INCEPTION_PREFIXES
    )
    return "i3d_inception" if is_inception else name


def make_feature_backbone(name: str, in_channels: int) -> Backbone:
    """Build a network of `NETWORKS` with random weights and no last layer."""
    settings = NETWORKS[name]
    backbone: Backbone = FAMILIES[settings.backbone](
        in_channels=in_channels, num_classes=0, **list_options(settings)
    )
    return backbone


def find_first_kernel(name: str, weights: dict[str, torch.Tensor]) -> tuple[str, tuple[int, ...]]:
    """Find the kernel of a network's first convolution in a file.

    It is found by its name, since a file may list its tensors in any order: the public files of
    i3d_inception start with the last layer.

    Args:
        name: Name of the network.
        weights: Tensors of the file by name, also by the names of other publishers.

    Returns:
        Its name in the network, and its shape (channels, input channels, …).

    Raises:
        WeightsError: The file has no such kernel, or one of another number of dimensions, so it is
            of another network.
    """
    with torch.device("meta"):
        network = make_feature_backbone(name, in_channels=3)
    first = name_first_convolution(network)
    kernel = convert_weights(network, weights).get(first)
    out_channels, _, *sides = network.state_dict()[first].shape
    expected = f"{first} ({', '.join(map(str, (out_channels, 'C', *sides)))})"
    if name == "i3d":
        expected += f", or {INCEPTION_PREFIXES[0]}conv3d.weight of i3d_inception"
    if kernel is None or kernel.ndim != len(sides) + 2:
        listed = [f"{n} {tuple(t.shape)}" for n, t in weights.items() if t.ndim >= 2]
        hidden = len(listed) - MAX_LISTED_TENSORS
        got = ", ".join(listed[:MAX_LISTED_TENSORS]) + (f" and {hidden} more" if hidden > 0 else "")
        raise WeightsError(
            f"it is a file of another network than {name}: expected the first convolution "
            f"{expected}, where C is {describe_channels(name, network.dims)}; got "
            f"{got or 'no kernels'}. Give a weight file of {name}"
        )
    return first, tuple(kernel.shape)


def describe_channels(name: str, dims: int) -> str:
    """Describe the input channels of a network of images (2 dimensions) or clips (3)."""
    if dims == 3:
        return "3 for RGB and 2 for flow"
    if name == "vgg16":
        return "3 for RGB, 2 for each field of flow and 1 for audio"
    return "3 for RGB and 2 for each field of flow"


def require_stream(name: str, shape: tuple[int, ...]) -> StreamName:
    """Return the stream that a network reads, by the input channels of its first convolution.

    Args:
        name: Name of the network.
        shape: Shape of the kernel of its first convolution, (channels, input channels, …).

    Raises:
        WeightsError: The channels fit no stream.
    """
    stream = determine_stream(name, shape[1], len(shape) - 2)
    if stream is None:
        raise WeightsError(
            f"its first convolution has {shape[1]} input channels, but {name} reads "
            "RGB (3 channels) or flow (2 for each field; 2 for clips), and vgg16 also audio (1)"
        )
    return stream


def check_stream(
    requested: StreamName | None, stream: StreamName, first: str, shape: tuple[int, ...]
) -> None:
    """Check that a network reads the stream that it must read.

    Args:
        requested: The stream that it must read; None for any.
        stream: The stream that it reads.
        first: Name of the kernel of its first convolution.
        shape: Shape of this kernel, (channels, input channels, …).

    Raises:
        WeightsError: It reads another stream.
    """
    channels, is_3d = shape[1], len(shape) == 5
    if requested is not None and requested != stream:
        each = " for each field" if requested == "flow" and not is_3d else ""
        raise WeightsError(
            f"it is a network of {stream} ({channels} channels), but is given for {requested} "
            f"(--stream, or --weights {requested}=): expected {STREAMS[requested].channels} input "
            f"channels{each}, and {first} has the shape {shape}. Give a weight file of {requested}"
        )

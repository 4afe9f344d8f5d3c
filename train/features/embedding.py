"""Load a feature network on a device, and run it on batches of images, clips or patches."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from flowkit.datasets.video_dataset import scale_bytes
from flowkit.errors import DeviceError, FlowkitError
from flowkit.streams import STREAMS
from models.backbones.backbone import normalize
from train.distributed.parallel import choose_layout, make_autocast
from train.features.network import FeatureNetwork, NetworkOptions
from train.features.network_loading import load_feature_network

# Raised by PyTorch when the GPU fails; older versions lack this class.
DEVICE_ERRORS = tuple(filter(None, [getattr(torch, "AcceleratorError", None)]))


def choose_device(device: str) -> str:
    """Return "cpu" or "cuda"; "auto" uses a GPU if PyTorch finds one."""
    if device != "auto":
        return device
    return "cuda" if torch.cuda.is_available() else "cpu"


def load_network(options: NetworkOptions, weights: str, device: torch.device) -> FeatureNetwork:
    """Load the network of a run on a device, in the memory layout in which it is fast there.

    Args:
        options: The network.
        weights: Expected digest of its weights.
        device: The device.

    Raises:
        FlowkitError: The weights are not those that the run was started with.
    """
    network = load_feature_network(options)
    if network.recipe.weights != weights:
        raise FlowkitError(
            f"{network.path}: expected weights {weights}, with which the run was started, got "
            f"{network.recipe.weights}: the file was changed, or is another on this machine"
        )
    layout = torch.contiguous_format if network.is_3d else choose_layout(device)
    network.backbone.to(device, memory_format=layout)
    return network


def embed_inputs(network: FeatureNetwork, inputs: torch.Tensor, precision: str) -> torch.Tensor:
    """Compute the features of a batch of inputs.

    Args:
        network: The network, on the device of the inputs.
        inputs: Images (B, C, H, W) or clips (B, C, T, H, W) as a store or a decoder gives them,
            uint8; float32 patches for audio.
        precision: Number format in which the network computes.

    Returns:
        Features, float32 (B, dimension).
    """
    source, device = network.sampling.source, inputs.device
    scaled = scale_bytes(inputs, source) if STREAMS[source].is_image else inputs
    scaled = normalize(scaled, network.convention)
    if not network.is_3d:
        scaled = scaled.contiguous(memory_format=choose_layout(device))
    with torch.inference_mode(), make_autocast(precision, device):
        return network.backbone.embed(scaled).float()


@contextmanager
def convert_gpu_errors(batch: int) -> Iterator[None]:
    """Convert the errors of a GPU in the context to errors that say what to do.

    Args:
        batch: Value of --batch, for the message.

    Raises:
        FlowkitError: The GPU has not enough memory.
        DeviceError: The GPU failed.
    """
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise FlowkitError(
            f"the GPU has not enough memory for batches of {batch}: use a smaller --batch; all "
            "crops of an image are in one batch, so below their number only --crops centre or a "
            "smaller --size needs less"
        ) from error
    except DEVICE_ERRORS as error:
        raise DeviceError(" ".join(str(error).split())) from error

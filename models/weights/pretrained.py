"""Weight files of torchvision and timm → networks of this package, from RGB to flow, 2-D to 3-D.

Files are read without running code in them. A weight is loaded if its name and shape agree;
everything else must be named: what the caller expects to be skipped (a last layer of other
classes), or an error that lists it.

Cross-modality initialization: Wang et al., "Temporal Segment Networks", ECCV 2016, §3.2; Chi et
al. 2019, §4.1: the first convolution of a flow network has, for each input channel, the mean of
the RGB network's over its three.

Inflation: Carreira, Zisserman, "Quo Vadis, Action Recognition? A New Model and the Kinetics
Dataset", CVPR 2017, §2.4: a 2-D kernel is repeated along time and divided by its new length, so
that a clip of one and the same frame gives what the image does, wherever no padding in time is
looked at.
"""

import hashlib
import logging
import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

LISTED = 8
logger = logging.getLogger(__name__)


class WeightsError(ValueError):
    """Weights that do not belong to the network; the message names which."""


@dataclass(frozen=True)
class Loaded:
    """What became of a weight file: names of tensors ``used``, and of those ``skipped``."""

    used: tuple[str, ...]
    skipped: tuple[str, ...]


def read_weights(path: Path | str) -> dict[str, torch.Tensor]:
    """The tensors of a .pth, .pt or .safetensors file by name, on the CPU.

    Takes them out of ``state_dict`` or ``model`` where a training wrapped them, and off
    ``module.`` where several GPUs did. Raises WeightsError for a file of something else.
    """
    path = Path(path)
    weights: Any
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            weights = load_file(path)
        else:
            weights = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # garbage fails in as many ways as there are opcodes
        reason = " ".join(str(error).split())[:200]
        if isinstance(error, pickle.UnpicklingError) and is_checkpoint(path):
            raise WeightsError(
                f"{path} holds more than tensors, which is not loaded: save its state_dict alone "
                f"({reason})"
            ) from error
        raise WeightsError(f"{path} is no weight file: {reason}") from error
    for wrapper in ("state_dict", "model"):
        if isinstance(weights, dict) and isinstance(weights.get(wrapper), dict):
            weights = weights[wrapper]
    if not isinstance(weights, dict) or not all(
        isinstance(name, str) and torch.is_tensor(value) for name, value in weights.items()
    ):
        raise WeightsError(f"{path}: expected tensors by name, got {type(weights).__name__}")
    return {name.removeprefix("module."): tensor for name, tensor in weights.items()}


def is_checkpoint(path: Path) -> bool:
    """Whether a file begins as torch's own do: a zip archive, or a pickle."""
    with path.open("rb") as file:
        return file.read(2) in (b"PK", b"\x80\x02")


def load_weights(
    network: nn.Module,
    weights: dict[str, torch.Tensor],
    *,
    skip: tuple[str, ...] = (),
    inflate_channels: bool = False,
    inflate_time: bool = False,
) -> Loaded:
    """Copy weights into a network, in place.

    Parameters
    ----------
    skip: prefixes of names that are left alone on both sides, such as "fc.".
    inflate_channels: let a first convolution of other channels become one of the network's,
        by cross-modality initialization.
    inflate_time: let kernels of 2-D convolutions become those of 3-D ones of the same name and
        size in space, by inflation. Both may be meant: RGB images to clips of flow.

    Raises WeightsError, having changed nothing, where a tensor of either side has no partner or
    another shape; counters of BN (num_batches_tracked) may be absent.
    """
    own = network.state_dict()
    skipped = tuple(sorted(name for name in {*own, *weights} if name.startswith(skip or ("\0",))))
    wanted = {name: tensor for name, tensor in own.items() if name not in skipped}
    given = {name: tensor for name, tensor in weights.items() if name not in skipped}
    if inflate_time:
        given |= inflate_kernels(given, wanted)
    first = next((name for name, tensor in wanted.items() if tensor.ndim >= 4), None)
    if inflate_channels and first in given and given[first].ndim == wanted[first].ndim:
        channels = wanted[first].shape[1]
        if given[first].shape[1] != channels:
            given[first] = cross_modality_init(given[first], channels)
    lacking = [n for n in wanted if n not in given and not n.endswith("num_batches_tracked")]
    extra = [name for name in given if name not in wanted]
    other = [
        f"{name} {tuple(given[name].shape)} for {tuple(tensor.shape)}"
        for name, tensor in wanted.items()
        if name in given and given[name].shape != tensor.shape
    ]
    faults = {"lack": lacking, "have too much": extra, "have other shapes": other}
    found = "; ".join(f"{what}: {list_names(names)}" for what, names in faults.items() if names)
    if found:
        raise WeightsError(
            f"these are no weights of this {type(network).__name__}. They {found}. Name what is "
            "meant to differ in skip, or load them into the network that they are of"
        )
    network.load_state_dict({**own, **given})
    if skipped:
        logger.info("left as they were: %s", ", ".join(skipped))
    return Loaded(tuple(sorted(given)), skipped)


def digest_weights(weights: Mapping[str, torch.Tensor]) -> str:
    """What tells weights from others: BLAKE2b of 128 bits, as hex digits.

    Of names in order, shapes, and values as float32, little endian; the file's format, its type of
    floats and its device do not matter. BN's counters, of which nothing depends, are left out.
    """
    digest = hashlib.blake2b(digest_size=16)
    for name in sorted(weights):
        if name.endswith("num_batches_tracked"):
            continue
        tensor = weights[name].detach().to("cpu", torch.float32)
        digest.update(f"{name} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.numpy().astype("<f4").tobytes())
    return digest.hexdigest()


def cross_modality_init(weight: torch.Tensor, channels: int) -> torch.Tensor:
    """A convolution of RGB (out, 3, …) → (out, channels, …): the mean of its inputs, repeated."""
    mean = weight.mean(dim=1, keepdim=True)
    return mean.expand(-1, channels, *weight.shape[2:]).clone()


def inflate_time(weight: torch.Tensor, frames: int) -> torch.Tensor:
    """A 2-D kernel (out, in, h, w) → (out, in, frames, h, w), whose sum over time it is.

    Raises ValueError for what is no 2-D kernel, and for less than one frame.
    """
    if weight.ndim != 4 or frames < 1:
        raise ValueError(
            f"expected a kernel (out, in, h, w) and 1 frame or more, got {tuple(weight.shape)} "
            f"and {frames}"
        )
    return (weight / frames).unsqueeze(2).repeat(1, 1, frames, 1, 1)


def inflate_kernels(
    given: dict[str, torch.Tensor], wanted: dict[str, torch.Tensor]
) -> dict[str, torch.Tensor]:
    """Of the 2-D kernels given, those that are wanted in 3-D, as long as wanted."""
    return {
        name: inflate_time(given[name], tensor.shape[2])
        for name, tensor in wanted.items()
        if tensor.ndim == 5 and name in given and given[name].ndim == 4
    }


def list_names(names: list[str]) -> str:
    more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
    return ", ".join(names[:LISTED]) + more

"""Load weight files into networks, and convert them from RGB to flow and from 2-D to 3-D.

`models.weights.reading` reads the files, without running any code in them. A weight is loaded if
its name and shape match the network's. Every other weight is either named by the caller, as one to
skip (such as a last layer with other classes), or reported in an error.

Cross-modality initialization: Wang et al., "Temporal Segment Networks", ECCV 2016, §3.2; Chi et
al. 2019, §4.1: the first convolution of a flow network has, for each input channel, the mean of
the RGB network's three input channels.

Inflation: Carreira, Zisserman, "Quo Vadis, Action Recognition? A New Model and the Kinetics
Dataset", CVPR 2017, §2.4: a 2-D kernel is repeated along time and divided by its new length. A
clip that repeats one frame then gives the same features as the image, except where a kernel
reaches into the padding in time.
"""

import hashlib
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from models.weights.errors import WeightsError
from models.weights.reading import read_weights

MAX_LISTED_NAMES = 8
RGB_CHANNELS = 3
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class LoadedWeights:
    """The result of loading a weight file into a network."""

    used: tuple[str, ...]
    """Names of the tensors that were copied into the network, sorted."""

    skipped: tuple[str, ...]
    """Names of the tensors, of the file or the network, that the caller asked to skip, sorted."""


def load_weights(
    network: nn.Module,
    weights: dict[str, Tensor],
    *,
    skip: tuple[str, ...] = (),
    inflate_channels: bool = False,
    inflate_time: bool = False,
) -> LoadedWeights:
    """Copy weights into a network, in place.

    Counters of batch normalization (``num_batches_tracked``) may be missing from ``weights``.

    Args:
        network: The network to change.
        weights: Tensors by the network's names; see `convert_weights` for files of other
            publishers. Not changed.
        skip: Prefixes of names that are ignored in both, such as ``"fc."``.
        inflate_channels: If the first convolution of ``weights`` has the three input channels of
            RGB, and that of the network has another number, convert it by cross-modality
            initialization. Default: False.
        inflate_time: Convert 2-D kernels by inflation where the network has a 3-D kernel of the
            same name, height and width. May be combined with ``inflate_channels``, to turn RGB
            images into clips of flow. Default: False.

    Returns:
        The names of the tensors that were used and skipped.

    Raises:
        WeightsError: If a tensor of the network or of ``weights`` has no counterpart of the same
            name and shape. The network is then unchanged.
    """
    state = network.state_dict()
    skipped = tuple(sorted(n for n in {*state, *weights} if n.startswith(skip or ("\0",))))
    targets = {name: tensor for name, tensor in state.items() if name not in skipped}
    sources = {name: tensor for name, tensor in weights.items() if name not in skipped}
    if inflate_time:
        sources |= _inflate_kernels(sources, targets)
    first = next((name for name, tensor in targets.items() if tensor.ndim >= 4), None)
    if inflate_channels and first in sources and sources[first].ndim == targets[first].ndim:
        channels = targets[first].shape[1]
        if channels != RGB_CHANNELS == sources[first].shape[1]:
            sources[first] = cross_modality_init(sources[first], channels)
    problems = _find_mismatches(sources, targets)
    if problems:
        raise WeightsError(
            f"the weights do not fit this {type(network).__name__}: {problems}. Expected those of "
            "a network with the same layers"
        )
    network.load_state_dict({**state, **sources})
    if skipped:
        logger.info("weights skipped: %s", ", ".join(skipped))
    return LoadedWeights(tuple(sorted(sources)), skipped)


def digest_weights(weights: Mapping[str, Tensor]) -> str:
    """Compute a digest that identifies weights, independent of how they are stored.

    The digest covers the sorted names, the shapes, and the values as little-endian float32. File
    format and device do not matter, nor does a floating-point type that keeps the values.
    Counters of batch normalization are left out, since no output depends on them.

    Args:
        weights: Tensors by name.

    Returns:
        A BLAKE2b digest of 128 bits, as 32 hexadecimal digits.
    """
    digest = hashlib.blake2b(digest_size=16)
    for name in sorted(weights):
        if name.endswith("num_batches_tracked"):
            continue
        tensor = weights[name].detach().to("cpu", torch.float32)
        digest.update(f"{name} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.numpy().astype("<f4").tobytes())
    return digest.hexdigest()


def cross_modality_init(weight: Tensor, channels: int) -> Tensor:
    """Convert the first convolution of an RGB network to another number of input channels.

    Args:
        weight: Kernel of a 2-D or 3-D convolution, (out, 3, …).
        channels: Number of input channels of the result.

    Returns:
        A kernel (out, channels, …) whose input channels are all the mean of the three.

    Raises:
        ValueError: If ``weight`` has not three input channels.
    """
    if weight.ndim < 2 or weight.shape[1] != RGB_CHANNELS:
        raise ValueError(f"expected a kernel (out, 3, …) of RGB, got {tuple(weight.shape)}")
    mean = weight.mean(dim=1, keepdim=True)
    return mean.expand(-1, channels, *weight.shape[2:]).clone()


def inflate_time(weight: Tensor, frames: int) -> Tensor:
    """Convert a 2-D kernel to a 3-D kernel whose sum over time equals it.

    Args:
        weight: Kernel of a 2-D convolution, (out, in, h, w).
        frames: Length of the 3-D kernel in time, 1 or more.

    Returns:
        A kernel (out, in, frames, h, w).

    Raises:
        ValueError: If ``weight`` is not a 2-D kernel, or ``frames`` is below 1.
    """
    if weight.ndim != 4 or frames < 1:
        raise ValueError(
            f"expected a kernel (out, in, h, w) and 1 frame or more, got {tuple(weight.shape)} "
            f"and {frames}"
        )
    return (weight / frames).unsqueeze(2).repeat(1, 1, frames, 1, 1)


def _inflate_kernels(sources: dict[str, Tensor], targets: dict[str, Tensor]) -> dict[str, Tensor]:
    """Inflate the 2-D kernels of ``sources`` whose namesakes are 3-D, and as high and wide."""
    return {
        name: inflate_time(sources[name], target.shape[2])
        for name, target in targets.items()
        if target.ndim == 5
        and name in sources
        and sources[name].ndim == 4
        and sources[name].shape[2:] == target.shape[3:]
    }


def _find_mismatches(sources: dict[str, Tensor], targets: dict[str, Tensor]) -> str:
    """Describe which names and shapes differ; empty if all match."""
    names_by_problem = {
        "missing": [
            name
            for name in targets
            if name not in sources and not name.endswith("num_batches_tracked")
        ],
        "unexpected": [name for name in sources if name not in targets],
        "wrong shape": [
            f"{name} {tuple(sources[name].shape)} instead of {tuple(target.shape)}"
            for name, target in targets.items()
            if name in sources and sources[name].shape != target.shape
        ],
    }
    return describe_mismatches(names_by_problem)


def describe_mismatches(names_by_problem: Mapping[str, Sequence[str]]) -> str:
    """Describe which tensors do not fit, in one line: the first names of each problem.

    Args:
        names_by_problem: Names of tensors by problem, such as "missing".

    Returns:
        The description; empty if there are no names.
    """
    parts = []
    for problem, names in names_by_problem.items():
        if names:
            hidden = len(names) - MAX_LISTED_NAMES
            more = f" and {hidden} more" if hidden > 0 else ""
            parts.append(f"{problem}: {', '.join(names[:MAX_LISTED_NAMES])}{more}")
    return "; ".join(parts)


__all__ = [
    "LoadedWeights", "WeightsError", "cross_modality_init", "digest_weights", "inflate_time",
    "load_weights", "read_weights",
]  # fmt: skip

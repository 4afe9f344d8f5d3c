"""Training in several processes, on GPUs or CPUs of one or more machines.

One process is the default. With several, which `train.distributed.launch` starts, each process
takes its share of every batch. Gradients are averaged (DistributedDataParallel) and batch
normalization sees the whole batch. The result is therefore that of one process with the same batch,
except for rounding and for dropout, which is random in each process.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from models.attention.cross_modality import CrossModalityBlock
from models.networks.two_stream import TwoStream
from train.distributed.synchronize import synchronize_batch_norms
from train.runs.run import Settings

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass(frozen=True, kw_only=True)
class Process:
    """One of the processes that train together."""

    rank: int = 0
    """Index of this process, from 0."""
    world: int = 1
    """Number of processes."""
    gpu: int = 0
    """Index of the GPU that this process uses. Ignored on the CPU."""

    def device(self, settings: Settings) -> torch.device:
        """Return the device that this process computes on."""
        return torch.device("cuda", self.gpu) if settings.device == "cuda" else torch.device("cpu")


def choose_layout(device: torch.device) -> torch.memory_format:
    """Choose the memory format of images: channels last on GPUs, whose tensor cores prefer it.

    CPUs keep the contiguous format. Channels last does not make them faster, and with PyTorch 2.13
    it corrupts the heap (a ResNet of 4 channels on 24-pixel images with one thread fails with
    "corrupted double-linked list" within 60 steps).
    """
    return torch.channels_last if device.type == "cuda" else torch.contiguous_format


def make_autocast(precision: str, device: torch.device) -> Any:
    """Make an autocast context, in which a network computes in a precision such as "bfloat16"."""
    dtype = DTYPES[precision]
    return torch.autocast(device.type, dtype, enabled=dtype != torch.float32)


def wrap(
    network: TwoStream, device: torch.device, process: Process, compiled: bool
) -> tuple[nn.Module, TwoStream]:
    """Prepare a network for training in one or several processes.

    Args:
        network: The network, already on `device`.
        device: The device that this process computes on.
        process: This process.
        compiled: Whether to compile the network.

    Returns:
        The module that a training step calls, and the network inside it.
    """
    outer: nn.Module = network
    if process.world > 1:
        network = synchronize_batch_norms(network, device)
        devices = [device.index] if device.type == "cuda" else None
        with freeze(list_unused_parameters(network)):
            outer = DistributedDataParallel(network, device_ids=devices)
    if compiled:
        outer = torch.compile(outer)
    return outer, network


def list_unused_parameters(network: nn.Module) -> list[nn.Parameter]:
    """List the trainable queries and keys of attention blocks with equal weights.

    Such blocks do not use them, so they get no gradient, for which DistributedDataParallel would
    wait. Optimizers leave parameters without a gradient as they are.
    """
    return [
        parameter
        for block in network.modules()
        if isinstance(block, CrossModalityBlock) and block.uniform
        for part in (block.query, block.key)
        for parameter in part.parameters()
        if parameter.requires_grad
    ]


@contextmanager
def freeze(parameters: Sequence[nn.Parameter]) -> Iterator[None]:
    """Freeze parameters inside the context."""
    for parameter in parameters:
        parameter.requires_grad_(False)
    yield
    for parameter in parameters:
        parameter.requires_grad_(True)


def sum_over_processes(values: Sequence[float], process: Process) -> list[float]:
    """Sum each value over all processes; every process gets the same sums."""
    if process.world == 1:
        return list(values)
    device = "cuda" if dist.get_backend() == "nccl" else "cpu"
    total = torch.tensor(values, dtype=torch.float64, device=device)
    dist.all_reduce(total)
    result: list[float] = total.tolist()
    return result


def gather_from_processes(value: Any, process: Process) -> list[Any]:
    """Collect a picklable value from every process; every process gets the same list."""
    if process.world == 1:
        return [value]
    values = [None] * process.world
    dist.all_gather_object(values, value)
    return values

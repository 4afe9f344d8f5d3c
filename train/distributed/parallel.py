"""Training in several processes, on GPUs or CPUs of one or more machines, with Ray Train.

One process is the default and does not need Ray. With several, each process takes its share of
every batch. Gradients are averaged (DistributedDataParallel) and batch normalization sees the
whole batch. The result is therefore that of one process with the same batch, except for rounding
and for dropout, which is random in each process.
"""

import os
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from flowkit.extraction.ray_cluster import find_address, open_ray
from models.networks.two_stream import TwoStream
from train.distributed.synchronize import synchronize_batch_norms
from train.runs.run import RunError, Settings

START_SECONDS = "600"  # for all processes to start


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


def make_autocast(settings: Settings, device: torch.device) -> Any:
    """Make an autocast context, in which a network computes in the precision of the settings."""
    dtype: torch.dtype = getattr(torch, settings.precision)
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
        outer = DistributedDataParallel(network, device_ids=devices)
    if compiled:
        outer = torch.compile(outer)
    return outer, network


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


def launch(work: Callable[[Process], None], settings: Settings) -> None:
    """Run a function in each of several training processes.

    Args:
        work: The function. It must be picklable, and the folders that it names must be the same on
            all nodes.
        settings: The number of processes and their resources.

    Raises:
        RunError: A process failed.
    """
    on_gpu = settings.device == "cuda"
    share = {"CPU": 1 if not on_gpu else max(1, settings.workers)}
    # One core more than needed, because the trainer of older Ray versions uses one itself.
    cores = max(len(os.sched_getaffinity(0)), settings.processes * share["CPU"] + 1)
    gpus = torch.cuda.device_count() if on_gpu else 0
    # On a busy machine importing PyTorch may take more than 30 s. After this time Ray Train would
    # stop the processes and start them again, without end.
    environment = {"RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": START_SECONDS}
    with (
        open_ray(find_address(None), cores, gpus, environment),
        tempfile.TemporaryDirectory() as folder,
    ):
        from ray.train import FailureConfig, RunConfig, ScalingConfig
        from ray.train.torch import TorchTrainer

        trainer = TorchTrainer(
            run_worker,
            train_loop_config={"work": work},
            scaling_config=ScalingConfig(
                num_workers=settings.processes, use_gpu=on_gpu, resources_per_worker=share
            ),
            run_config=RunConfig(storage_path=folder, failure_config=FailureConfig(max_failures=0)),
        )
        try:
            trainer.fit()
        except Exception as error:
            reason = str(error.__cause__ or error).strip().splitlines()
            raise RunError(
                f"a training process failed: {reason[-1] if reason else type(error).__name__}. "
                "Run the same command again to continue from the last checkpoint"
            ) from error


def run_worker(config: dict[str, Any]) -> None:
    """Run the work of one Ray Train worker."""
    from ray.train import get_context

    context = get_context()
    gpu = context.get_local_rank() if torch.cuda.device_count() > 1 else 0
    rank, world = context.get_world_rank(), context.get_world_size()
    config["work"](Process(rank=rank, world=world, gpu=gpu))

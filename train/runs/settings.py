"""Build training settings with defaults for this machine."""

import os
from typing import Any, Literal

import torch

from flowkit.errors import UsageError
from train.runs.run import Settings


def make_settings(
    device: str, workers: int | None, threads: int | None, processes: int = 1, **more: Any
) -> Settings:
    """Build settings. Values that are None are chosen by the number of CPU cores.

    Args:
        device: "cpu", "cuda", or "auto" to use a GPU if PyTorch finds one.
        workers: Number of data loading processes. Default: half of the cores when training on the
            CPU, all cores but one when training on a GPU.
        threads: Number of PyTorch CPU threads. Default: the cores that `workers` leaves free.
        processes: Number of processes that train together on this machine.
        **more: Other fields of `Settings`.

    Returns:
        The settings.

    Raises:
        UsageError: There is no such device, or another value is out of range.
    """
    if device not in ("auto", "cpu", "cuda"):
        raise UsageError(f"device: expected auto, cpu or cuda, got {device!r}")
    chosen: Literal["cpu", "cuda"] = "cuda" if device == "cuda" else "cpu"
    if device == "auto" and torch.cuda.is_available():
        chosen = "cuda"
    cores = max(1, len(os.sched_getaffinity(0)) // max(1, processes))
    if workers is None:
        workers = max(1, cores - 1) if chosen == "cuda" else cores // 2
    if threads is None:
        threads = max(1, cores - workers)
    return Settings(device=chosen, processes=processes, workers=workers, threads=threads, **more)

"""Settings of a training process, with the defaults of this machine."""

import os
from typing import Any, Literal

import torch

from train.runs.run import Settings


def make_settings(
    device: str, workers: int | None, threads: int | None, processes: int = 1, **more: Any
) -> Settings:
    """Make settings; what is None is chosen by the number of cores.

    Args:
        device: "cpu", "cuda", or "auto" for the GPU where torch sees one.
        workers: Processes that load data. Default: half of the cores (CPU), all but one (GPU).
        threads: CPU threads of torch. Default: the cores that no loader process takes.
        processes: Processes that train together on this machine.
        **more: Other fields of `Settings`.
    """
    chosen: Literal["cpu", "cuda"] = "cuda" if device == "cuda" else "cpu"
    if device == "auto" and torch.cuda.is_available():
        chosen = "cuda"
    cores = max(1, len(os.sched_getaffinity(0)) // processes)
    if workers is None:
        workers = max(1, cores - 1) if chosen == "cuda" else cores // 2
    if threads is None:
        threads = max(1, cores - workers)
    return Settings(device=chosen, processes=processes, workers=workers, threads=threads, **more)

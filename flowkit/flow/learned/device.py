"""Choose the device that computes learned flow.

A store records it with each video, as it records the backend of TV-L1: ``torch-cuda`` or
``torch-cpu``.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from flowkit.errors import FlowError

DEVICES = {"torch-cuda": "cuda", "torch-cpu": "cpu"}
"""Name of each backend of learned flow, and PyTorch's name of its device."""
CUDA, CPU = DEVICES


def choose_device_backend() -> str:
    """Return ``torch-cuda`` if PyTorch can use a GPU here, else ``torch-cpu``."""
    return CPU if find_cuda_obstacle() else CUDA


def find_cuda_obstacle() -> str | None:
    """Find out why PyTorch cannot use a GPU here.

    Returns:
        The reason in one line; None if it can use one.
    """
    import torch

    if torch.cuda.is_available():
        return None
    return f"torch {torch.__version__} finds no GPU that it can use"


def check_device_backend(name: str) -> None:
    """Raise a FlowError if the device of a backend cannot be used here."""
    obstacle = find_cuda_obstacle() if name == CUDA else None
    if obstacle is not None:
        raise FlowError(f"learned flow cannot be computed with {name}: {obstacle}")


@contextmanager
def use_one_thread() -> Iterator[None]:
    """Let PyTorch compute with one CPU thread while the context is open.

    Sums depend on the number of threads in their last bits, and a store is to have the same bytes
    however many cores there are. A worker has one core anyway.
    """
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)

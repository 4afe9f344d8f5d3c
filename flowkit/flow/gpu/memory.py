"""Measure the memory of a GPU; importing this module needs neither Triton nor a GPU."""


def find_free_gpu_bytes() -> int:
    """Return the free memory of the current GPU in bytes, with what PyTorch holds in reserve."""
    import torch

    free, _ = torch.cuda.mem_get_info()
    return int(free + torch.cuda.memory_reserved() - torch.cuda.memory_allocated())

"""Compute flow with a learned method: pad, compute in batches that fit into memory, and crop.

A network is loaded once in a process, and used by one thread at a time: a GPU is busy with one
batch, and a second one would only need more memory.
"""

import threading
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from flowkit.errors import DeviceError, DeviceMemoryError, FlowError
from flowkit.flow.gpu.memory import find_free_gpu_bytes
from flowkit.flow.learned.device import (
    CUDA,
    DEVICES,
    check_device_backend,
    choose_device_backend,
    use_one_thread,
)
from flowkit.flow.learned.method import F32, U8, LearnedMethod
from flowkit.flow.learned.padding import crop_flow, find_size_obstacle, pad_frames
from flowkit.flow.learned.registry import find_method
from flowkit.flow.learned.weights import (
    choose_weights,
    digest_weights,
    load_network,
    read_weights,
)
from flowkit.path_text import printable_path

CPU_PAIRS = 1
"""Pairs of frames in a batch on a CPU, where larger batches are not faster."""
GPU_PAIRS = 64
"""Largest number of pairs of frames in a batch on a GPU, which keeps any GPU busy."""
MEMORY_SHARE = 0.7
"""Share of the free memory of a GPU that a batch may need by the method's estimate."""


class LearnedFlow:
    """A network that computes flow; its methods may be called from several threads.

    Args:
        name: Name of the method.
        method: The method.
        network: The network that the method loaded.
        backend: A key of `flowkit.flow.learned.device.DEVICES`.
    """

    def __init__(self, name: str, method: LearnedMethod, network: Any, backend: str) -> None:
        self._name, self._method, self._network = name, method, network
        self._on_gpu = backend == CUDA
        self._lock = threading.Lock()
        self._fitting_pairs: dict[tuple[int, int], int] = {}  # by size, after a batch did not fit

    def compute_batches(self, frames0: U8, frames1: U8) -> Iterator[F32]:
        """Compute the flow of pairs of frames, one batch after another.

        Args:
            frames0: RGB frames, uint8 (N, H, W, 3).
            frames1: RGB frames of the same shape.

        Yields:
            Displacements (x, y) in pixels from the frames of ``frames0`` to those of ``frames1``,
            float32 (n, H, W, 2). The batches together have N pairs.

        Raises:
            FlowError: The frames are too small or no RGB frames, or the flow holds NaN.
            DeviceMemoryError: Not even one pair fits into memory.
            DeviceError: The GPU failed.
        """
        check_rgb_frames(frames0, frames1)
        height, width = frames0.shape[1:3]
        obstacle = find_size_obstacle(self._name, self._method, width, height)
        if obstacle is not None:
            raise FlowError(obstacle)
        start = 0
        while start < len(frames0):
            with self._lock:
                pairs = self._count_pairs(height, width)
                stop = min(len(frames0), start + pairs)
                flow = self._compute_batch(frames0[start:stop], frames1[start:stop])
            if flow is None:
                continue  # a smaller batch may fit
            yield flow
            start = stop

    def _compute_batch(self, frames0: U8, frames1: U8) -> F32 | None:
        """Compute one batch; return None, and halve further batches, if it does not fit."""
        height, width = frames0.shape[1:3]
        padded = [pad_frames(frames, self._method.multiple) for frames in (frames0, frames1)]
        try:
            with nullcontext() if self._on_gpu else use_one_thread():
                flow = self._method.compute(self._network, *padded)
        except RuntimeError as error:
            if not is_out_of_memory(error):
                if not self._on_gpu:
                    raise
                message = " ".join(str(error).split())
                raise DeviceError(f"the GPU failed: {type(error).__name__}: {message}") from error
            if len(frames0) == 1:
                raise self._make_memory_error(height, width) from error
        else:
            if np.isnan(flow).any():
                raise FlowError(
                    f"{self._name} computed values that are not numbers: expected displacements "
                    "in pixels. Use other weights (--flow-weights FILE)"
                )
            return crop_flow(flow, height, width, self._method.multiple)
        # Outside the except clause, so that the traceback no longer holds the tensors.
        self._fitting_pairs[height, width] = (len(frames0) + 1) // 2
        import torch

        torch.cuda.empty_cache()  # does nothing without a GPU
        return None

    def _count_pairs(self, height: int, width: int) -> int:
        """Return the number of pairs in a batch, at least 1."""
        pair_bytes = self._estimate_bytes(height, width)
        if not self._on_gpu:
            if pair_bytes > psutil.virtual_memory().available:
                raise self._make_memory_error(height, width)
            return CPU_PAIRS
        pairs = min(GPU_PAIRS, int(MEMORY_SHARE * find_free_gpu_bytes()) // pair_bytes)
        return max(1, min(pairs, self._fitting_pairs.get((height, width), pairs)))

    def _make_memory_error(self, height: int, width: int) -> DeviceMemoryError:
        need = self._estimate_bytes(height, width) / 2**20
        place = "the GPU's memory" if self._on_gpu else "memory"
        return DeviceMemoryError(
            f"a pair of {width}x{height} frames needs about {need:,.0f} MiB of {place} with "
            f"{self._name}, and less is free: store smaller frames (--short-side 256)"
        )

    def _estimate_bytes(self, height: int, width: int) -> int:
        """Estimate the bytes of memory that one pair of frames needs, with their padding."""
        rows, columns = (side + -side % self._method.multiple for side in (height, width))
        return self._method.estimate_bytes(rows, columns)


_loaded: dict[tuple[str, Path, str, str], LearnedFlow] = {}
_load_lock = threading.Lock()


def load_learned_flow(name: str, path: Path, digest: str, backend: str) -> LearnedFlow:
    """Load a network once in this process.

    Args:
        name: Name of the method.
        path: The weight file.
        digest: Digest that its weights must have, see `digest_weights`.
        backend: A key of `flowkit.flow.learned.device.DEVICES`.

    Raises:
        UsageError: No method has that name.
        FlowError: The method cannot run here, or the file cannot be read or has other weights.
    """
    key = (name, path, digest, backend)
    with _load_lock:
        if key not in _loaded:
            check_device_backend(backend)
            weights = read_weights(path)
            actual = digest_weights(weights)
            if actual != digest:
                raise FlowError(
                    f"{printable_path(path)} holds other weights than the store's flow was "
                    f"computed with: expected digest {digest}, got {actual}. Name the right file "
                    "with --flow-weights FILE"
                )
            network = load_network(name, path, weights, DEVICES[backend])
            _loaded[key] = LearnedFlow(name, find_method(name), network, backend)
        return _loaded[key]


def learned_flow(
    frames0: U8,
    frames1: U8,
    method: str = "raft_large",
    weights: Path | str | None = None,
    backend: str = "auto",
) -> F32:
    """Compute the optical flow of one pair of frames, or of many pairs, with a learned method.

    Args:
        frames0: RGB frames (H, W, 3) or (N, H, W, 3), uint8.
        frames1: RGB frames of the same shape.
        method: A key of `METHODS`.
        weights: The weight file; None for the file in PyTorch's cache. Nothing is downloaded.
        backend: "torch-cuda", "torch-cpu", or "auto" for a GPU where there is one.

    Returns:
        float32 (H, W, 2) or (N, H, W, 2), displacement (x, y) in pixels from a frame of `frames0`
        to the frame of `frames1` at the same index.

    Raises:
        UsageError: No method has that name.
        FlowError: The method cannot run here, its weights are missing or of another network, or
            the frames cannot be used.

    Example:
        flow = learned_flow(frame0, frame1, "raft_small", weights="raft_small.pth")
    """
    found = choose_weights(method, None if weights is None else Path(weights))
    backend = choose_device_backend() if backend == "auto" else backend
    network = load_learned_flow(method, found.path, found.digest, backend)
    is_pair = getattr(frames0, "ndim", 0) == 3
    if is_pair:
        frames0, frames1 = frames0[None], frames1[None] if hasattr(frames1, "ndim") else frames1
    batches = list(network.compute_batches(frames0, frames1))
    flow = np.concatenate([np.empty((0, *frames0.shape[1:3], 2), np.float32), *batches])
    return flow[0] if is_pair else flow


def check_rgb_frames(frames0: Any, frames1: Any) -> None:
    """Raise a FlowError if two arrays are not batches of RGB frames of the same shape."""
    for name, frames in (("frames0", frames0), ("frames1", frames1)):
        is_rgb = isinstance(frames, np.ndarray) and frames.ndim == 4 and frames.shape[3] == 3
        if not is_rgb or frames.dtype != np.uint8 or 0 in frames.shape[1:3]:
            shape = getattr(frames, "shape", type(frames).__name__)
            dtype = getattr(frames, "dtype", "no array")
            raise FlowError(
                f"{name} must be RGB frames, uint8 of shape (N, H, W, 3), got {shape} of {dtype}"
            )
    if frames0.shape != frames1.shape:
        raise FlowError(
            f"frames0 and frames1 must have the same shape, got {frames0.shape} and {frames1.shape}"
        )


def is_out_of_memory(error: RuntimeError) -> bool:
    """Return whether PyTorch raised an error because memory was not enough."""
    import torch

    # The allocator of the CPU raises a plain RuntimeError.
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)

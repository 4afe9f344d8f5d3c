# ruff: noqa: N803, N806
"""Compute TV-L1 optical flow on CUDA GPUs with kernels compiled by Triton, many pairs per launch.

Paper, equations, symbols, semantics and deviations are those of `cpu/tvl1.py`. The only differences
from it are in rounding: sums are computed in another order, so occasionally a pair stops an
iteration sooner or later, and 1/(n₁n₂) is the square of an approximate root.

One program solves one pair, from the coarsest level to the last iteration, and ends. Pairs never
wait for each other or for the host, a pair that has converged makes room for the next one, and the
bits of a pair do not depend on other pairs. There are two kinds of launches: one for each level of
all frames' pyramids, and one for everything else.

Cost of a pixel-iteration, that is, of one iteration at one pixel (compiled for sm_90; ITEMS = 8
warps, DEPTH = 4):

    memory        16 bytes, where one iteration at a time would move 64: 40 bytes are read and 24
                  written for every 4 iterations
    instructions  69, of which 3 are roots; 545–552 for a step of 2 columns × 4 iterations,
                  depending on Triton's version (3.4 to 3.9)
    registers     128 per thread without spills: 2 programs, that is 16 warps, per multiprocessor
    overlap       35 % of the work is repeated where strips overlap (256×256, the levels of `paper`)

An H200 (132 multiprocessors × 4 warps at 1.98 GHz, 4.8 TB/s) could issue 132 · 4 · 32 · 1.98e9 / 69
= 485 G pixel-iterations per second, of which 315 G remain without the overlap. Its memory allows
300 G. The two bounds are about equal, so deeper blocking (more registers, fewer warps) would gain
nothing. Real videos need 6–47 M pixel-iterations per pair at 256×256, 27 M on average, so the
bounds are near 11,000 pairs per second. `benchmarks/kernels.py` computes these counts from the
compiled kernels; the measured rates are in benchmarks/RESULTS.md.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import triton

from flowkit.errors import DeviceError, DeviceMemoryError
from flowkit.flow.backends import is_interpreted
from flowkit.flow.gpu.layout import BLOCK, DEPTH, ITEMS, TUNING, PyramidLayout, plan_levels
from flowkit.flow.gpu.memory import find_free_gpu_bytes
from flowkit.flow.gpu.pyramid import build_level
from flowkit.flow.gpu.solve import solve
from flowkit.flow.params import TVL1Params
from flowkit.flow.pyramid import F32

U8 = npt.NDArray[np.uint8]

MAX_PAIRS = 1024
"""Largest number of pairs in a batch: several times as many as any GPU runs at once."""
MEMORY_SHARE = 0.5
"""Share of the free memory that a batch may use; other threads and processes need the rest."""


def solve_pairs(
    frames0_NHW: npt.NDArray[Any], frames1_NHW: npt.NDArray[Any], params: TVL1Params
) -> F32:
    """Compute the flow from each frame of frames0 to the same frame of frames1.

    Args:
        frames0_NHW: uint8 or float32 (N, H, W), values 0–255.
        frames1_NHW: uint8 or float32 (N, H, W), values 0–255.
        params: Parameters of TV-L1.

    Returns:
        float32 (N, H, W, 2), displacement (x, y) in pixels.

    Raises:
        FlowError: The frames are too large, or the GPU failed or has too little memory.
    """

    def make_batch(start: int, stop: int) -> Batch:
        count = stop - start
        frames = np.concatenate([frames0_NHW[start:stop], frames1_NHW[start:stop]])
        return Batch(frames, np.arange(count), np.arange(count) + count)

    return solve_in_batches(len(frames0_NHW), make_batch, params)


def solve_video(frames_THW: npt.NDArray[Any], params: TVL1Params) -> F32:
    """Compute the flow from each frame to the next; each pyramid is built once.

    Args:
        frames_THW: uint8 or float32 (T, H, W), values 0–255.
        params: Parameters of TV-L1.

    Returns:
        float32 (T−1, H, W, 2), displacement (x, y) in pixels.

    Raises:
        FlowError: The frames are too large, or the GPU failed or has too little memory.
    """
    return solve_in_batches(len(frames_THW) - 1, make_video_batcher(frames_THW), params)


def solve_video_quantized(frames_THW: npt.NDArray[Any], params: TVL1Params, bound: float) -> U8:
    """Compute the flow from each frame to the next, and quantize it on the GPU.

    Args:
        frames_THW: uint8 or float32 (T, H, W), values 0–255.
        params: Parameters of TV-L1.
        bound: Displacement in pixels that becomes 255.

    Returns:
        uint8 (T−1, H, W, 2), with the same bits as `quantize(solve_video(frames, params), bound)`.

    Raises:
        FlowError: The frames are too large, or the GPU failed or has too little memory.
    """
    return solve_in_batches(len(frames_THW) - 1, make_video_batcher(frames_THW), params, bound)


@dataclass(frozen=True)
class Batch:
    """Frames, and the pairs of them to solve."""

    frames: npt.NDArray[Any]
    """uint8 or float32 (T, H, W), values 0–255."""
    first: npt.NDArray[np.int64]
    """(N,), index of each pair's first frame."""
    second: npt.NDArray[np.int64]
    """(N,), index of each pair's second frame."""


def make_video_batcher(frames_THW: npt.NDArray[Any]) -> Callable[[int, int], Batch]:
    """Make a function that returns the pairs ``start`` to ``stop`` − 1 of a video as a batch.

    Args:
        frames_THW: uint8 or float32 (T, H, W), values 0–255.

    Returns:
        (start, stop) → the batch.
    """

    def make_batch(start: int, stop: int) -> Batch:
        first = np.arange(stop - start)
        return Batch(frames_THW[start : stop + 1], first, first + 1)

    return make_batch


def solve_in_batches(
    count: int,
    make_batch: Callable[[int, int], Batch],
    params: TVL1Params,
    bound: float | None = None,
) -> npt.NDArray[Any]:
    """Solve pairs in batches that fit into the GPU's memory.

    A batch that does not fit after all is halved and tried again.

    Args:
        count: Number of pairs.
        make_batch: (start, stop) → the batch of these pairs.
        params: Parameters of TV-L1.
        bound: Displacement in pixels that becomes 255; None means not quantized.

    Returns:
        (N, H, W, 2), a view of planes: float32 in pixels, or uint8 if `bound` is given.

    Raises:
        DeviceMemoryError: Not even one pair fits.
        DeviceError: The GPU failed.
    """
    height, width = make_batch(0, 1).frames.shape[1:]
    levels = plan_levels(height, width, params)
    flow_N2HW = np.empty((count, 2, height, width), np.float32 if bound is None else np.uint8)
    size = min(count, MAX_PAIRS, count_pairs_in_memory(levels))
    start = 0
    while start < count:
        stop = min(start + size, count)
        try:
            with convert_cuda_errors():
                flow, _ = solve_batch(make_batch(start, stop), levels, params, bound)
                flow_N2HW[start:stop] = flow
        except torch.OutOfMemoryError as error:
            if size == 1:
                raise DeviceMemoryError(
                    f"a pair of {width}×{height} needs {levels.bytes_per_pair / 2**20:,.0f} MiB of "
                    "the GPU's memory, and less is free: use smaller frames or --backend numba"
                ) from error
            size = (min(size, stop - start) + 1) // 2
            continue
        start = stop
    return flow_N2HW.transpose(0, 2, 3, 1)


def count_pairs_in_memory(levels: PyramidLayout) -> int:
    """Count the pairs that fit into the GPU's free memory, at least 1."""
    if is_interpreted():
        return MAX_PAIRS
    with convert_cuda_errors():
        free = find_free_gpu_bytes()
    return max(1, int(MEMORY_SHARE * free / levels.bytes_per_pair))


@contextmanager
def convert_cuda_errors() -> Iterator[None]:
    """Convert a CUDA failure to DeviceError; running out of memory is not converted.

    Raises:
        DeviceError: CUDA failed inside the block.
    """
    try:
        yield
    except torch.OutOfMemoryError:
        raise
    except RuntimeError as error:
        if is_interpreted():
            raise
        message = " ".join(str(error).split())
        raise DeviceError(f"the GPU failed: {type(error).__name__}: {message}") from error


_thread_state = threading.local()
_interpreter_lock = threading.Lock()  # the interpreter runs one kernel at a time


def get_thread_stream() -> torch.cuda.Stream:
    """Return this thread's CUDA stream, so that the work of several threads runs concurrently."""
    if not hasattr(_thread_state, "stream"):
        _thread_state.stream = torch.cuda.Stream()
    return _thread_state.stream


def solve_batch(
    batch: Batch, levels: PyramidLayout, params: TVL1Params, bound: float | None
) -> tuple[npt.NDArray[Any], npt.NDArray[np.int64]]:
    """Solve all pairs of a batch in one launch.

    Args:
        batch: The frames and pairs.
        levels: Layout of the pyramid.
        params: Parameters of TV-L1.
        bound: Displacement in pixels that becomes 255; None means not quantized.

    Returns:
        The flow (N, 2, H, W), float32 in pixels or uint8, and the pixel-iterations of each pair
        (N,).
    """
    device = "cpu" if is_interpreted() else "cuda"
    with _interpreter_lock if is_interpreted() else torch.cuda.stream(get_thread_stream()):
        count, (height, width) = len(batch.first), batch.frames.shape[1:]
        frames = torch.tensor(batch.frames, device=device)
        pyramids = build_pyramids(frames, levels, params)
        indices = np.stack([batch.first, batch.second], axis=1)
        pairs = torch.tensor(indices, dtype=torch.int32, device=device)
        state = torch.zeros(count, 2 * levels.moving_size + levels.frozen_size, device=device)
        dtype = torch.float32 if bound is None else torch.uint8
        change_sums = torch.empty(count, device=device)
        flow_N2HW = torch.empty(count, 2, height, width, dtype=dtype, device=device)
        pixel_iterations_N = torch.empty(count, dtype=torch.int64, device=device)
        coarse, finest = params.get_schedule(finest=False), params.get_schedule(finest=True)
        solve[(count,)](
            pyramids, levels.pyramid_size, pairs, torch.tensor(levels.table, device=device),
            len(levels.table), state, levels.moving_size, levels.frozen_size, change_sums,
            flow_N2HW, pixel_iterations_N, coarse.warps, finest.warps, params.iterations,
            coarse.epsilon**2, finest.epsilon**2, 1 / params.scale_step,
            params.lambda_ * params.theta, params.tau, params.tau / params.theta, bound or 0.0,
            QUANTIZED=bound is not None,
            MEDIAN_SIDE=coarse.median_side, FINEST_MEDIAN_SIDE=finest.median_side,
            ITEMS=ITEMS, DEPTH=DEPTH, **TUNING,
        )  # fmt: skip
        return flow_N2HW.cpu().numpy(), pixel_iterations_N.cpu().numpy()


def build_pyramids(
    frames_THW: torch.Tensor, levels: PyramidLayout, params: TVL1Params
) -> torch.Tensor:
    """Build all levels of each frame, with their gradients.

    Args:
        frames_THW: uint8 or float32 (T, H, W) on the device, values 0–255.
        levels: Layout of the pyramid.
        params: Parameters of TV-L1.

    Returns:
        float32 (T, floats of a pyramid) on the device.
    """
    device = frames_THW.device
    pyramids = torch.empty(len(frames_THW), levels.pyramid_size, dtype=torch.float32, device=device)
    sources, source_offset, source_pitch = frames_THW, 0, levels.area
    (source_height, source_width), step = frames_THW.shape[1:], 1.0
    for height, width, _, _, offset in levels.table.tolist():
        build_level[(triton.cdiv(height * width, BLOCK), len(frames_THW))](
            sources, source_offset, source_pitch, source_height, source_width,
            pyramids, offset, levels.pyramid_size, height, width, step,
            BLOCK=BLOCK, enable_fp_fusion=True,
        )  # fmt: skip
        sources, source_offset, source_pitch = pyramids, offset, levels.pyramid_size
        source_height, source_width, step = height, width, 1 / params.scale_step
    return pyramids

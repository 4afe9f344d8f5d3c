# ruff: noqa: N803, N806
"""Compute TV-L1 optical flow on CUDA GPUs with kernels compiled by Triton, many pairs per launch.

Paper, equations, symbols, semantics and deviations are those of `cpu/tvl1.py`. The only differences
from it are in rounding: sums are computed in another order, so occasionally a pair stops an
iteration sooner or later, and 1/(n₁n₂) is the square of an approximate root.

One program solves one pair, from the coarsest level to the last iteration, and ends. Pairs never
wait for each other or for the host, a pair that has converged makes room for the next one, and the
bits of a pair do not depend on other pairs. There are two kinds of launches: one for each level of
all frames' pyramids, and one for everything else.

What an iteration of a pixel costs (compiled for sm_90; ITEMS = 8 warps, DEPTH = 4):

    moved        16 bytes of the 64 of a plain one: 40 read and 24 written every 4 iterations
    computed     69 instructions, 3 of them roots; 545–552 for a step of 2 columns × 4
                 iterations, by Triton's version (3.4 to 3.9)
    registers    128 a thread, nothing spilled: 2 programs, 16 warps on each multiprocessor
    wasted       of the lanes' work, what overlaps: 35 % at 256×256 over the levels of `paper`

An H200 (132 multiprocessors × 4 warps at 1.98 GHz, 4.8 TB/s) could issue 132 · 4 · 32 · 1.98e9 / 69
= 485 G pixel-iterations per second, 315 G less the waste, and move 300 G. The two bounds are about
equal, so deeper blocking (more registers, fewer warps) would gain nothing. Real clips take 6–47 M
pixel-iterations per pair at 256×256, 27 M on average, so the bounds are near 11,000 pairs per
second. `benchmarks/kernels.py` computes these counts from the compiled kernels; the measured rates
are in benchmarks/RESULTS.md.
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

from flowkit.errors import DeviceError, DeviceMemoryError, FlowError
from flowkit.flow.backends import is_interpreted
from flowkit.flow.gpu.iterate import GROUP
from flowkit.flow.gpu.pyramid import build_level
from flowkit.flow.gpu.solve import solve
from flowkit.flow.gpu.state import FROZEN, MOVING, SPAN, count_blocks
from flowkit.flow.params import TVL1Params
from flowkit.flow.pyramid import F32, compute_level_sizes

U8 = npt.NDArray[np.uint8]

WARPS = 8
"""Warps of a program, each of which takes a strip."""
REGISTERS = 128
"""Registers per thread, so that two programs fit on a multiprocessor."""
DEPTH = 4
"""Iterations in flight."""
MAX_PAIRS = 1024
"""Most pairs in a batch: several times as many as any GPU runs at once."""
MEMORY_SHARE = 0.5
"""Share of the free memory that a batch may take; other threads and processes need the rest."""

# Strips done at a time, and pixels of a program of build_level. The interpreter has no warps, and
# its time depends on the number of operations, not on their size.
ITEMS, BLOCK = (32, 8192) if is_interpreted() else (WARPS, 256)


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
    """Make a function that returns the batch of pairs from start to stop of a video.

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


@dataclass(frozen=True)
class PyramidLayout:
    """Sizes and offsets of a pyramid and of a pair's state; level 0 is the full image."""

    table: npt.NDArray[np.int32]
    """int32 (levels, 5): height, width, blocks in a row, chunks of rows that a sweep is divided
    into, and offset of the level in a frame's pyramid.
    """
    pyramid: int
    """Floats of a frame's pyramid."""
    moving: int
    """Floats of one side of the moving planes of a pair's state."""
    frozen: int
    """Floats of the frozen planes of a pair's state."""

    @property
    def bytes_per_pair(self) -> int:
        """Most bytes of a pair: two frames and the state (the pairs of a video share frames)."""
        return 4 * (2 * self.pyramid + 2 * self.moving + self.frozen) + 12 * self.area

    @property
    def area(self) -> int:
        """Pixels of the full image."""
        return int(self.table[0, 0]) * int(self.table[0, 1])


def plan_levels(height: int, width: int, params: TVL1Params) -> PyramidLayout:
    """Compute the layout for frames of a given size.

    Args:
        height: Height of the frames in pixels.
        width: Width of the frames in pixels.
        params: Parameters of TV-L1.

    Returns:
        The layout.

    Raises:
        FlowError: The frames are too large for 32-bit offsets.
    """
    rows, offset = [], 0
    for h, w in compute_level_sizes(height, width, params):
        rows.append((h, w, count_blocks(w), choose_chunks(h, w), offset))
        offset += 3 * h * w
    span = height * count_blocks(width) * SPAN.value
    if max(offset, MOVING.value * span) >= 1 << 31:  # offsets within a pair are 32-bit
        raise FlowError(
            f"frames of {width}×{height} are too large for the triton backend, which supports "
            "at most 250 million pixels: use --backend numba"
        )
    return PyramidLayout(np.array(rows, np.int32), offset, MOVING.value * span, FROZEN.value * span)


def choose_chunks(height: int, width: int) -> int:
    """Choose the number of chunks of rows with which a sweep has the fewest steps.

    Args:
        height: Height of the image in pixels.
        width: Width of the image in pixels.

    Returns:
        The number of chunks.
    """
    counts = range(1, min(height, 4 * ITEMS) + 1)
    return min(counts, key=lambda chunks: count_steps(height, width, chunks))


def count_steps(height: int, width: int, chunks: int) -> int:
    """Count the steps of a sweep.

    Strips × chunks are done ITEMS at a time; each takes one step for each row, and 2·DEPTH more.

    Args:
        height: Height of the image in pixels.
        width: Width of the image in pixels.
        chunks: Number of chunks of rows.

    Returns:
        The number of steps.
    """
    span: int = SPAN.value
    group: int = GROUP.value
    strips = 1 + -(-max(width - span, 0) // ((span - 2 * DEPTH) // group * group))
    return -(-strips * chunks // ITEMS) * (-(-height // chunks) + 2 * DEPTH)


def count_pairs_in_memory(levels: PyramidLayout) -> int:
    """Count the pairs that fit into the GPU's free memory, at least 1."""
    if is_interpreted():
        return MAX_PAIRS
    with convert_cuda_errors():
        free = torch.cuda.mem_get_info()[0]
        free += torch.cuda.memory_reserved() - torch.cuda.memory_allocated()
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
        text = " ".join(str(error).split())
        raise DeviceError(f"the GPU failed: {type(error).__name__}: {text}") from error


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
    """Solve the pairs of a batch at once.

    Args:
        batch: The frames and pairs.
        levels: Layout of the pyramid.
        params: Parameters of TV-L1.
        bound: Displacement in pixels that becomes 255; None means not quantized.

    Returns:
        The flow (N, 2, H, W), float32 in pixels or uint8, and the pixel-iterations of each pair
        (N,).
    """
    if is_interpreted():
        with _interpreter_lock:
            return solve_batch_on_device("cpu", batch, levels, params, bound)
    with torch.cuda.stream(get_thread_stream()):
        return solve_batch_on_device("cuda", batch, levels, params, bound)


def solve_batch_on_device(
    device: str, batch: Batch, levels: PyramidLayout, params: TVL1Params, bound: float | None
) -> tuple[npt.NDArray[Any], npt.NDArray[np.int64]]:
    """Solve the pairs of a batch on a device, in the current stream.

    Args:
        device: "cuda", or "cpu" for the interpreter.
        batch: The frames and pairs.
        levels: Layout of the pyramid.
        params: Parameters of TV-L1.
        bound: Displacement in pixels that becomes 255; None means not quantized.

    Returns:
        As `solve_batch`.
    """
    count, (height, width) = len(batch.first), batch.frames.shape[1:]
    pyramids = build_pyramids(copy_to_device(batch.frames, device), levels, params)
    pairs = copy_to_device(np.stack([batch.first, batch.second], axis=1).astype(np.int32), device)
    state = torch.zeros(count, 2 * levels.moving + levels.frozen, device=device)
    dtype = torch.float32 if bound is None else torch.uint8
    change_sums = torch.empty(count, device=device)
    flow_N2HW = torch.empty(count, 2, height, width, dtype=dtype, device=device)
    pixel_iterations_N = torch.empty(count, dtype=torch.int64, device=device)
    coarse, finest = params.get_schedule(finest=False), params.get_schedule(finest=True)
    solve[(count,)](
        pyramids, levels.pyramid, pairs, copy_to_device(levels.table, device), len(levels.table),
        state, levels.moving, levels.frozen, change_sums, flow_N2HW, pixel_iterations_N,
        coarse.warps, finest.warps, params.iterations, coarse.epsilon**2, finest.epsilon**2,
        1 / params.scale_step, params.lambda_ * params.theta, params.tau, params.tau / params.theta,
        0.0 if bound is None else bound, QUANTIZED=bound is not None,
        MEDIAN_SIDE=coarse.median_side, FINEST_MEDIAN_SIDE=finest.median_side,
        ITEMS=ITEMS, DEPTH=DEPTH,
        num_warps=WARPS, num_stages=1, maxnreg=REGISTERS, enable_fp_fusion=True,
    )  # fmt: skip
    return flow_N2HW.cpu().numpy(), pixel_iterations_N.cpu().numpy()


def copy_to_device(values: npt.NDArray[Any], device: str) -> torch.Tensor:
    """Copy an array to the device."""
    return torch.tensor(values, device=device)


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
    pyramids = torch.empty(
        len(frames_THW), levels.pyramid, dtype=torch.float32, device=frames_THW.device
    )
    sources, source_offset, source_pitch = frames_THW, 0, levels.area
    (source_height, source_width), step = frames_THW.shape[1:], 1.0
    for height, width, _, _, offset in levels.table.tolist():
        build_level[(len(frames_THW), triton.cdiv(height * width, BLOCK))](
            sources, source_offset, source_pitch, source_height, source_width,
            pyramids, offset, levels.pyramid, height, width, step,
            BLOCK=BLOCK, enable_fp_fusion=True,
        )  # fmt: skip
        sources, source_offset, source_pitch = pyramids, offset, levels.pyramid
        source_height, source_width, step = height, width, 1 / params.scale_step
    return pyramids

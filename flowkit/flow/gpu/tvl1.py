# ruff: noqa: N803, N806
"""TV-L1 optical flow on CUDA GPUs, compiled by Triton, many pairs in one launch.

Paper, equations, symbols and semantics are those of `cpu/tvl1.py`; so are the departures.
Departs from it by rounding only: sums are taken in another order, so that now and then a pair
stops an iteration sooner or later, and 1/(n₁n₂) is the square of an approximate root.

One program solves one pair, from the coarsest level to the last iteration, and ends: pairs
never wait for each other or for the host, a pair that has converged makes room for the next
one, and a pair's bits depend on nothing beside it. There are two kinds of launches: one for
each level of all frames' pyramids, and one for everything else.

What an iteration of a pixel costs (compiled for sm_90; ITEMS = 8 warps, DEPTH = 4):

    moved        16 bytes of the 64 of a plain one: 40 read and 24 written every 4 iterations
    computed     69 instructions, 3 of them roots; 545–552 for a step of 2 columns × 4
                 iterations, by Triton's version (3.4 to 3.9)
    registers    128 a thread, nothing spilled: 2 programs, 16 warps on each multiprocessor
    wasted       of the lanes' work, what overlaps: 35 % at 256×256 over the levels of `paper`

An H200 (132 multiprocessors × 4 warps at 1.98 GHz, 4.8 TB/s) could issue 132 · 4 · 32 · 1.98e9
/ 69 = 485 G pixel-iterations a second, 315 G less the waste, and move 300 G: the two bounds
meet, so deeper blocking (more registers, fewer warps) has nothing left to gain. Real clips take
6–47 M pixel-iterations a pair at 256×256, 27 M on average, so the bounds lie near 11,000 pairs
a second. `benchmarks/kernels.py` counts all this from the compiled kernels; what was reached is
in benchmarks/RESULTS.md.
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

WARPS = 8  # of a program, each with a strip
REGISTERS = 128  # a thread: two programs on a multiprocessor
DEPTH = 4  # iterations in flight
MOST_PAIRS = 1024  # at once: several times what runs side by side on any GPU
MEMORY_SHARE = 0.5  # of what is free: other threads and processes take theirs

# Strips done at a time, and pixels of a program of build_level. The interpreter knows no warps,
# and pays for the number of operations, not for their size.
ITEMS, BLOCK = (32, 8192) if is_interpreted() else (WARPS, 256)


def solve_pairs(
    frames0_NHW: npt.NDArray[Any], frames1_NHW: npt.NDArray[Any], params: TVL1Params
) -> F32:
    """Flow from each frame of frames0 to the one of frames1: (N, H, W) twice → (N, H, W, 2)."""

    def take(start: int, stop: int) -> Batch:
        count = stop - start
        frames = np.concatenate([frames0_NHW[start:stop], frames1_NHW[start:stop]])
        return Batch(frames, np.arange(count), np.arange(count) + count)

    return solve_in_batches(len(frames0_NHW), take, params)


def solve_video(frames_THW: npt.NDArray[Any], params: TVL1Params) -> F32:
    """Flow from each frame to the next: (T, H, W) → (T−1, H, W, 2); each pyramid is built once."""
    return solve_in_batches(len(frames_THW) - 1, take_from(frames_THW), params)


def solve_video_quantized(frames_THW: npt.NDArray[Any], params: TVL1Params, bound: float) -> U8:
    """As `quantize(solve_video(frames, params), bound)`, done on the GPU: (T−1, H, W, 2) uint8."""
    return solve_in_batches(len(frames_THW) - 1, take_from(frames_THW), params, bound)


@dataclass(frozen=True)
class Batch:
    """Frames (T, H, W), and which of them each of N pairs goes from and to, (N,) each."""

    frames: npt.NDArray[Any]
    first: npt.NDArray[np.int64]
    second: npt.NDArray[np.int64]


def take_from(frames_THW: npt.NDArray[Any]) -> Callable[[int, int], Batch]:
    """How to take the pairs from start to stop out of a video."""

    def take(start: int, stop: int) -> Batch:
        first = np.arange(stop - start)
        return Batch(frames_THW[start : stop + 1], first, first + 1)

    return take


def solve_in_batches(
    count: int, take: Callable[[int, int], Batch], params: TVL1Params, bound: float | None = None
) -> npt.NDArray[Any]:
    """Solve `count` pairs, as many at once as memory allows; halves the batch where it does not.

    Returns (N, H, W, 2), a view of planes: float32 in pixels, or bytes where `bound` is given.
    """
    height, width = take(0, 1).frames.shape[1:]
    levels = plan_levels(height, width, params)
    flow_N2HW = np.empty((count, 2, height, width), np.float32 if bound is None else np.uint8)
    size = min(count, MOST_PAIRS, count_affordable(levels))
    start = 0
    while start < count:
        stop = min(start + size, count)
        try:
            with guard_device():
                flow_N2HW[start:stop] = solve_batch(take(start, stop), levels, params, bound)[0]
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
class Levels:
    """What the kernels need to know of a pyramid; level 0 is the full image.

    ``table``: for each level its height, width, blocks in a row, chunks of rows that a sweep
    is done in, and where the level begins in a frame's pyramid. ``pyramid``, ``moving`` and
    ``frozen`` are float32 counts: a frame's pyramid, one side of a pair's state, the rest of it.
    """

    table: npt.NDArray[np.int32]
    pyramid: int
    moving: int
    frozen: int

    @property
    def bytes_per_pair(self) -> int:
        """Two frames and the state, at most (a video's pairs share frames)."""
        return 4 * (2 * self.pyramid + 2 * self.moving + self.frozen) + 12 * self.area

    @property
    def area(self) -> int:
        return int(self.table[0, 0]) * int(self.table[0, 1])


def plan_levels(height: int, width: int, params: TVL1Params) -> Levels:
    """Lay out the levels of frames of that size. Raises FlowError for frames beyond all reason."""
    rows, offset = [], 0
    for h, w in compute_level_sizes(height, width, params):
        rows.append((h, w, count_blocks(w), choose_chunks(h, w), offset))
        offset += 3 * h * w
    span = height * count_blocks(width) * SPAN.value
    if max(offset, MOVING.value * span) >= 1 << 31:  # offsets within a pair are 32-bit
        raise FlowError(
            f"frames of {width}×{height} are too large for the triton backend, which ends at "
            "250 million pixels: use --backend numba"
        )
    return Levels(np.array(rows, np.int32), offset, MOVING.value * span, FROZEN.value * span)


def choose_chunks(height: int, width: int) -> int:
    """Into how many chunks of rows to cut an image, so that a sweep has the fewest steps."""
    counts = range(1, min(height, 4 * ITEMS) + 1)
    return min(counts, key=lambda chunks: count_steps(height, width, chunks))


def count_steps(height: int, width: int, chunks: int) -> int:
    """Steps of a sweep: strips × chunks are done ITEMS at a time, a row a step, 2·DEPTH more."""
    span: int = SPAN.value
    group: int = GROUP.value
    strips = 1 + -(-max(width - span, 0) // ((span - 2 * DEPTH) // group * group))
    return -(-strips * chunks // ITEMS) * (-(-height // chunks) + 2 * DEPTH)


def count_affordable(levels: Levels) -> int:
    """How many pairs fit in the GPU's free memory, at least 1."""
    if is_interpreted():
        return MOST_PAIRS
    with guard_device():
        free = torch.cuda.mem_get_info()[0]
        free += torch.cuda.memory_reserved() - torch.cuda.memory_allocated()
    return max(1, int(MEMORY_SHARE * free / levels.bytes_per_pair))


@contextmanager
def guard_device() -> Iterator[None]:
    """Turns a failure of CUDA into DeviceError; running out of memory is none."""
    try:
        yield
    except torch.OutOfMemoryError:
        raise
    except RuntimeError as error:
        if is_interpreted():
            raise
        text = " ".join(str(error).split())
        raise DeviceError(f"the GPU failed: {type(error).__name__}: {text}") from error


_thread = threading.local()
_interpreter = threading.Lock()  # it runs one kernel at a time


def own_stream() -> torch.cuda.Stream:
    """A CUDA stream for each thread, so that the work of several threads runs side by side."""
    if not hasattr(_thread, "stream"):
        _thread.stream = torch.cuda.Stream()
    return _thread.stream


def solve_batch(
    batch: Batch, levels: Levels, params: TVL1Params, bound: float | None
) -> tuple[npt.NDArray[Any], npt.NDArray[np.int64]]:
    """(N, 2, H, W) flow, float32 or quantized, and the pixel-iterations that each pair took."""
    if is_interpreted():
        with _interpreter:
            return solve_on("cpu", batch, levels, params, bound)
    with torch.cuda.stream(own_stream()):
        return solve_on("cuda", batch, levels, params, bound)


def solve_on(
    device: str, batch: Batch, levels: Levels, params: TVL1Params, bound: float | None
) -> tuple[npt.NDArray[Any], npt.NDArray[np.int64]]:
    """`solve_batch` on a device, in the current stream."""
    count, (height, width) = len(batch.first), batch.frames.shape[1:]
    pyramids = build_pyramids(send(batch.frames, device), levels, params)
    pairs = send(np.stack([batch.first, batch.second], axis=1).astype(np.int32), device)
    state = torch.zeros(count, 2 * levels.moving + levels.frozen, device=device)
    dtype = torch.float32 if bound is None else torch.uint8
    change_sums = torch.empty(count, device=device)
    flow_N2HW = torch.empty(count, 2, height, width, dtype=dtype, device=device)
    work_N = torch.empty(count, dtype=torch.int64, device=device)
    coarse, finest = params.get_schedule(finest=False), params.get_schedule(finest=True)
    solve[(count,)](
        pyramids, levels.pyramid, pairs, send(levels.table, device), len(levels.table),
        state, levels.moving, levels.frozen, change_sums, flow_N2HW, work_N,
        coarse.warps, finest.warps, params.iterations, coarse.epsilon**2, finest.epsilon**2,
        1 / params.scale_step, params.lambda_ * params.theta, params.tau, params.tau / params.theta,
        0.0 if bound is None else bound, QUANTIZED=bound is not None,
        MEDIAN_SIDE=coarse.median_side, FINEST_MEDIAN_SIDE=finest.median_side,
        ITEMS=ITEMS, DEPTH=DEPTH,
        num_warps=WARPS, num_stages=1, maxnreg=REGISTERS, enable_fp_fusion=True,
    )  # fmt: skip
    return flow_N2HW.cpu().numpy(), work_N.cpu().numpy()


def send(values: npt.NDArray[Any], device: str) -> torch.Tensor:
    """A copy of an array on the device."""
    return torch.tensor(values, device=device)


def build_pyramids(frames_THW: torch.Tensor, levels: Levels, params: TVL1Params) -> torch.Tensor:
    """(T, floats) float32: all levels of each frame with their gradients."""
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

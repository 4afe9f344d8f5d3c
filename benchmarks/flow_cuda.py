"""TV-L1 on a GPU: pairs per second by batch, beside what OpenCV's structure gives, and agreement.

Run as `python benchmarks/flow.py --device cuda`. With TRITON_INTERPRET=1 and a tiny `--size` the
same code runs without a GPU, to see that it does; its times then mean nothing.
"""

import subprocess
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path

import cv2
import launches
import numpy as np
import torch
import triton
from clips import Pair, read_pairs
from rich.console import Console
from rich.table import Table

from flowkit.flow import BACKENDS, PRESETS, TVL1Params, read_flo, tvl1
from flowkit.flow.backends import is_interpreted
from flowkit.flow.gpu.layout import plan_levels
from flowkit.flow.gpu.tvl1 import Batch, solve_batch

PAPER, BOUND = PRESETS["paper"], 20.0
INSTRUCTIONS, BYTES = 69.1, 16  # a pixel-iteration: benchmarks/kernels.py
console = Console(width=110)


def synchronize() -> None:
    if not is_interpreted():
        torch.cuda.synchronize()


def time_best(repeat: int, run: Callable[[], object]) -> float:
    """Best seconds of a run that leaves its result in host memory, after one to warm up."""
    run()
    best = float("inf")
    for _ in range(repeat):
        synchronize()
        begin = time.perf_counter()
        run()
        synchronize()
        best = min(best, time.perf_counter() - begin)
    return best


def make_batch(pairs: list[Pair]) -> Batch:
    count = len(pairs)
    frames = np.stack([first for first, _ in pairs] + [second for _, second in pairs])
    return Batch(frames, np.arange(count), np.arange(count) + count)


@dataclass(frozen=True)
class GPU:
    """What the GPU is, and what bounds the solver on it."""

    name: str
    multiprocessors: int
    memory_gib: float
    copy_bytes: float
    """Bytes a second that a copy on the device reads and writes."""

    driver: str
    clock_ghz: float
    """The highest clock of the multiprocessors, as the driver says."""

    @property
    def issue_rate(self) -> float:
        """Instructions a second at most, each of a warp of 32 lanes."""
        return self.multiprocessors * 4 * self.clock_ghz * 1e9


def inspect_gpu(clock_ghz: float = 1.98) -> GPU:
    """Ask the driver, and time a copy; `clock_ghz` counts where the driver says none."""
    if is_interpreted():
        return GPU("Triton's interpreter on the CPU: times mean nothing", 1, 0.0, 1.0, "", 1.0)
    properties = torch.cuda.get_device_properties(0)
    query = [
        "nvidia-smi",
        "--query-gpu=driver_version,clocks.max.sm",
        "--format=csv,noheader,nounits",
    ]
    try:
        answer = subprocess.run(query, capture_output=True, text=True, check=True).stdout
        driver, megahertz = answer.splitlines()[0].split(", ")
        clock_ghz = float(megahertz) / 1000
    except (OSError, subprocess.CalledProcessError, ValueError, IndexError):
        driver = "?"
    source = torch.empty(1 << 30, dtype=torch.uint8, device="cuda")
    target = torch.empty_like(source)
    moved = 2 * source.numel() / time_best(10, lambda: target.copy_(source))
    return GPU(
        properties.name, properties.multi_processor_count, properties.total_memory / 2**30, moved,
        driver, clock_ghz,
    )  # fmt: skip


@dataclass(frozen=True)
class BatchRates:
    """Pairs per second of batches, host memory to host memory, and the work of a pair."""

    alone: float
    two_threads: float
    work: float
    """Pixel-iterations of a pair on average."""

    @property
    def best(self) -> float:
        return max(self.alone, self.two_threads)

    @property
    def iterations(self) -> float:
        """Pixel-iterations a second."""
        return self.best * self.work


def measure_batch(
    pairs: list[Pair],
    size: int,
    params: TVL1Params,
    repeat: int,
    runs: int = 3,
    most_seconds: float = float("inf"),
) -> BatchRates:
    """Time batches in one thread, and in two with a stream each.

    Args:
        pairs: Pairs of frames, repeated to fill a batch.
        size: Pairs of a batch.
        params: Of the solver.
        repeat: How often each measurement is repeated; the best counts.
        runs: Batches that each of two threads solves while they are timed.
        most_seconds: Repeat less often where more than about this would go by.
    """
    height, width = pairs[0][0].shape
    levels = plan_levels(height, width, params)
    batch = make_batch(list(islice(cycle(pairs), size)))

    def run() -> np.ndarray:
        return solve_batch(batch, levels, params, BOUND)[1]

    def run_twice() -> None:
        with ThreadPoolExecutor(2) as threads:
            list(threads.map(lambda _: [run() for _ in range(runs)], range(2)))

    run()
    begin = time.perf_counter()
    work = run()
    once = time.perf_counter() - begin
    repeat = max(1, min(repeat, int(most_seconds / 2 / once)))
    alone = size / time_best(repeat, run)
    # Two threads take as long as two batches at worst.
    runs = max(1, min(runs, int(most_seconds / 2 / (2 * once))))
    repeat = max(1, min(repeat, int(most_seconds / 2 / (2 * once * runs)) - 1))
    return BatchRates(alone, 2 * runs * size / time_best(repeat, run_twice), float(work.mean()))


def show_speed(pairs: list[Pair], batches: list[int], repeat: int, gpu: GPU) -> float:
    """Print pairs per second by batch; returns the best."""
    height, width = pairs[0][0].shape
    best = 0.0
    table = Table(title=f"{width}×{height}, preset paper, host to host")
    for name in ("batch", "pairs/s", "two threads", "M pixel-iterations a pair",
                 "G pixel-iterations/s", "of the issue rate", "of the copy rate"):  # fmt: skip
        table.add_column(name, justify="right")
    for size in batches:
        rates = measure_batch(pairs, size, PAPER, repeat)
        best = max(best, rates.best)
        table.add_row(
            f"{size}", f"{rates.alone:,.0f}", f"{rates.two_threads:,.0f}",
            f"{rates.work / 1e6:.1f}", f"{rates.iterations / 1e9:.1f}",
            f"{rates.iterations * INSTRUCTIONS / 32 / gpu.issue_rate:.0%}",
            f"{rates.iterations * BYTES / gpu.copy_bytes:.0%}",
        )  # fmt: skip
    console.print(table)
    return best


@dataclass(frozen=True)
class OtherStructures:
    """Pairs per second of the same solver in OpenCV's structure, and of OpenCV itself."""

    launches: float
    distance: float
    """Mean endpoint distance of its flow to ours, in pixels."""

    opencv_cuda: float | None
    obstacle: str
    """Why OpenCV's CUDA class was not measured; empty where it was."""


def measure_others(pairs: list[Pair], params: TVL1Params, repeat: int) -> OtherStructures:
    """Time one pair at a time with two launches an iteration, and OpenCV's own class."""
    device = "cpu" if is_interpreted() else "cuda"

    launches.solve(*pairs[0], params, device)  # compile
    best = float("inf")
    for _ in range(repeat):
        begin = time.perf_counter()
        flows = [launches.solve(*pair, params, device) for pair in pairs]
        best = min(best, time.perf_counter() - begin)
    rate = len(pairs) / best
    distances = [
        np.linalg.norm(flow - tvl1(*pair, params, "triton"), axis=-1).mean()
        for flow, pair in zip(flows, pairs, strict=True)
    ]
    obstacle, opencv = BACKENDS["opencv-cuda"].find_obstacle() or "", None
    if not obstacle:
        seconds = time_best(repeat, lambda: [tvl1(*p, params, "opencv-cuda") for p in pairs])
        opencv = len(pairs) / seconds
    return OtherStructures(rate, float(np.mean(distances)), opencv, obstacle)


def show_others(pairs: list[Pair], best: float, repeat: int) -> None:
    found = measure_others(pairs, PAPER, repeat)
    console.print(
        f"one pair, two launches an iteration, checks on the host: {found.launches:,.1f} pairs/s; "
        f"ours is {best / found.launches:,.1f} × (bar: ≥ 20); mean distance "
        f"{found.distance:.4f} px"
    )
    if found.opencv_cuda is None:
        console.print(f"opencv-cuda: {found.obstacle}")
        return
    rate = found.opencv_cuda
    console.print(f"opencv-cuda: {rate:,.1f} pairs/s; ours is {best / rate:,.1f} ×")


@dataclass(frozen=True)
class Agreement:
    """How far the GPU's flow is from numba's, and whether its bits are always the same."""

    mean_distance: float
    worst_distance: float
    """The largest mean distance of a pair, in pixels."""

    same_twice: bool
    same_in_any_batch: bool


def compare_with_numba(pairs: list[Pair], params: TVL1Params) -> Agreement:
    """Solve pairs by both, again, in another order, and the first and last alone."""
    frames0, frames1 = (np.stack(frames) for frames in zip(*pairs, strict=True))
    flow = tvl1(frames0, frames1, params, "triton")
    distance = np.linalg.norm(flow - tvl1(frames0, frames1, params, "numba"), axis=-1)
    by_pair = distance.mean(axis=(1, 2))
    reversed_order = tvl1(frames0[::-1], frames1[::-1], params, "triton")[::-1]
    alone = [tvl1(frames0[i], frames1[i], params, "triton") for i in (0, -1)]
    return Agreement(
        float(by_pair.mean()),
        float(by_pair.max()),
        np.array_equal(tvl1(frames0, frames1, params, "triton"), flow),
        np.array_equal(reversed_order, flow)
        and all(np.array_equal(one, flow[i]) for i, one in zip((0, -1), alone, strict=True)),
    )


def check(sources: dict[str, list[Pair]]) -> None:
    """Agreement with numba, and the same bits in any batch and place."""
    for name, pairs in sources.items():
        found = compare_with_numba(pairs, PAPER)
        same = found.same_twice and found.same_in_any_batch
        console.print(
            f"{name}: mean distance to numba {found.mean_distance:.5f} px (bar: ≤ 0.01), "
            f"the same bits in any place: {'yes' if same else 'NO'}"
        )


def measure_errors(
    frames: list[np.ndarray], truth: np.ndarray, params: TVL1Params
) -> tuple[float, float]:
    """Average endpoint errors in pixels, numba's and the GPU's, where the truth is known."""
    known = (np.abs(truth) < 1e9).all(axis=-1)
    numba, gpu = (
        np.linalg.norm(tvl1(*frames, params, name) - truth, axis=-1)[known].mean()
        for name in ("numba", "triton")
    )
    return float(numba), float(gpu)


def read_sequence(folder: Path) -> tuple[list[np.ndarray], np.ndarray]:
    """The two grey frames of a Middlebury sequence, and the true flow between them."""
    names = (str(folder / f"frame{number}.png") for number in (10, 11))
    frames = [cv2.imread(name, cv2.IMREAD_GRAYSCALE) for name in names]
    return frames, read_flo(folder / "flow10.flo")


def show_accuracy(folder: Path) -> None:
    table = Table(title="Middlebury, average endpoint error (pixels); bar: ≤ 1.01 × numba's")
    table.add_column("sequence")
    for preset in PRESETS:
        for name in ("numba", "triton", "ratio"):
            table.add_column(f"{preset} {name}", justify="right")
    for sequence in sorted(path.parent for path in folder.glob("*/flow10.flo")):
        frames, truth = read_sequence(sequence)
        cells = []
        for params in PRESETS.values():
            numba, gpu = measure_errors(frames, truth, params)
            cells += [f"{numba:.4f}", f"{gpu:.4f}", f"{gpu / numba:.3f}"]
        table.add_row(sequence.name, *cells)
    console.print(table)


def measure(
    videos: list[Path],
    middlebury: Path,
    sizes: list[tuple[int, int]],
    batches: list[int],
    repeat: int,
    clock_ghz: float,
) -> None:
    """Everything, for each (width, height) of ``sizes``."""
    gpu = inspect_gpu(clock_ghz)
    console.print(
        f"{gpu.name}, {gpu.multiprocessors} multiprocessors, {gpu.memory_gib:.0f} GiB, copies "
        f"{gpu.copy_bytes / 1e12:.2f} TB/s; driver {gpu.driver}, {gpu.clock_ghz:.2f} GHz; "
        f"torch {torch.__version__}, Triton {triton.__version__}",
        highlight=False,
    )
    for width, height in sizes:
        each = -(-max(batches) // len(videos))
        sources = {video.name: read_pairs(video, each, height, width) for video in videos}
        # Neighbours in a batch come from different clips, and converge at different times.
        turns = zip(*map(cycle, sources.values()), strict=True)
        pairs = [pair for turn in islice(turns, each) for pair in turn]
        best = show_speed(pairs, batches, repeat, gpu)
        console.print(f"best: {best:,.0f} pairs/s (bar at 256×256 on an H200: 1,000; aim 3,000)")
        show_others(pairs[: 2 * len(videos)], best, max(1, repeat // 2))
        check({name: found[:4] for name, found in sources.items()})
    if any(middlebury.glob("*/flow10.flo")) and not is_interpreted():
        show_accuracy(middlebury)

"""TV-L1 on a GPU: pairs per second by batch, beside what OpenCV's structure gives, and agreement.

Run as `python benchmarks/flow.py --device cuda`. With TRITON_INTERPRET=1 and a tiny `--size` the
same code runs without a GPU, to see that it does; its times then mean nothing.
"""

import subprocess
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
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

from flowkit.flow import BACKENDS, PRESETS, read_flo, tvl1
from flowkit.flow.backends import is_interpreted
from flowkit.flow.tvl1_triton import Batch, plan_levels, solve_batch

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


def describe_gpu(clock_ghz: float) -> tuple[float, float]:
    """Print what there is; returns instructions (of 32 lanes) and bytes a second at most."""
    if is_interpreted():
        console.print("Triton's interpreter on the CPU: times mean nothing")
        return 1.0, 1.0
    properties = torch.cuda.get_device_properties(0)
    query = ["nvidia-smi", "--query-gpu=driver_version,clocks.max.sm", "--format=csv,noheader"]
    answer = subprocess.run(query, capture_output=True, text=True, check=False).stdout
    source = torch.empty(1 << 30, dtype=torch.uint8, device="cuda")
    target = torch.empty_like(source)
    moved = 2 * source.numel() / time_best(10, lambda: target.copy_(source))
    units = properties.multi_processor_count
    console.print(
        f"{properties.name}, {units} multiprocessors, {properties.total_memory >> 30} GiB, copies "
        f"{moved / 1e12:.2f} TB/s; driver and clock {answer.splitlines()[0] if answer else '?'}; "
        f"torch {torch.__version__}, Triton {triton.__version__}",
        highlight=False,
    )
    return units * 4 * clock_ghz * 1e9, moved


def measure_speed(
    pairs: list[Pair], batches: list[int], repeat: int, issue: float, moved: float
) -> float:
    """Pairs per second by batch, host memory to host memory; returns the best."""
    height, width = pairs[0][0].shape
    levels, best = plan_levels(height, width, PAPER), 0.0
    table = Table(title=f"{width}×{height}, preset paper, host to host")
    for name in ("batch", "pairs/s", "two threads", "M pixel-iterations a pair",
                 "G pixel-iterations/s", "of the issue rate", "of the copy rate"):  # fmt: skip
        table.add_column(name, justify="right")
    for size in batches:
        batch = make_batch(list(islice(cycle(pairs), size)))

        def run(batch: Batch = batch) -> np.ndarray:
            return solve_batch(batch, levels, PAPER, BOUND)[1]

        def run_twice(run: Callable[[], object] = run) -> None:
            with ThreadPoolExecutor(2) as threads:
                list(threads.map(lambda _: [run() for _ in range(3)], range(2)))

        work = run()
        alone, together = size / time_best(repeat, run), 6 * size / time_best(repeat, run_twice)
        best = max(best, alone, together)
        rate = max(alone, together) * work.mean()
        table.add_row(
            f"{size}", f"{alone:,.0f}", f"{together:,.0f}", f"{work.mean() / 1e6:.1f}",
            f"{rate / 1e9:.1f}", f"{rate * INSTRUCTIONS / 32 / issue:.0%}",
            f"{rate * BYTES / moved:.0%}",
        )  # fmt: skip
    console.print(table)
    return best


def measure_others(pairs: list[Pair], best: float, repeat: int) -> None:
    """The same solver in OpenCV's structure, and OpenCV itself where it is there."""
    device = "cpu" if is_interpreted() else "cuda"

    def run() -> list[np.ndarray]:
        return [launches.solve(*pair, PAPER, device) for pair in pairs]

    rate = len(pairs) / time_best(repeat, run)
    distances = [
        np.linalg.norm(flow - tvl1(*pair, PAPER, "triton"), axis=-1).mean()
        for flow, pair in zip(run(), pairs, strict=True)
    ]
    console.print(
        f"one pair, two launches an iteration, checks on the host: {rate:,.1f} pairs/s; ours is "
        f"{best / rate:,.1f} × (bar: ≥ 20); mean distance {np.mean(distances):.4f} px"
    )
    obstacle = BACKENDS["opencv-cuda"].find_obstacle()
    if obstacle is not None:
        console.print(f"opencv-cuda: {obstacle}")
        return
    seconds = time_best(repeat, lambda: [tvl1(*pair, PAPER, "opencv-cuda") for pair in pairs])
    rate = len(pairs) / seconds
    console.print(f"opencv-cuda: {rate:,.1f} pairs/s; ours is {best / rate:,.1f} ×")


def check(sources: dict[str, list[Pair]]) -> None:
    """Agreement with numba, and the same bits in any batch and place."""
    for name, pairs in sources.items():
        frames0, frames1 = (np.stack(frames) for frames in zip(*pairs, strict=True))
        flow = tvl1(frames0, frames1, PAPER, "triton")
        distance = np.linalg.norm(flow - tvl1(frames0, frames1, PAPER, "numba"), axis=-1)
        again = tvl1(frames0[::-1], frames1[::-1], PAPER, "triton")[::-1]
        alone = tvl1(frames0[0], frames1[0], PAPER, "triton")
        same = np.array_equal(again, flow) and np.array_equal(alone, flow[0])
        console.print(
            f"{name}: mean distance to numba {distance.mean():.5f} px (bar: ≤ 0.01), "
            f"the same bits in any place: {'yes' if same else 'NO'}"
        )


def measure_accuracy(folder: Path) -> None:
    table = Table(title="Middlebury, average endpoint error (pixels); bar: ≤ 1.01 × numba's")
    table.add_column("sequence")
    for preset in PRESETS:
        for name in ("numba", "triton", "ratio"):
            table.add_column(f"{preset} {name}", justify="right")
    for sequence in sorted(path.parent for path in folder.glob("*/flow10.flo")):
        names = (str(sequence / f"frame{number}.png") for number in (10, 11))
        frames = [cv2.imread(name, cv2.IMREAD_GRAYSCALE) for name in names]
        truth = read_flo(sequence / "flow10.flo")
        known, cells = (np.abs(truth) < 1e9).all(axis=-1), []
        for params in PRESETS.values():
            numba, gpu = (
                np.linalg.norm(tvl1(*frames, params, name) - truth, axis=-1)[known].mean()
                for name in ("numba", "triton")
            )
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
    issue, moved = describe_gpu(clock_ghz)
    for width, height in sizes:
        each = -(-max(batches) // len(videos))
        sources = {video.name: read_pairs(video, each, height, width) for video in videos}
        # Neighbours in a batch come from different clips, and converge at different times.
        turns = zip(*map(cycle, sources.values()), strict=True)
        pairs = [pair for turn in islice(turns, each) for pair in turn]
        best = measure_speed(pairs, batches, repeat, issue, moved)
        console.print(f"best: {best:,.0f} pairs/s (bar at 256×256 on an H200: 1,000; aim 3,000)")
        measure_others(pairs[: 2 * len(videos)], best, max(1, repeat // 2))
        check({name: found[:4] for name, found in sources.items()})
    if any(middlebury.glob("*/flow10.flo")) and not is_interpreted():
        measure_accuracy(middlebury)

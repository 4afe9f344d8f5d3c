"""TV-L1 on the CPU: our Numba solver against cv2.optflow, side by side on one thread.

    python benchmarks/flow.py [--clips DIR] [--middlebury DIR] [--pairs N]
    python benchmarks/flow.py --only-fast                    only the preset fast
    python benchmarks/flow.py --only-learned [--flow-weights raft_small=FILE]    flow_learned.py
    python benchmarks/flow.py --device cuda                  the GPU instead: flow_cuda.py

prints, all from one run: nanoseconds per pixel and iteration, pairs per second at the same
schedule with the ratio and the mean endpoint distance, the same for the preset "accurate"
against "paper", and the average endpoint error on Middlebury; then the preset "fast" against
OpenCV's DIS (preset medium): time, distance to the converged flow, and endpoint error. The
solvers take turns on each pair, and the best of --repeat times counts, since other work on the
machine only ever adds time.

The converged flow is that of the energy which all presets minimize, as far as our solver can
follow it: a pyramid of steps of 0.8 down to 16 pixels, 10 warps a level, up to 1,000 iterations
a warp, ε 0.001, no median filter.
"""

import platform
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import click
import cv2
import numpy as np
import numpy.typing as npt
from clips import Grey, Pair, find_clips, read_pairs
from rich.console import Console
from rich.table import Table

from flowkit.flow import PRESETS, TVL1Params, read_flo, tvl1

Flow = npt.NDArray[np.float32]
Known = npt.NDArray[np.bool_]
DATA = Path(__file__).resolve().parents[1].parent / "shared" / "data"
SIDE = 256
CONVERGED = TVL1Params(scales=64, warps=10, epsilon=0.001, iterations=1000)
FAST_REPEATS = 10  # times --repeat: these runs are short, and few of them are undisturbed
console = Console(width=110)


def make_pairs(count: int, reach: float = 3.0) -> list[Pair]:
    """Random textures of all scales under a smooth random motion of about `reach` pixels."""
    random = np.random.default_rng(0)
    y, x = np.mgrid[:SIDE, :SIDE].astype(np.float32)
    pairs = []
    for _ in range(count):
        octaves = [
            cv2.GaussianBlur(random.normal(size=(SIDE, SIDE)), (0, 0), s) * s for s in (1, 3, 9)
        ]
        image = cv2.normalize(sum(octaves), None, 0, 255, cv2.NORM_MINMAX, cv2.CV_8U)
        motion = [cv2.GaussianBlur(random.normal(size=(SIDE, SIDE)), (0, 0), 40) for _ in range(2)]
        u, v = (reach * m / np.abs(m).max() for m in motion)
        at_x, at_y = x + np.float32(u), y + np.float32(v)
        moved = cv2.remap(image, at_x, at_y, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT)
        pairs.append((image, moved))
    return pairs


def time_in_turns(repeat: int, *runs: Callable[[], object]) -> list[float]:
    """Best seconds of each run; they take turns, so all see the same disturbances."""
    best = [float("inf")] * len(runs)
    for _ in range(repeat):
        for index, run in enumerate(runs):
            begin = time.perf_counter()
            run()
            best[index] = min(best[index], time.perf_counter() - begin)
    return best


def measure_iteration(pair: Pair, repeat: int) -> None:
    """The cost of one iteration, from the difference between 300 and 100 of them."""
    longer = TVL1Params(scales=1, warps=1, iterations=300, epsilon=1e-9)
    shorter = replace(longer, iterations=100)
    costs = []
    for backend in ("opencv", "numba"):
        seconds = time_in_turns(
            repeat,
            lambda b=backend: tvl1(*pair, longer, b),
            lambda b=backend: tvl1(*pair, shorter, b),
        )
        costs.append((seconds[0] - seconds[1]) / 200 / SIDE**2 * 1e9)
    console.print(
        f"one iteration: cv2 {costs[0]:.1f} ns, numba {costs[1]:.2f} ns a pixel, "
        f"ratio {costs[0] / costs[1]:.1f}"
    )


def measure_speed(sources: dict[str, list[Pair]], repeat: int) -> None:
    """Pairs per second of cv2 and numba, and of the preset accurate, by clip and in total."""
    table = Table(title=f"{SIDE}×{SIDE}, preset paper, one thread (pairs/s)")
    for name in (
        "clip",
        "pairs",
        "cv2",
        "numba",
        "ratio",
        "distance px",
        "accurate",
        "time accurate/paper",
    ):
        table.add_column(name, justify="left" if name == "clip" else "right")
    rows = []
    for name, pairs in sources.items():
        seconds, distances = np.zeros(3), []
        for pair in pairs:
            flows = [tvl1(*pair, PRESETS["paper"], backend) for backend in ("opencv", "numba")]
            distances.append(np.linalg.norm(flows[0] - flows[1], axis=-1).mean())
            seconds += time_in_turns(
                repeat,
                lambda p=pair: tvl1(*p, PRESETS["paper"], "opencv"),
                lambda p=pair: tvl1(*p, PRESETS["paper"], "numba"),
                lambda p=pair: tvl1(*p, PRESETS["accurate"], "numba"),
            )
        rows.append((name, seconds, distances))
    rows.append(("all", sum(row[1] for row in rows), [d for row in rows for d in row[2]]))
    for name, (opencv, numba, accurate), distances in rows:
        count = len(distances)
        table.add_row(
            name, f"{count}",
            f"{count / opencv:.2f}", f"{count / numba:.2f}", f"{opencv / numba:.1f}",
            f"{np.mean(distances):.4f}", f"{count / accurate:.2f}", f"{accurate / numba:.2f}",
        )  # fmt: skip
    console.print(table)


def measure_fast(sources: dict[str, list[Pair]], repeat: int) -> None:
    """Compare the preset fast with DIS: time, and distance to the converged flow, by clip."""
    table = Table(title=f"{SIDE}×{SIDE}, preset fast beside OpenCV's DIS medium, one thread")
    columns = (
        "clip", "DIS ms", "fast ms", "time fast/DIS", "DIS px from converged",
        "fast px from converged", "distance fast/DIS", "paper px",
    )  # fmt: skip
    for name in columns:
        table.add_column(name, justify="left" if name == "clip" else "right")
    dis, rows = create_dis(), []
    for name, pairs in sources.items():
        frames0, frames1 = (np.stack(frames) for frames in zip(*pairs, strict=True))
        solve_dis = partial(solve_each, dis, frames0, frames1)
        seconds = time_in_turns(
            FAST_REPEATS * repeat, solve_dis, partial(tvl1, frames0, frames1, "fast", "numba")
        )
        converged = tvl1(frames0, frames1, CONVERGED, "numba")
        flows = [
            solve_dis(),
            *(tvl1(frames0, frames1, preset, "numba") for preset in ("fast", "paper")),
        ]
        distances = [np.linalg.norm(flow - converged, axis=-1).mean((1, 2)) for flow in flows]
        rows.append((name, np.array([seconds]) / len(pairs), np.stack(distances, axis=1)))
    everything = (np.concatenate([row[index] for row in rows]) for index in (1, 2))
    for name, seconds, distances in [*rows, ("all", *everything)]:
        (dis_ms, fast_ms), (dis_px, fast_px, paper_px) = 1e3 * seconds.mean(0), distances.mean(0)
        table.add_row(
            name, f"{dis_ms:.2f}", f"{fast_ms:.2f}", f"{fast_ms / dis_ms:.2f}",
            f"{dis_px:.3f}", f"{fast_px:.3f}", f"{fast_px / dis_px:.2f}", f"{paper_px:.3f}",
        )  # fmt: skip
    console.print(table)


def solve_each(solver: Any, frames0: Grey, frames1: Grey) -> Flow:
    """Compute the flow of each pair with a solver of OpenCV: (N, H, W) twice → (N, H, W, 2)."""
    pairs = zip(frames0, frames1, strict=True)
    return np.stack([solver.calc(frame0, frame1, None) for frame0, frame1 in pairs])


def create_dis() -> Any:
    """Create OpenCV's Dense Inverse Search as people use it (Kroeger et al., ECCV 2016)."""
    return cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)


def read_sequences(folder: Path) -> Iterator[tuple[str, Pair, Flow, Known]]:
    """Yield name, frames, true flow (H, W, 2) and where it is known (H, W) of each sequence."""
    for sequence in sorted(path.parent for path in folder.glob("*/flow10.flo")):
        names = (str(sequence / f"frame{number}.png") for number in (10, 11))
        frame0, frame1 = (cv2.imread(name, cv2.IMREAD_GRAYSCALE) for name in names)
        truth = read_flo(sequence / "flow10.flo")
        yield sequence.name, (frame0, frame1), truth, (np.abs(truth) < 1e9).all(axis=-1)


def measure_fast_accuracy(folder: Path) -> None:
    """Print the average endpoint error of DIS and the preset fast on each sequence, and in all."""
    table = Table(title="Middlebury, average endpoint error (pixels), beside OpenCV's DIS medium")
    for name in ("sequence", "DIS", "fast", "fast/DIS", "paper", "accurate", "time fast/DIS"):
        table.add_column(name, justify="left" if name == "sequence" else "right")
    dis, rows = create_dis(), []
    for name, frames, truth, known in read_sequences(folder):
        flows = [dis.calc(*frames, None)]
        flows += [
            tvl1(*frames, PRESETS[preset], "numba") for preset in ("fast", "paper", "accurate")
        ]
        errors = [np.linalg.norm(flow - truth, axis=-1)[known].mean() for flow in flows]
        seconds = time_in_turns(
            FAST_REPEATS,
            partial(dis.calc, *frames, None),
            partial(tvl1, *frames, "fast", "numba"),
        )
        rows.append((name, errors, seconds))
    means = [np.mean([row[index] for row in rows], axis=0) for index in (1, 2)]
    for name, errors, seconds in [*rows, ("mean", *means)]:
        table.add_row(
            name, f"{errors[0]:.4f}", f"{errors[1]:.4f}", f"{errors[1] / errors[0]:.2f}",
            f"{errors[2]:.4f}", f"{errors[3]:.4f}", f"{seconds[1] / seconds[0]:.2f}",
        )  # fmt: skip
    console.print(table)


def measure_accuracy(folder: Path) -> None:
    """Average endpoint error on each Middlebury sequence."""
    table = Table(title="Middlebury, average endpoint error (pixels)")
    for name in (
        "sequence",
        "cv2",
        "paper",
        "paper/cv2",
        "accurate",
        "accurate/paper",
        "time accurate/paper",
    ):
        table.add_column(name, justify="left" if name == "sequence" else "right")
    for sequence, frames, truth, known in read_sequences(folder):
        errors, seconds = [], []
        for preset, backend in (("paper", "opencv"), ("paper", "numba"), ("accurate", "numba")):
            begin = time.perf_counter()
            flow = tvl1(*frames, PRESETS[preset], backend)
            seconds.append(time.perf_counter() - begin)
            errors.append(np.linalg.norm(flow - truth, axis=-1)[known].mean())
        table.add_row(
            sequence, f"{errors[0]:.4f}", f"{errors[1]:.4f}", f"{errors[1] / errors[0]:.3f}",
            f"{errors[2]:.4f}", f"{errors[2] / errors[1]:.3f}", f"{seconds[2] / seconds[1]:.2f}",
        )  # fmt: skip
    console.print(table)


def measure_learned(folder: Path, repeat: int, weights: tuple[str, ...]) -> None:
    """Print accuracy and time of the learned methods beside TV-L1's presets, on Middlebury."""
    from flow_learned import make_table

    files = {name: Path(file) for name, file in (item.split("=", 1) for item in weights)}
    sequences = [name for name, *_ in read_sequences(folder)]
    table, reasons = make_table(folder, sequences, repeat, files)
    console.print(table)
    for reason in reasons:
        console.print(reason, highlight=False, soft_wrap=True)


def describe_machine() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    models = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.processor() or platform.machine()


@click.command()
@click.option(
    "--clips", type=click.Path(path_type=Path), default=DATA / "clips", help="Folder of videos."
)
@click.option(
    "--middlebury", type=click.Path(path_type=Path), default=DATA / "middlebury",
    help="Folder of Middlebury sequences with flow10.flo.",
)  # fmt: skip
@click.option("--pairs", default=4, help="Pairs from each clip.")
@click.option("--repeat", default=3, help="Times that each measurement is repeated.")
@click.option("--only-fast", is_flag=True, help="Measure only the preset fast, beside DIS.")
@click.option(
    "--only-learned", is_flag=True, help="Measure only the learned methods, beside TV-L1."
)
@click.option("--flow-weights", "weights", multiple=True, metavar="NAME=FILE",
              help="Weight file of a learned method. [default: PyTorch's cache]")  # fmt: skip
@click.option("--device", type=click.Choice(["cpu", "cuda"]), default="cpu", show_default=True)
@click.option("--size", "sizes", multiple=True, default=["256x256", "340x256"], help="cuda: WxH.")
@click.option("--batches", default="1,8,64,256", show_default=True, help="cuda: pairs at once.")
@click.option("--clock", default=1.98, show_default=True, help="cuda: GHz, for the issue rate.")
def main(
    clips: Path, middlebury: Path, pairs: int, repeat: int, only_fast: bool,
    only_learned: bool, weights: tuple[str, ...],
    device: str, sizes: tuple[str, ...], batches: str, clock: float,
) -> None:  # fmt: skip
    """Measure TV-L1: speed against cv2.optflow, and accuracy on Middlebury."""
    cv2.setNumThreads(1)
    if device == "cuda":
        from flow_cuda import measure

        with tempfile.TemporaryDirectory() as scratch:
            videos = find_clips(clips, Path(scratch))
            shapes = [tuple(map(int, size.split("x"))) for size in sizes]
            counts = [int(count) for count in batches.split(",")]
            measure(videos, middlebury, shapes, counts, repeat, clock)
        return
    console.print(f"{describe_machine()}, one thread; OpenCV {cv2.__version__}", highlight=False)
    if only_learned:
        measure_learned(middlebury, repeat, weights)
        return
    videos = sorted(clips.glob("*")) if clips.is_dir() else []
    sources = {video.name: read_pairs(video, pairs, SIDE, SIDE) for video in videos}
    if not sources:
        console.print(f"no videos in {clips}: measuring on synthetic textures instead")
        sources = {"synthetic": make_pairs(pairs)}
    first = next(iter(sources.values()))[0]
    tvl1(*first, backend="numba")  # compile
    if not only_fast:
        measure_iteration(first, repeat)
        measure_speed(sources, repeat)
    measure_fast(sources, repeat)
    if any(middlebury.glob("*/flow10.flo")):
        if not only_fast:
            measure_accuracy(middlebury)
        measure_fast_accuracy(middlebury)
        measure_learned(middlebury, repeat, weights)
    else:
        console.print(f"no Middlebury sequences in {middlebury}: accuracy not measured")


if __name__ == "__main__":
    main()

"""What the GPU kernels cost, counted without a GPU: instructions, registers, bytes, and bounds.

    python benchmarks/kernels.py [--clips DIR]
    python benchmarks/kernels.py --triton 3.4.0 3.5.1 3.6.0 3.7.1 3.8.0 3.9.0

The first form compiles the Triton backend for sm_80 and sm_90 with the Triton that is installed,
disassembles it with the tools that Triton brings, and prints for the loop that does the
iterations: instructions for each pixel-iteration by kind, registers, spills. With the overlap of
strips and chunks, and with the iterations that the Numba solver does on real clips (the same),
that gives what a GPU could do at most:

    issued    multiprocessors · 4 warps · 32 lanes · clock ÷ instructions · useful share
    moved     bytes a second ÷ 16 bytes a pixel-iteration (40 read, 24 written in 4 iterations)

These bounds are arithmetic on data sheets, not measurements.

The second form compiles with other versions of Triton, each installed into a temporary folder
and run in a process of its own, and compares what they make of the solver, without and with a
median filter: a kernel that one version compiles well, another may fill with barriers or spills.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import click
import numpy as np
import triton
from clips import find_clips, read_pairs
from kernel_inspection import KernelCounts, inspect_solver
from rich.console import Console
from rich.table import Table

from flowkit.flow import PRESETS
from flowkit.flow.cpu.state import make_state
from flowkit.flow.cpu.tvl1 import solve_level, view_flow
from flowkit.flow.cpu.warp import make_warpable
from flowkit.flow.gpu.layout import DEPTH, WARPS, count_steps, plan_levels
from flowkit.flow.gpu.state import COLUMNS, SPAN
from flowkit.flow.pyramid import build_pyramid, enlarge_flow, filter_flow

FOLDER = Path(__file__).resolve().parent
SOURCES = FOLDER.parent
CAPABILITIES = (80, 90)
SIZES = ((256, 256), (256, 340))
BYTES = 16  # a pixel-iteration
# Multiprocessors, boost clock in GHz, memory in TB/s: the makers' data sheets.
CARDS = {"A100 80GB": (108, 1.41, 2.0), "H100 SXM": (132, 1.98, 3.35), "H200": (132, 1.98, 4.8)}
console = Console(width=110)


def show_step() -> float:
    """Print one step of the loop that iterates; returns instructions a pixel-iteration on sm_90."""
    table = Table(title=f"{DEPTH} iterations of {COLUMNS.value} columns: one step of the loop")
    for name in ("", "registers", "spilled in loop", "instructions", "a pixel-iteration", "kinds"):
        table.add_column(name)
    for capability in CAPABILITIES:
        counts = inspect_solver(capability)
        cost = counts.instructions / (DEPTH * COLUMNS.value)
        kinds = ", ".join(f"{kind} {count}" for kind, count in list(counts.step.items())[:12])
        table.add_row(
            f"sm_{capability}", f"{counts.registers}", f"{counts.spilled}",
            f"{counts.instructions}", f"{cost:.1f}", kinds,
        )  # fmt: skip
    console.print(table)
    return cost


INSPECT = """
import json, sys
from dataclasses import asdict
from kernel_inspection import inspect_solver
counts = [
    asdict(inspect_solver(int(capability), name))
    for capability in sys.argv[1:]
    for name in ("solve_quantized", "solve_filtered")
]
print(json.dumps(counts))
"""


def inspect_version(version: str) -> list[KernelCounts]:
    """Compile the solver with another version of Triton, for each of CAPABILITIES.

    The version is installed into a folder that is removed again, and runs in its own process.
    """
    with tempfile.TemporaryDirectory() as folder:
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        command = [*pip, "--no-deps", "--target", folder, f"triton=={version}"]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode != 0:
            reason = (done.stderr.strip().splitlines() or ["pip gave no reason"])[-1]
            raise click.ClickException(f"cannot install triton=={version}: {reason}")
        paths = [folder, str(SOURCES), str(FOLDER), *filter(None, [os.environ.get("PYTHONPATH")])]
        environment = {k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET"}
        environment |= {"PYTHONPATH": os.pathsep.join(paths), "TRITON_CACHE_DIR": f"{folder}/cache"}
        command = [sys.executable, "-c", INSPECT, *map(str, CAPABILITIES)]
        done = subprocess.run(command, capture_output=True, text=True, env=environment)
        if done.returncode != 0:
            raise click.ClickException(f"Triton {version} failed to compile:\n{done.stderr}")
        return [KernelCounts(**counts) for counts in json.loads(done.stdout.splitlines()[-1])]


def show_versions(versions: Sequence[str]) -> list[KernelCounts]:
    """Print what each version of Triton makes of the solver; returns the counts."""
    table = Table(
        title="The solver's kernel: layout conversions, scattered loads and stores, barriers, "
        "registers;\nand one step of its loop: instructions, and how many of them spill, are "
        "barriers, use shared memory"
    )
    for name in (
        "Triton", "", "kernel", "conversions", "scattered", "barriers", "registers",
        "step", "spills", "barriers", "shared",
    ):  # fmt: skip
        table.add_column(name, justify="right")
    found = []
    for version in versions:
        for counts in inspect_version(version):
            step = counts.step
            cells = (
                counts.conversions, counts.scattered, counts.barriers, counts.registers,
                counts.instructions, counts.spilled, step.get("BAR", 0),
                step.get("LDS", 0) + step.get("STS", 0),
            )  # fmt: skip
            table.add_row(counts.triton, f"sm_{counts.capability}", counts.kernel, *map(str, cells))
            found.append(counts)
    console.print(table)
    return found


def measure_share(height: int, width: int, preset: str) -> float:
    """Which part of the lanes' work is not done twice, over all levels."""
    useful = done = 0
    for h, w, _, chunks, _ in plan_levels(height, width, PRESETS[preset]).table.tolist():
        useful += h * w
        done += count_steps(h, w, chunks) * WARPS * SPAN.value
    return useful / done


def count_work(frame0: np.ndarray, frame1: np.ndarray, preset: str) -> int:
    """Pixel-iterations of a pair, as the Numba solver does them."""
    params, work = PRESETS[preset], 0
    levels = [build_pyramid(frame, params) for frame in (frame0, frame1)]
    flow = np.zeros((2, *levels[0][-1].shape), np.float32)
    for level0, level1 in zip(*map(reversed, levels), strict=True):
        if level0.shape != flow.shape[1:]:
            flow = enlarge_flow(flow, *level0.shape, params.scale_step)
        schedule = params.get_schedule(finest=level0 is levels[0][0])
        state, warpable = make_state(flow), make_warpable(level1)
        work += level0.size * solve_level(state, level0, warpable, params, schedule)
        flow = filter_flow(view_flow(state, level0.shape[1]), schedule.median_side)
    return work


def show_bounds(cost: float, clips: Path | None, pairs: int) -> None:
    """Print what GPUs could do at most, at `cost` instructions a pixel-iteration."""
    table = Table(
        title="Pixel-iterations of a pair, and the most pairs/s that a GPU could do (arithmetic)"
    )
    for name in ("size", "preset", "useful share", "M px-it a pair"):
        table.add_column(name)
    for card in CARDS:
        table.add_column(f"{card}: issued, moved", justify="right")
    with tempfile.TemporaryDirectory() as folder:
        videos = find_clips(clips, Path(folder))
        for height, width in SIZES:
            frames = [read_pairs(video, pairs, height, width) for video in videos]
            for preset in PRESETS:
                work = [count_work(*pair, preset) for clip in frames for pair in clip]
                mean, share = np.mean(work), measure_share(height, width, preset)
                cells = []
                for units, clock, memory in CARDS.values():
                    issued = units * 4 * 32 * clock * 1e9 / cost * share / mean
                    cells.append(f"{issued:,.0f}, {memory * 1e12 / BYTES / mean:,.0f}")
                span = f"{mean / 1e6:.1f} ({min(work) / 1e6:.1f}–{max(work) / 1e6:.1f})"
                table.add_row(f"{width}×{height}", preset, f"{share:.2f}", span, *cells)
    console.print(table)


@click.command()
@click.option("--clips", type=click.Path(path_type=Path), help="Folder of videos.")
@click.option("--pairs", default=4, help="Pairs from each clip.")
@click.option("--triton", "compare", is_flag=True, help="Compare the VERSIONS of Triton instead.")
@click.option("--json", "output", type=click.Path(path_type=Path), help="With --triton: also here.")
@click.argument("versions", nargs=-1)
def main(
    clips: Path | None, pairs: int, compare: bool, output: Path | None, versions: tuple[str, ...]
) -> None:
    """Count what the GPU kernels do."""
    if compare != bool(versions):
        raise click.UsageError("--triton and versions go together: --triton 3.6.0 3.7.1")
    if compare:
        found = show_versions(versions)
        if output is not None:
            output.write_text(json.dumps([asdict(counts) for counts in found], indent=1))
        return
    console.print(f"Triton {triton.__version__}", highlight=False)
    show_bounds(show_step(), clips, pairs)


if __name__ == "__main__":
    main()

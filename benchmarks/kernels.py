"""What the GPU kernels cost, counted without a GPU: instructions, registers, bytes, and bounds.

    python benchmarks/kernels.py [--clips DIR]

Compiles the Triton backend for sm_80 and sm_90, disassembles it with the tools that Triton
brings, and prints for the loop that does the iterations: instructions for each pixel-iteration
by kind, registers, spills. With the overlap of strips and chunks, and with the iterations that
the Numba solver does on real clips (the same), that gives what a GPU could do at most:

    issued    multiprocessors · 4 warps · 32 lanes · clock ÷ instructions · useful share
    moved     bytes a second ÷ 16 bytes a pixel-iteration (40 read, 24 written in 4 iterations)

These bounds are arithmetic on data sheets, not measurements.
"""

import re
import subprocess
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import click
import numpy as np
import triton
from clips import find_clips, read_pairs
from rich.console import Console
from rich.table import Table

from flowkit.flow import PRESETS
from flowkit.flow.compilation_triton import compile_kernels
from flowkit.flow.pyramid import build_pyramid, enlarge_flow
from flowkit.flow.state_triton import COLUMNS, SPAN
from flowkit.flow.tvl1_numba import solve_level
from flowkit.flow.tvl1_triton import DEPTH, WARPS, count_steps, plan_levels
from flowkit.flow.warp_numba import make_warpable

TOOLS = Path(triton.__file__).parent / "backends" / "nvidia" / "bin"
SIZES = ((256, 256), (256, 340))
BYTES = 16  # a pixel-iteration
# Multiprocessors, boost clock in GHz, memory in TB/s: the makers' data sheets.
CARDS = {"A100 80GB": (108, 1.41, 2.0), "H100 SXM": (132, 1.98, 3.35), "H200": (132, 1.98, 4.8)}
console = Console(width=110)


def disassemble(cubin: bytes) -> tuple[str, list[tuple[int, str]]]:
    """Resource usage, and (address, instruction) of a compiled kernel."""
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin)
        file.flush()
        usage, code = (
            subprocess.run(
                [TOOLS / "cuobjdump", option, file.name], capture_output=True, text=True, check=True
            ).stdout
            for option in ("-res-usage", "-sass")
        )
    found = re.findall(r"^\s+/\*([0-9a-f]+)\*/\s+(.*?);", code, re.MULTILINE)
    return usage, [(int(address, 16), text) for address, text in found]


def find_loops(code: list[tuple[int, str]]) -> Iterator[list[str]]:
    """Instructions of each innermost loop: from a backward branch's target to the branch."""
    spans = []
    for address, text in code:
        target = re.search(r"\bBRA\b.*0x([0-9a-f]+)", text)
        if target and int(target[1], 16) < address:
            spans.append((int(target[1], 16), address))
    for first, last in spans:
        if not any(first <= a and b <= last and (a, b) != (first, last) for a, b in spans):
            yield [text for address, text in code if first <= address <= last]


def name_of(instruction: str) -> str:
    words = re.sub(r"^@!?U?P\w+ ", "", instruction).split()[0].split(".")
    return ".".join(words[:2]) if words[0] == "MUFU" else words[0]


def show_kernels() -> float:
    """The table of the compiled iterations; returns instructions a pixel-iteration on sm_90."""
    table = Table(title=f"{DEPTH} iterations of {COLUMNS.value} columns: one step of the loop")
    for name in ("", "registers", "spilled in loop", "instructions", "a pixel-iteration", "kinds"):
        table.add_column(name)
    for capability in (80, 90):
        usage, code = disassemble(compile_kernels(capability)["solve_quantized"].asm["cubin"])
        loop = max(find_loops(code), key=lambda body: sum("MUFU.SQRT" in text for text in body))
        kinds = Counter(map(name_of, loop))
        cost = len(loop) / (DEPTH * COLUMNS.value)
        spilled = kinds["LDL"] + kinds["STL"]
        shown = ", ".join(f"{kind} {count}" for kind, count in kinds.most_common(12))
        registers = re.search(r"REG:(\d+)", usage)[1]
        table.add_row(
            f"sm_{capability}", registers, f"{spilled}", f"{len(loop)}", f"{cost:.1f}", shown
        )
    console.print(table)
    return cost


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
        flow, iterations = solve_level(flow, level0, make_warpable(level1), params)
        work += iterations * level0.size
    return work


@click.command()
@click.option("--clips", type=click.Path(path_type=Path), help="Folder of videos.")
@click.option("--pairs", default=4, help="Pairs from each clip.")
def main(clips: Path | None, pairs: int) -> None:
    """Count what the GPU kernels do."""
    console.print(f"Triton {triton.__version__}", highlight=False)
    cost = show_kernels()
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


if __name__ == "__main__":
    main()

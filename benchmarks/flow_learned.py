"""Learned optical flow beside TV-L1's presets, on Middlebury: accuracy, and time of a pair.

Run as `python benchmarks/flow.py --only-learned`. A method whose weights are not on this machine,
or that cannot run here, has a row that says so. TV-L1 runs on one CPU thread; a learned method on
a GPU where there is one, otherwise also on one thread. The time of a pair is the best of --repeat
runs, averaged over the sequences.
"""

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from rich.table import Table

from flowkit.errors import FlowError
from flowkit.flow import PRESETS, read_flo, tvl1
from flowkit.flow.learned.device import choose_device_backend
from flowkit.flow.learned.registry import METHODS
from flowkit.flow.learned.solver import load_learned_flow
from flowkit.flow.learned.weights import choose_weights

U8 = npt.NDArray[np.uint8]
Flow = npt.NDArray[np.float32]
Solve = Callable[[U8, U8], Flow]


def make_table(
    folder: Path, sequences: list[str], repeat: int, weight_files: dict[str, Path]
) -> tuple[Table, list[str]]:
    """Measure every preset and every learned method; also say why some were not measured."""
    table = Table(title="Middlebury, average endpoint error (pixels), learned methods beside TV-L1")
    table.add_column("method")
    for name in (*sequences, "mean", "ms a pair", "on"):
        table.add_column(name, justify="left" if name == "on" else "right")
    reasons = []
    pairs = [read_pair(folder / name) for name in sequences]
    for preset in PRESETS:
        table.add_row(*measure(f"tvl1 {preset}", partial(solve_tvl1, preset), "CPU", pairs, repeat))
    for name in METHODS:
        try:
            solve, device = load(name, weight_files.get(name))
        except FlowError as error:
            table.add_row(name, *["–"] * (len(sequences) + 2), "not measured")
            reasons.append(f"{name} was not measured: {error}")
        else:
            table.add_row(*measure(name, solve, device, pairs, repeat))
    return table, reasons


def load(name: str, file: Path | None) -> tuple[Solve, str]:
    """The function that computes flow with a learned method, and its device."""
    import torch

    torch.set_num_threads(1)
    found, backend = choose_weights(name, file), choose_device_backend()
    network = load_learned_flow(name, found.path, found.digest, backend)

    def solve(frame0: U8, frame1: U8) -> Flow:
        return next(network.compute_batches(frame0[None], frame1[None]))[0]

    return solve, f"{backend}, weights {found.digest[:8]}"


def solve_tvl1(preset: str, frame0: U8, frame1: U8) -> Flow:
    """TV-L1 of two RGB frames."""
    greys = (cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in (frame0, frame1))
    return tvl1(*greys, preset, "numba")


def read_pair(folder: Path) -> tuple[U8, U8, Flow]:
    """Both RGB frames of a sequence, and the true flow, beyond 1e9 where it is unknown."""
    images = (cv2.imread(str(folder / f"frame{number}.png")) for number in (10, 11))
    frame0, frame1 = (cv2.cvtColor(image, cv2.COLOR_BGR2RGB) for image in images)
    return frame0, frame1, read_flo(folder / "flow10.flo")


def measure(
    name: str, solve: Solve, device: str, pairs: list[tuple[U8, U8, Flow]], repeat: int
) -> tuple[Any, ...]:
    """A row: the error on each pair, their mean, and the best time of a pair.

    The first run gives the errors and is not timed, since it may compile.
    """
    errors, seconds = [], [float("inf")] * len(pairs)
    for index, (frame0, frame1, truth) in enumerate(pairs):
        distance = np.linalg.norm(solve(frame0, frame1) - truth, axis=-1)
        errors.append(distance[(np.abs(truth) < 1e9).all(axis=-1)].mean())
        for _ in range(repeat):
            begin = time.perf_counter()
            solve(frame0, frame1)
            seconds[index] = min(seconds[index], time.perf_counter() - begin)
    values = [f"{error:.4f}" for error in (*errors, np.mean(errors))]
    return name, *values, f"{1e3 * np.mean(seconds):,.0f}", device

"""What each attention costs, beside its equations written down as they are printed.

    python benchmarks/attention.py [--device cuda] [--batch N] [--repeat N] [--only NAME]

Forward and backward, with all losses: milliseconds, and the most memory beyond weights and inputs.
Each contestant has a process of its own, and they take turns.

    pyramid       K = 25 frames of Inception-ResNet-v2's blocks A, B and C: 35², 17² and 8²; beside
                  equations 1 to 8, with X Xᵀ of KWH×KWH and every δ in memory
    cross-modality, non-local
                  res4 of ResNet-50 at 224 pixels; beside softmax(Q Kᵀ / √d) V, its map in memory
"""

import argparse
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from store import describe_machine
from torch.nn import functional

from models.attention.cross_modality import CrossModalityBlock, weigh
from models.attention.non_local import NonLocalBlock
from models.attention.pyramid import FUSIONS, PyramidAttention

FRAMES = 25
LEVELS = ((320, 35), (1088, 17), (2080, 8))  # channels, side
RES4 = (1024, 14)
console = Console(width=120, markup=False, highlight=False)

Task = tuple[torch.nn.Module, list[torch.Tensor], Callable[[], torch.Tensor]]


def transcribe(
    layer: PyramidAttention, levels: Sequence[torch.Tensor], frames: int
) -> torch.Tensor:
    """Equations 1 to 9 in the order of the paper; the sum of what training makes less."""
    flat, scores = [], []
    for level, linear in zip(levels, layer.scores, strict=True):
        pooled = functional.adaptive_max_pool2d(level, layer.size)
        x = pooled.unflatten(0, (-1, frames)).permute(0, 1, 3, 4, 2).flatten(1, 3)
        flat.append(x)
        scores.append(linear.weight @ x.mT + linear.bias[:, None])
    fused = scores[0]
    for other in scores[1:]:
        fused = FUSIONS[layer.fusion](fused, other)
    a = fused.softmax(dim=2)
    basis, x = a / a.norm(dim=2, keepdim=True), flat[-1]
    one = torch.eye(a.shape[1], device=a.device)
    inner = basis @ (x.detach() @ x.detach().mT) @ basis.mT
    interactive = -(inner * one).sum() + ((basis @ basis.mT) * (1 - one)).square().sum()
    delta = torch.stack([(a - y.softmax(dim=2)).abs() for y in scores], dim=1)
    likeness = (1 - delta.square()).sum(dim=(1, 2, 3)).sqrt().sum()
    return (basis @ x).square().mean() + (interactive + likeness) / len(x)


def make_pyramid(printed: bool, batch: int, device: str) -> Task:
    sides = [side for _, side in LEVELS]
    layer = PyramidAttention([c for c, _ in LEVELS], (sides[-1], sides[-1])).to(device)
    inputs = [torch.randn(batch * FRAMES, c, side, side, device=device) for c, side in LEVELS]

    def run() -> torch.Tensor:
        if printed:
            return transcribe(layer, inputs, FRAMES)
        found = layer(inputs, FRAMES, losses=True)
        assert found.interactive is not None
        assert found.likeness is not None
        return found.maps.square().mean() + found.interactive + found.likeness

    return layer, inputs, run


def make_block(kind: type[CrossModalityBlock]) -> Callable[[bool, int, str], Task]:
    def make(printed: bool, batch: int, device: str) -> Task:
        channels, side = RES4
        block = kind(channels).to(device)
        inputs = [torch.randn(16 * batch, channels, side, side, device=device) for _ in "xy"]

        def run() -> torch.Tensor:
            x, y = inputs[0], inputs[0] if kind is NonLocalBlock else inputs[1]
            if not printed:
                return block(x, y).square().mean()
            key, value = block._answer(y)
            z = weigh(block._ask(x), key) @ value
            z = z.transpose(1, 2).reshape(len(x), -1, *x.shape[2:])
            return (x + block.norm(block.out(z))).square().mean()

        return block, inputs, run

    return make


TASKS: dict[str, Callable[[bool, int, str], Task]] = {
    "pyramid": make_pyramid,
    "cross-modality": make_block(CrossModalityBlock),
    "non-local": make_block(NonLocalBlock),
}


def measure(name: str, printed: bool, batch: int, device: str) -> tuple[float, float]:
    """Median milliseconds of a step, and MiB at most beyond weights and inputs."""
    torch.manual_seed(0)
    module, inputs, run = TASKS[name](printed, batch, device)
    for tensor in inputs:
        tensor.requires_grad_()

    def step() -> None:
        module.zero_grad(set_to_none=True)
        for tensor in inputs:
            tensor.grad = None
        run().backward()
        if device == "cuda":
            torch.cuda.synchronize()

    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    else:
        Path("/proc/self/clear_refs").write_text("5")  # forget the peak until now
    before = read_peak(device)
    step()
    peak = read_peak(device) - before
    times = []
    for _ in range(5):
        begin = time.perf_counter()
        step()
        times.append(time.perf_counter() - begin)
    return 1e3 * float(np.median(times)), peak


def read_peak(device: str) -> float:
    """The most memory so far, MiB: torch's on a GPU, the process's on a CPU."""
    if device == "cuda":
        return torch.cuda.max_memory_allocated() / 2**20
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


def compare(name: str, options: argparse.Namespace) -> None:
    """Ours beside the printed equations, each in processes of its own, in turn."""
    found: dict[bool, list[tuple[float, float]]] = {False: [], True: []}
    for _ in range(options.repeat):
        for printed in found:
            command = [sys.executable, __file__, "--device", options.device]
            command += ["--batch", str(options.batch), "--run", name]
            command += ["--printed"] if printed else []
            result = subprocess.run(command, capture_output=True, text=True, check=True)
            spent, peak = map(float, result.stdout.split()[-2:])
            found[printed].append((spent, peak))
    ours, theirs = (np.median(found[printed], axis=0) for printed in (False, True))
    console.print(
        f"{name}: {ours[0]:,.0f} ms and {ours[1]:,.0f} MiB, as printed {theirs[0]:,.0f} ms and "
        f"{theirs[1]:,.0f} MiB: {theirs[0] / ours[0]:.2f}× the time, {theirs[1] / ours[1]:.2f}× "
        "the memory"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--batch", type=int, default=1, help="videos, of 25 frames or 16 images")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--only", choices=TASKS)
    parser.add_argument("--run", choices=TASKS, help=argparse.SUPPRESS)
    parser.add_argument("--printed", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.run:
        print(*measure(options.run, options.printed, options.batch, options.device))
        return
    console.print(f"{describe_machine()}, torch {torch.__version__}, {options.device}\n")
    for name in [options.only] if options.only else TASKS:
        compare(name, options)


if __name__ == "__main__":
    main()

"""What each attention costs, beside its equations written down as they are printed.

    python benchmarks/attention.py [--device cuda] [--batch N] [--repeat N] [--only NAME]

Forward and backward, with all losses: milliseconds, and the most memory beyond weights and inputs.
Each contestant has a process of its own, and they take turns. On a CPU memory is measured in other
processes than time, in which every tensor goes back to the system at once: else the peak is of how
malloc happened to reuse what it had.

    pyramid       K = 25 frames of Inception-ResNet-v2's blocks A, B and C: 35², 17² and 8²; beside
                  equations 1 to 8, with X Xᵀ of KWH×KWH and every δ in memory
    cross-modality, non-local
                  res4 of ResNet-50 at 224 pixels; beside softmax(Q Kᵀ / √d) V, its map in memory
    clusters      64 sets of L = 25 features of Inception-ResNet-v2, M = 1536, N = 64; beside
                  equations 4, 2, 7 and 6, batched, each written as it is printed
    catnet        64 sets of L = 30 clips of I3D-ResNet-50, M = 2048, N = 32; beside equations 2 to
                  6 and 8, batched, with Y', G and [y'; G] in memory

Sets are data: they get no gradients.
"""

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from machine import describe_machine
from rich.console import Console
from torch.nn import functional

from models.attention.catnet import CascadeAttention
from models.attention.clusters import AttentionCluster
from models.attention.cross_modality import CrossModalityBlock
from models.attention.non_local import NonLocalBlock
from models.attention.pyramid import SCORE_FUSIONS, PyramidAttention

FRAMES = 25
LEVELS = ((320, 35), (1088, 17), (2080, 8))  # channels, side
RES4 = (1024, 14)
SETS, STEPS = 64, 5
# glibc's: blocks of 64 KiB and more are the system's own, and go back to it.
GIVE_BACK = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}
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
        fused = SCORE_FUSIONS[layer.fusion](fused, other)
    a = fused.softmax(dim=2)
    basis, x = a / a.norm(dim=2, keepdim=True), flat[-1]
    one = torch.eye(a.shape[1], device=a.device)
    inner = basis @ (x.detach() @ x.detach().mT) @ basis.mT
    interactive = -(inner * one).sum() + ((basis @ basis.mT) * (1 - one)).square().sum()
    delta = torch.stack([(a - y.softmax(dim=2)).abs() for y in scores], dim=1)
    similarity = (1 - delta.square()).sum(dim=(1, 2, 3)).sqrt().sum()
    return (basis @ x).square().mean() + (interactive + similarity) / len(x)


def make_pyramid(printed: bool, batch: int, device: str) -> Task:
    sides = [side for _, side in LEVELS]
    layer = PyramidAttention([c for c, _ in LEVELS], (sides[-1], sides[-1])).to(device)
    inputs = [torch.randn(batch * FRAMES, c, side, side, device=device) for c, side in LEVELS]

    def run() -> torch.Tensor:
        if printed:
            return transcribe(layer, inputs, FRAMES)
        found = layer(inputs, FRAMES, losses=True)
        assert found.interactive_loss is not None
        assert found.similarity_loss is not None
        return found.maps.square().mean() + found.interactive_loss + found.similarity_loss

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
            key, value = block._project_key_value(y)
            query = block._project_query(x)
            scores = query @ key.mT / query.shape[-1] ** 0.5
            z = scores.softmax(dim=2) @ value
            z = z.transpose(1, 2).reshape(len(x), -1, *x.shape[2:])
            return (x + block.norm(block.out(z))).square().mean()

        return block, inputs, run

    return make


def transcribe_cluster(cluster: AttentionCluster, x: torch.Tensor) -> torch.Tensor:
    """Equations 4, 2, 7 and 6 of Attention Clusters, for all units at once; X is M × L."""
    columns = x.mT
    a = (cluster.score @ columns).softmax(dim=2)
    v = columns @ a.mT
    alpha, beta = cluster.scale, cluster.shift
    norm = torch.linalg.vector_norm(alpha * v + beta, dim=1, keepdim=True)
    v = (alpha * v + beta) / (cluster.units**0.5 * norm)
    return v.mT.flatten(1)


def make_cluster(printed: bool, batch: int, device: str) -> Task:
    cluster = AttentionCluster(1536, 64).to(device)
    x = torch.randn(SETS * batch, 25, 1536, device=device)

    def run() -> torch.Tensor:
        found = transcribe_cluster(cluster, x) if printed else cluster(x)
        return found.sin().mean()  # a sum of squares would be 1

    return cluster, [], run


def transcribe_catnet(layer: CascadeAttention, x: torch.Tensor) -> torch.Tensor:
    """Equations 2 to 6 and 8 of CATNet, for all heads at once."""
    alpha = (x @ layer.score.T).softmax(dim=1)
    y = layer.transform(alpha.mT @ x)
    y = y / (layer.heads**0.5 * torch.linalg.vector_norm(y, dim=2, keepdim=True))
    g = y.mean(dim=1, keepdim=True)
    beta = (torch.cat([y, g.expand_as(y)], dim=2) @ layer.relation.flatten()).sigmoid()
    return (beta[:, :, None] * y).flatten(1)


def make_catnet(printed: bool, batch: int, device: str) -> Task:
    layer = CascadeAttention(2048).to(device)
    x = torch.randn(SETS * batch, 30, 2048, device=device)

    def run() -> torch.Tensor:
        found = transcribe_catnet(layer, x) if printed else layer(x)
        return found.sin().mean()

    return layer, [], run


TASKS: dict[str, Callable[[bool, int, str], Task]] = {
    "pyramid": make_pyramid,
    "cross-modality": make_block(CrossModalityBlock),
    "non-local": make_block(NonLocalBlock),
    "clusters": make_cluster,
    "catnet": make_catnet,
}


def measure(name: str, printed: bool, batch: int, device: str, steps: int) -> tuple[float, float]:
    """Median milliseconds of `steps`, and MiB at most beyond weights and inputs."""
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
    for _ in range(steps):
        begin = time.perf_counter()
        step()
        times.append(time.perf_counter() - begin)
    return 1e3 * float(np.median(times or [0.0])), peak


def read_peak(device: str) -> float:
    """The most memory so far, MiB: torch's on a GPU, the process's on a CPU."""
    if device == "cuda":
        return torch.cuda.max_memory_allocated() / 2**20
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


def run_alone(
    name: str, printed: bool, options: argparse.Namespace, steps: int
) -> tuple[float, float]:
    """`measure` in a process of its own; without steps to be timed memory goes back at once."""
    command = [sys.executable, __file__, "--device", options.device, "--steps", str(steps)]
    command += ["--batch", str(options.batch), "--run", name]
    command += ["--printed"] if printed else []
    environment = os.environ if steps else os.environ | GIVE_BACK
    result = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    spent, peak = map(float, result.stdout.split()[-2:])
    return spent, peak


def compare(name: str, options: argparse.Namespace) -> None:
    """Ours beside the printed equations, each in processes of its own, in turn."""
    found: dict[bool, list[tuple[float, float]]] = {False: [], True: []}
    for _ in range(options.repeat):
        for printed in found:
            spent, peak = run_alone(name, printed, options, STEPS)
            if options.device == "cpu":
                _, peak = run_alone(name, printed, options, 0)
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
    parser.add_argument("--batch", type=int, default=1, help="times 25 frames, 16 images, 64 sets")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--only", choices=TASKS)
    parser.add_argument("--run", choices=TASKS, help=argparse.SUPPRESS)
    parser.add_argument("--printed", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--steps", type=int, default=STEPS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.run:
        print(*measure(options.run, options.printed, options.batch, options.device, options.steps))
        return
    console.print(f"{describe_machine()}, torch {torch.__version__}, {options.device}\n")
    for name in [options.only] if options.only else TASKS:
        compare(name, options)


if __name__ == "__main__":
    main()

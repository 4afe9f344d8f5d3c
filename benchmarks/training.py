"""Training on a device: what attention costs, and what the loop costs.

    python benchmarks/training.py [--device cuda] [--precision bfloat16] [--batch N] [--steps N]

1. Images per second of a training step: cross-modality attention (iter_1: RGB trained, flow
   frozen) beside the plain branches at the same batch, and beside both of them trained at once.
2. flowkit's step (`take_step` of train/loop/epochs.py, with its checks and its journal) beside a
   bare loop over a ResNet-50 of the same precision, on the same tensors: the overhead.
3. Memory of one CMA block in 3-D, 16 frames of 28×28, forward and backward, beside a block that
   materializes the attention map.

Data are random tensors of the recipe's shapes on the host; loading is benchmarks/loader.py's.
On a CPU everything is tiny and says only that it runs.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from machine import describe_machine
from rich.console import Console
from torch import nn
from torch.nn import functional

from models.attention.cross_modality import CrossModalityBlock, compute_attention_map
from models.backbones.resnet import ResNet
from train.distributed.parallel import DTYPES, Process, choose_layout
from train.loop.context import PhaseContext
from train.loop.epochs import log_step, take_step
from train.loop.optimizers import make_progress
from train.recipe.recipe import Recipe, change_recipe, read_recipe
from train.runs.journal import Journal
from train.runs.phases import Phase, list_phases
from train.runs.run import Settings
from train.tasks.networks import make_network, set_train_mode

CHANNELS, FRAMES, SIDE = 512, 16, 28  # res3 of a 3-D ResNet-50 at 224 pixels
console = Console(width=120, markup=False, highlight=False)


class Place:
    """Stands for a run: steps ask it for nothing but its folder when they fail."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def folder(self, phase: str) -> Path:
        return self.path / phase


def make_batch(recipe: Recipe, batch: int) -> dict[str, torch.Tensor]:
    """Random samples as a loader gives them, uint8."""
    data = recipe.data
    shape = (batch, data.num_segments)
    side = (data.size, data.size)
    return {
        "rgb": torch.randint(0, 256, (*shape, 3, *side), dtype=torch.uint8),
        "flow": torch.randint(0, 256, (*shape, 2 * data.flow_length, *side), dtype=torch.uint8),
        "label": torch.randint(0, recipe.classes, (batch,)),
    }


def make_step(
    recipe: Recipe, phase: Phase, settings: Settings, batch: dict[str, torch.Tensor], folder: Path
) -> Callable[[], None]:
    """One step of flowkit's loop, with everything that it does between batches."""
    process = Process()
    device = process.device(settings)
    network = make_network(recipe, phase, phase.branch)
    network.drop_identities(("flow" if phase.branch == "rgb" else "rgb",))
    network.to(device, memory_format=choose_layout(device))
    set_train_mode(network, phase)
    progress = make_progress(network, network, phase, settings)
    context = PhaseContext(
        run=Place(folder), phase=phase, recipe=recipe, store=None, settings=settings,  # type: ignore[arg-type]
        process=process, should_stop=lambda: False, log=print,
    )  # fmt: skip
    journal = Journal(folder / phase.name, folder / "board", 0, 0, print)
    pending: list[Any] = [None]

    def step() -> None:
        current = take_step(context, network, progress, batch)
        log_step(pending[0], progress, journal, context)
        pending[0] = current

    return step


def make_bare_step(
    recipe: Recipe, settings: Settings, batch: dict[str, torch.Tensor]
) -> Callable[[], None]:
    """The least that trains a ResNet-50 on these images: no checks, no journal."""
    device = Process().device(settings)
    network: nn.Module = ResNet(
        recipe.network.depth, num_classes=recipe.classes, width=recipe.network.width,
        dropout=recipe.network.dropout,
    ).to(device, memory_format=choose_layout(device))  # fmt: skip
    optimizer = torch.optim.SGD(network.parameters(), 0.01, momentum=0.9, weight_decay=5e-4)
    mean = torch.tensor([0.485, 0.456, 0.406], device=device)[:, None, None]
    std = torch.tensor([0.229, 0.224, 0.225], device=device)[:, None, None]
    dtype = DTYPES[settings.precision]

    def step() -> None:
        images = batch["rgb"].to(device, non_blocking=True).flatten(0, 1)
        images = (images.float() / 255 - mean) / std
        images = images.contiguous(memory_format=choose_layout(device))
        labels = batch["label"].to(device, non_blocking=True)
        with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
            scores = network(images).float().unflatten(0, (-1, recipe.data.num_segments)).mean(1)
            loss = functional.cross_entropy(scores, labels)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()

    return step


def measure_rates(
    steps: dict[str, Callable[[], None]], images: int, count: int, repeat: int, device: str
) -> dict[str, float]:
    """Images (of one stream) per second, the contestants taking turns; medians."""

    def run(step: Callable[[], None]) -> float:
        begin = time.perf_counter()
        for _ in range(count):
            step()
        if device == "cuda":
            torch.cuda.synchronize()
        return images * count / (time.perf_counter() - begin)

    for step in steps.values():
        for _ in range(3):
            step()
    rates: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(repeat):
        for name, step in steps.items():
            rates[name].append(run(step))
    return {name: float(np.median(values)) for name, values in rates.items()}


# --- memory --------------------------------------------------------------------------------------


class MaterializingBlock(CrossModalityBlock):
    """The same block with the (N, M) map in memory, as equations 2 to 4 are usually written."""

    def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        key, value = self._project_key_value(y)
        z = compute_attention_map(self._project_query(x), key) @ value
        return x + self.norm(self.out(z.transpose(1, 2).reshape(x.shape[0], -1, *x.shape[2:])))


def run_block(
    kind: str,
    device: str,
    precision: str,
    batch: int,
    size: tuple[int, int, int] = (CHANNELS, FRAMES, SIDE),
) -> float:
    """Peak memory of one forward and backward, MiB beyond weights and inputs."""
    channels, frames, side = size
    block = {"fused": CrossModalityBlock, "materialized": MaterializingBlock}[kind](
        channels, dims=3
    )
    block.to(device)
    x, y = torch.randn(2, batch, channels, frames, side, side, device=device)
    x.requires_grad_(), y.requires_grad_()
    dtype = DTYPES[precision]
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    else:
        Path("/proc/self/clear_refs").write_text("5")  # forget the peak until now
    before = read_peak(device)
    with torch.autocast(device, dtype, enabled=dtype != torch.float32):
        block(x, y).float().square().mean().backward()
    return read_peak(device) - before


def read_peak(device: str) -> float:
    """The most memory so far, MiB: torch's on a GPU, the process's on a CPU."""
    if device == "cuda":
        return torch.cuda.max_memory_allocated() / 2**20
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


def measure_memory(device: str, precision: str, batch: int) -> None:
    """Each block in a process of its own."""
    peaks = {}
    for kind in ("fused", "materialized"):
        command = [sys.executable, __file__, "--device", device, "--precision", precision,
                   "--batch", str(batch), "--block", kind]  # fmt: skip
        result = subprocess.run(command, capture_output=True, text=True, check=True)
        peaks[kind] = float(result.stdout.split()[-1])
    console.print(
        f"One CMA block, {batch} × {FRAMES} frames of {SIDE}×{SIDE}, {CHANNELS} channels, forward "
        f"and backward: {peaks['fused']:,.0f} MiB at most, {peaks['materialized']:,.0f} MiB with "
        f"the map in memory: {peaks['materialized'] / peaks['fused']:.1f}× less"
    )


def measure_training(
    recipe: Recipe, settings: Settings, batch: int, count: int, repeat: int
) -> tuple[dict[str, float], dict[str, float]]:
    """Time steps of each phase of one iteration of alternation, and of the bare loop.

    Returns:
        Images per second by contestant (``rgb``, ``flow``, ``iter_1``, ``bare``), and on a GPU
        the peak memory of one step of each in MiB.
    """
    phases = {phase.name: phase for phase in list_phases(recipe)}
    samples = make_batch(recipe, batch)
    on_gpu = settings.device == "cuda"
    if on_gpu:
        samples = {name: tensor.pin_memory() for name, tensor in samples.items()}
    peaks = {}
    with tempfile.TemporaryDirectory() as folder:
        steps, makers = (
            {},
            {
                name: partial(make_step, recipe, phases[name], settings, samples, Path(folder))
                for name in ("rgb", "flow", "iter_1")
            },
        )
        makers["bare"] = partial(make_bare_step, recipe, settings, samples)
        for name, make in makers.items():
            if on_gpu:
                torch.cuda.reset_peak_memory_stats()
            before = torch.cuda.memory_allocated() if on_gpu else 0
            steps[name] = make()
            steps[name]()
            if on_gpu:
                peaks[name] = torch.cuda.max_memory_allocated() / 2**20 - before / 2**20
        images = batch * recipe.data.num_segments
        rates = measure_rates(steps, images, count, repeat, settings.device)
    return rates, peaks


def join_rates(rates: dict[str, float]) -> float:
    """Images per second where both plain branches are trained at once."""
    return 1 / (1 / rates["rgb"] + 1 / rates["flow"])


def show_training(options: argparse.Namespace, recipe: Recipe) -> None:
    settings = Settings(
        device=options.device, precision=options.precision, threads=torch.get_num_threads()
    )
    rates, peaks = measure_training(recipe, settings, options.batch, options.steps, options.repeat)
    both = join_rates(rates)
    console.print(
        f"ResNet-{recipe.network.depth} of width {recipe.network.width}, "
        f"{options.batch * recipe.data.num_segments} images of {recipe.data.size} pixels a step, "
        f"{options.precision}:"
    )
    for name, rate in (*rates.items(), ("both branches", both)):
        peak = f", {peaks[name]:,.0f} MiB at most" if name in peaks else ""
        console.print(f"  {name:14} {rate:10,.1f} images/s{peak}")
    console.print(
        f"CMA ÷ both plain branches: {rates['iter_1'] / both:.2f}; "
        f"flowkit's step ÷ bare loop: {rates['rgb'] / rates['bare']:.3f} (bar: ≥ 0.95)"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--precision", choices=list(DTYPES), default="float32")
    parser.add_argument("--batch", type=int)
    parser.add_argument("--steps", type=int)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--block", choices=["fused", "materialized"], help=argparse.SUPPRESS)
    options = parser.parse_args()
    small = options.device == "cpu"
    options.batch = options.batch or (1 if small else 32)
    options.steps = options.steps or (2 if small else 30)
    if options.block:
        print(run_block(options.block, options.device, options.precision, options.batch))
        return
    name = torch.cuda.get_device_name() if not small else "no GPU"
    console.print(f"{describe_machine()}, {name}, torch {torch.__version__}\n")
    recipe = read_recipe("kinetics_cma")
    show_training(options, change_recipe(recipe, {"network.weights": "{}", "iterations": "1"}))
    measure_memory(options.device, options.precision, 1 if small else 4)


if __name__ == "__main__":
    main()

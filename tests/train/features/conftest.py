"""Networks with random weights, as runs that look finished and as files."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from models.backbones.resnet import ResNet
from train.loop.checkpoint import write_tensors
from train.runs.phases import list_phases
from train.runs.run import Run
from train.tasks.networks import make_network, select_weights


@pytest.fixture
def finish() -> Callable[[Run], Run]:
    """``finish(run)``: give every phase weights, those that it would begin with."""

    def work(run: Run) -> Run:
        for phase in list_phases(run.recipe):
            folder = run.folder(phase.name)
            folder.mkdir(parents=True, exist_ok=True)
            network = make_network(run.recipe, phase, phase.branch)
            write_tensors(folder / "weights.pt", select_weights(network, phase))
        return run

    return work


@pytest.fixture
def finished(begin, finish) -> Run:
    """A finished run of branches of RGB and flow (5 fields, 16×16), 32 features each."""
    return finish(begin(iterations=0, testing__controls="[]"))


@pytest.fixture
def weight_file(tmp_path) -> Callable[..., Path]:
    """``weight_file(channels)``: a ResNet-18's weights as torchvision would save them."""

    def write(channels: int = 3, seed: int = 0) -> Path:
        torch.manual_seed(seed)
        path = tmp_path / f"resnet18-{channels}-{seed}.pth"
        torch.save(ResNet(18, in_channels=channels, num_classes=10).state_dict(), path)
        return path

    return write

"""A tiny learned method, whose flow tells which pixels it was computed from."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from flowkit.flow.learned.method import LearnedMethod, WeightsMismatchError
from flowkit.flow.learned.registry import METHODS

torch = pytest.importorskip("torch", reason="learned methods need PyTorch")


def load_scale(weights, device):
    """The network is a number: pixels of displacement for each unit of red."""
    if set(weights) != {"scale"}:
        raise WeightsMismatchError(f"{sorted(weights)[0]} is unknown")
    return float(weights["scale"])


def compute_reds(scale, frames0, frames1):
    """x is the red of the first frame, y that of the second, minus 128 and times the scale."""
    assert frames0.shape == frames1.shape and min(frames0.shape[1:3]) >= 16
    assert not frames0.shape[1] % 8 and not frames0.shape[2] % 8
    reds = np.stack([frames0[..., 0], frames1[..., 0]], axis=-1)
    return (reds.astype(np.float32) - 128) * np.float32(scale)


REDS = LearnedMethod(
    load=load_scale,
    compute=compute_reds,
    weights_file="reds.pth",
    find_obstacle=lambda: None,
    download_command="python -c 'import reds'",
    estimate_bytes=lambda height, width: 100 * height * width,
    multiple=8,
    min_side=16,
)


@pytest.fixture
def reds(monkeypatch):
    """``reds(**changes)`` registers the method with other fields; ``reds()`` as it is."""

    def register(**changes) -> LearnedMethod:
        method = replace(REDS, **changes)
        monkeypatch.setitem(METHODS, "reds", method)
        return method

    register()
    return register


@pytest.fixture
def make_weights(tmp_path):
    """``make_weights(scale)``: path of a weight file of the method ``reds``."""

    def make(scale: float = 0.125, name: str = "reds.pth") -> Path:
        torch.save({"scale": torch.tensor(scale)}, tmp_path / name)
        return tmp_path / name

    return make


@pytest.fixture
def make_frames():
    """``make_frames(count, height, width)``: random RGB frames."""

    def make(count: int, height: int, width: int, seed: int = 0):
        shape = (count, height, width, 3)
        return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)

    return make

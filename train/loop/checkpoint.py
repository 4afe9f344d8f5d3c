"""Checkpoints: everything that a phase needs to resume exactly where it stopped.

There is no random state to save: the seed of dropout is computed from (seed, phase, step, process),
and that of a sample from (seed, epoch, video).
"""

import io
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from flowkit.store.format.atomic import write_atomic
from train.loop.schedule import Schedule
from train.runs.archive import check_archive
from train.runs.run import RunError


@dataclass
class Progress:
    """The training state of a phase."""

    network: nn.Module
    """The network in training."""
    optimizer: Optimizer
    """Its optimizer."""
    schedule: Schedule
    """Its learning-rate schedule."""
    scaler: Any
    """Gradient scaler for float16; inactive otherwise."""
    step: int = 0
    """Steps of the phase so far."""
    epoch: int = 0
    """Epochs completed so far."""
    taken: int = 0
    """Videos used in the current epoch by all processes."""
    sums: dict[str, float] = field(default_factory=lambda: {"loss": 0.0, "top1": 0.0})
    """Sums over the current epoch of the loss times videos, and of correct predictions."""

    def save(self, path: Path) -> None:
        """Write a checkpoint atomically; the old one stays until the new one is complete."""
        state = {name: getattr(self, name).state_dict() for name in STATEFUL_FIELDS}
        plain = {name: getattr(self, name) for name in PLAIN_FIELDS}
        write_tensors(path, {**state, **plain})

    def load(self, path: Path) -> None:
        """Resume from a checkpoint.

        Raises:
            RunError: The checkpoint is incomplete or of another model. The message names the keys.
        """
        state = read_tensors(path)
        missing = {*STATEFUL_FIELDS, *PLAIN_FIELDS} - set(state)
        if missing:
            raise RunError(f"{path} is not a checkpoint: it lacks {', '.join(sorted(missing))}")
        expected, saved = self.network.state_dict(), state["network"]
        differing = sorted(set(expected) ^ set(saved))
        differing += [n for n in expected if n in saved and expected[n].shape != saved[n].shape]
        if differing:
            shown = [*differing[:4], "…"] if len(differing) > 4 else differing
            raise RunError(
                f"{path} is a checkpoint of another model: {len(differing)} weights differ "
                f"({', '.join(shown)}); train in a new folder, or with its recipe"
            )
        for name in STATEFUL_FIELDS:
            getattr(self, name).load_state_dict(state[name])
        for name in PLAIN_FIELDS:
            setattr(self, name, state[name])


STATEFUL_FIELDS = ("network", "optimizer", "schedule", "scaler")
PLAIN_FIELDS = ("step", "epoch", "taken", "sums")


def write_tensors(path: Path, content: dict[str, Any]) -> None:
    """Write tensors and plain values atomically, so that a crash leaves the old or the new file."""
    buffer = io.BytesIO()
    torch.save(content, buffer)
    write_atomic(path, buffer.getvalue())


def read_tensors(path: Path) -> dict[str, Any]:
    """Read tensors and plain values without running code that the file may contain.

    Raises:
        RunError: The file is damaged.
    """
    check_archive(path)
    try:
        content: Any = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise RunError(f"{path} cannot be read: {' '.join(str(error).split())[:200]}") from error
    if not isinstance(content, dict):
        raise RunError(f"{path}: expected a dictionary, got {type(content).__name__}")
    return content

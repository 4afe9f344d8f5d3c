"""Checkpoints: everything that a phase needs to go on exactly where it stopped.

Dropout draws from (seed, phase, step, process), samples from (seed, epoch, video): there is no
state of a random number generator to keep.
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
from train.runs.run import RunError


@dataclass
class Progress:
    """How far a phase is.

    ``step`` of the phase; ``epoch`` and ``taken``, the videos used in it by all processes;
    ``sums`` of this epoch: loss and right answers times videos.
    """

    network: nn.Module
    optimizer: Optimizer
    schedule: Schedule
    scaler: Any
    step: int = 0
    epoch: int = 0
    taken: int = 0
    sums: dict[str, float] = field(default_factory=lambda: {"loss": 0.0, "top1": 0.0})

    def save(self, path: Path) -> None:
        """Write a checkpoint; the old one stays until the new one is whole."""
        state = {name: getattr(self, name).state_dict() for name in STATEFUL}
        plain = {name: getattr(self, name) for name in PLAIN}
        write_tensors(path, {**state, **plain})

    def load(self, path: Path) -> None:
        """Go on from a checkpoint; RunError, naming the keys, where it is of another model."""
        state = read_tensors(path)
        missing = {*STATEFUL, *PLAIN} - set(state)
        if missing:
            raise RunError(f"{path}: not a checkpoint, it lacks {', '.join(sorted(missing))}")
        own, given = self.network.state_dict(), state["network"]
        wrong = sorted(set(own) ^ set(given))
        wrong += [n for n in own if n in given and own[n].shape != given[n].shape]
        if wrong:
            raise RunError(
                f"{path} is a checkpoint of another model: {len(wrong)} weights differ "
                f"({', '.join(wrong[:4])} …); train in a new folder, or with the recipe it is of"
            )
        for name in STATEFUL:
            getattr(self, name).load_state_dict(state[name])
        for name in PLAIN:
            setattr(self, name, state[name])


STATEFUL = ("network", "optimizer", "schedule", "scaler")
PLAIN = ("step", "epoch", "taken", "sums")


def write_tensors(path: Path, content: dict[str, Any]) -> None:
    """Write tensors and plain values so that a crash leaves the old file or the new."""
    buffer = io.BytesIO()
    torch.save(content, buffer)
    write_atomic(path, buffer.getvalue())


def read_tensors(path: Path) -> dict[str, Any]:
    """Read them, without running code that the file may hold; RunError where it is damaged."""
    try:
        content: Any = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise RunError(f"{path} cannot be read: {' '.join(str(error).split())[:200]}") from error
    if not isinstance(content, dict):
        raise RunError(f"{path}: expected values by name, got {type(content).__name__}")
    return content

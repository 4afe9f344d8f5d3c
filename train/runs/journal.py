"""What a training says of itself: a JSON line for each step and epoch, TensorBoard, the terminal.

A resumed training goes on after its checkpoint, so lines beyond it are cut off first.
"""

import json
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

Log = Callable[[str], None]
# Between the steps that TensorBoard is told of. It takes a millisecond for one, as long as some
# steps last; steps.jsonl has all.
BOARD_SECONDS = 1.0


class Journal:
    """Lines of one phase; ``step`` is where it begins or goes on."""

    def __init__(self, folder: Path, tensorboard: Path, step: int, epoch: int, log: Log) -> None:
        from tensorboardX import SummaryWriter

        folder.mkdir(parents=True, exist_ok=True)
        self._log, self._name = log, folder.name
        self._steps = open_lines(folder / "steps.jsonl", "step", step)
        self._epochs = open_lines(folder / "epochs.jsonl", "epoch", epoch)
        self._told = -math.inf
        self._board = SummaryWriter(str(tensorboard), purge_step=step, flush_secs=30)

    def note_step(self, **values: Any) -> None:
        """A step is over."""
        self._steps.write(json.dumps(values) + "\n")
        if time.monotonic() - self._told < BOARD_SECONDS:
            return
        self._told = time.monotonic()
        for name in ("loss", "rate"):
            self._board.add_scalar(f"{self._name}/{name}", values[name], values["step"])

    def note_epoch(self, **values: Any) -> None:
        """An epoch is over."""
        self._epochs.write(json.dumps(values) + "\n")
        self.flush()
        for name in ("train_top1", "top1", *(["mAP"] if "mAP" in values else [])):
            self._board.add_scalar(f"{self._name}/{name}", values[name], values["step"])
        precision = f" (mAP {values['mAP']:.1%})" if "mAP" in values else ""
        self._log(
            f"{self._name}: epoch {values['epoch']}/{values['epochs']}, loss {values['loss']:.3f}, "
            f"training {values['train_top1']:.1%}, validation {values['top1']:.1%}{precision}, "
            f"rate {values['rate']:g}, {values['seconds']:.0f} s "
            f"({values['wait']:.0%} of it waiting for data)"
        )

    def flush(self) -> None:
        """Hand all lines to the disk."""
        self._steps.flush()
        self._epochs.flush()

    def close(self) -> None:
        for file in (self._steps, self._epochs, self._board):
            file.close()


class NullLogger:
    """The journal of processes other than the first."""

    def say(self, text: str) -> None: ...

    def note_step(self, **values: Any) -> None: ...

    def note_epoch(self, **values: Any) -> None: ...

    def flush(self) -> None: ...

    def close(self) -> None: ...


def open_lines(path: Path, key: str, last: int) -> Any:
    """A file of JSON lines to append to, without whole lines beyond ``last`` or half ones."""
    kept = []
    if path.exists():
        for line in path.read_text().splitlines(keepends=True):
            if line.endswith("\n") and json.loads(line)[key] <= last:
                kept.append(line)
    path.write_text("".join(kept))
    return path.open("a")


def read_lines(path: Path) -> list[dict[str, Any]]:
    """All whole lines of a journal; none where there is no file."""
    if not path.exists():
        return []
    lines = path.read_text().splitlines(keepends=True)
    return [json.loads(line) for line in lines if line.endswith("\n")]

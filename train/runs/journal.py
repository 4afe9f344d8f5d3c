"""Log training progress to JSON lines, TensorBoard and the terminal.

A resumed training continues after its checkpoint, so lines beyond the checkpoint are removed first.
"""

import json
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from train.runs.run import RunError

Log = Callable[[str], None]
# Minimum time between two steps logged to TensorBoard. Logging one takes a millisecond, as long as
# some steps do. steps.jsonl has all steps.
BOARD_SECONDS = 1.0


class Journal:
    """Log the steps and epochs of one phase.

    Args:
        folder: Folder of the phase, for steps.jsonl and epochs.jsonl.
        tensorboard: Folder of the TensorBoard events.
        step: Step at which the phase starts or continues.
        epoch: Epoch at which the phase starts or continues.
        log: Receives a line of text per epoch.
    """

    def __init__(self, folder: Path, tensorboard: Path, step: int, epoch: int, log: Log) -> None:
        from tensorboardX import SummaryWriter

        folder.mkdir(parents=True, exist_ok=True)
        self._log, self._name = log, folder.name
        self._steps = open_lines(folder / "steps.jsonl", "step", step)
        self._epochs = open_lines(folder / "epochs.jsonl", "epoch", epoch)
        self._board_time = -math.inf
        self._board = SummaryWriter(str(tensorboard), purge_step=step, flush_secs=30)

    def log_step(self, **values: Any) -> None:
        """Log a finished step."""
        self._steps.write(json.dumps(values) + "\n")
        if time.monotonic() - self._board_time < BOARD_SECONDS:
            return
        self._board_time = time.monotonic()
        for name in ("loss", "rate"):
            self._board.add_scalar(f"{self._name}/{name}", values[name], values["step"])

    def log_epoch(self, **values: Any) -> None:
        """Log a finished epoch."""
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
        """Flush all lines to disk."""
        self._steps.flush()
        self._epochs.flush()

    def close(self) -> None:
        """Close all files."""
        for file in (self._steps, self._epochs, self._board):
            file.close()


class NullLogger:
    """A journal that discards everything, for all processes except that of rank 0."""

    def log_step(self, **values: Any) -> None:
        """Discard a step."""

    def log_epoch(self, **values: Any) -> None:
        """Discard an epoch."""

    def flush(self) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Do nothing."""


def open_lines(path: Path, key: str, last: int) -> Any:
    """Open a file of JSON lines for appending.

    Incomplete lines, and lines whose `key` is beyond `last`, are removed first.

    Args:
        path: The file, which need not exist.
        key: Name of the counter in each line.
        last: Highest value of the counter to keep.
    """
    kept = [values for values in read_lines(path) if values[key] <= last]
    path.write_text("".join(json.dumps(values) + "\n" for values in kept))
    return path.open("a")


def read_lines(path: Path) -> list[dict[str, Any]]:
    """Read all complete lines of a journal; return an empty list if there is no file.

    Raises:
        RunError: A line is damaged, or the file cannot be read.
    """
    try:
        lines = path.read_bytes().split(b"\n")[:-1]
        entries: list[dict[str, Any]] = [json.loads(line) for line in lines if line.strip()]
        if not all(isinstance(entry, dict) for entry in entries):
            raise ValueError("expected an object in each line")
    except FileNotFoundError:
        return []
    except (OSError, ValueError) as error:
        raise RunError(f"{path} is damaged ({error}); remove the line, or train again") from error
    return entries

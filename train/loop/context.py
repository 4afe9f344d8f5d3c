"""Everything the training loop needs to train one phase."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from flowkit.store import Store
from models.layers.segments import average_segments
from train.distributed.parallel import Process, make_autocast
from train.recipe.recipe import Recipe
from train.runs.journal import Log
from train.runs.phases import Phase
from train.runs.run import Run, Settings
from train.tasks.registry import find_task
from train.tasks.samples import TensorDict, convert_loader_errors
from train.tasks.task import AnyTask


@dataclass(frozen=True, kw_only=True)
class PhaseContext:
    """The objects and settings with which the training loop trains one phase."""

    run: Run
    """The run that the phase belongs to."""
    phase: Phase
    """The phase to train."""
    recipe: Recipe
    """The run's recipe for the split of the phase."""
    store: Store
    """The store with the training videos."""
    settings: Settings
    """Device, precision and processes of the session."""
    process: Process
    """This training process."""
    should_stop: Callable[[], bool]
    """Called after every step; training stops when it returns True."""
    log: Log
    """Receives lines of text for the user."""
    balance: Any = None
    """Weight of each class in the loss, float32 (C,), or None for equal weights."""

    @property
    def task(self) -> AnyTask:
        """Return the task of the recipe."""
        return find_task(self.recipe)

    @property
    def device(self) -> torch.device:
        """Return the device that this process trains on."""
        return self.process.device(self.settings)

    def score(self, network: Any, batch: TensorDict) -> TensorDict:
        """Compute the scores of a batch.

        Args:
            network: The network to call.
            batch: A batch from the loader.

        Returns:
            The trained branch's scores (B, C), averaged over segments, by the branch's name, and
            any losses that the network computes itself.
        """
        with self.autocast():
            outputs = self.task.train_scores(network, batch, self.phase, self.device)
        scores = outputs[self.phase.branch].float()
        scores = average_segments(scores, len(scores) // len(batch["label"]))
        return {**outputs, self.phase.branch: scores}

    def autocast(self) -> Any:
        """Return an autocast context for the precision of the settings."""
        return make_autocast(self.settings.precision, self.device)


def read_batches(loader: Any, context: PhaseContext) -> Any:
    """Yield the batches of a loader.

    Raises:
        RunError: A loader process died.
    """
    subject = f"phase {context.phase.name}: a process that loads data"
    advice = (
        "use fewer --workers, and run the same command again to continue from the last checkpoint"
    )
    with convert_loader_errors(subject, advice):
        yield from loader

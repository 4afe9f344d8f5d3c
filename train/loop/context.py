"""Where a phase is trained: its run, store, settings and process, in one hand."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from flowkit.store import Store
from models.layers.segments import average_segments
from train.distributed.parallel import Process
from train.recipe.recipe import Recipe
from train.runs.journal import Log
from train.runs.phases import Phase
from train.runs.run import Run, RunError, Settings
from train.tasks.registry import find_task
from train.tasks.task import AnyTask, Batch

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass(frozen=True, kw_only=True)
class PhaseContext:
    """Where a phase is trained. ``should_stop`` is asked after every step of this session.

    ``balance``: weights of the classes in the loss, (C,), or None.
    """

    run: Run
    phase: Phase
    recipe: Recipe  # of the phase's split
    store: Store
    settings: Settings
    process: Process
    should_stop: Callable[[], bool]
    log: Log
    balance: Any = None

    @property
    def task(self) -> AnyTask:
        """The task of the recipe."""
        return find_task(self.recipe)

    @property
    def device(self) -> torch.device:
        return self.process.device(self.settings)

    def score(self, network: Any, batch: Batch) -> Batch:
        """The trained branch's scores (B, C) by its name, and losses of the network's own."""
        with self.autocast():
            given = self.task.train_scores(network, batch, self.phase, self.device)
        scores = given[self.phase.branch].float()
        scores = average_segments(scores, len(scores) // len(batch["label"]))
        return {**given, self.phase.branch: scores}

    def autocast(self) -> Any:
        dtype = DTYPES[self.settings.precision]
        return torch.autocast(self.device.type, dtype, enabled=dtype != torch.float32)


def watch(loader: Any, context: PhaseContext) -> Any:
    """The loader's batches; RunError where one of its workers died."""
    try:
        yield from loader
    except RuntimeError as error:
        if "DataLoader worker" not in str(error):
            raise
        raise RunError(
            f"phase {context.phase.name}: a process that loads data died "
            f"({' '.join(str(error).split())[:160]}). If it was short of memory, take fewer "
            "--workers; the same command goes on from the last checkpoint"
        ) from error

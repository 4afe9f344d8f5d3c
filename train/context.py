"""Where a phase is trained: its run, store, settings and process, in one hand."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from flowkit.store import Store
from train.alternate import Phase
from train.backbones import Inputs, find_inputs
from train.journal import Log
from train.parallel import Process
from train.recipe import Recipe
from train.run import Run, RunError, Settings

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass(frozen=True, kw_only=True)
class Context:
    """Where a phase is trained. ``should_stop`` is asked after every step of this session."""

    run: Run
    phase: Phase
    recipe: Recipe  # of the phase's split
    store: Store
    settings: Settings
    process: Process
    should_stop: Callable[[], bool]
    log: Log

    @property
    def inputs(self) -> Inputs:
        return find_inputs(self.recipe, self.recipe.data.num_segments)

    @property
    def device(self) -> torch.device:
        return self.process.device(self.settings)

    def autocast(self) -> Any:
        dtype = DTYPES[self.settings.precision]
        return torch.autocast(self.device.type, dtype, enabled=dtype != torch.float32)


def watch(loader: Any, context: Context) -> Any:
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

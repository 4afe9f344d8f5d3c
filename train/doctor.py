"""Check for `flowkit doctor` that training works: train one step of a two-stream network.

The network has two branches: one sees RGB frames, the other optical flow. `flowkit doctor` finds
this check through the entry-point group ``flowkit.checks``.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from train.recipe.recipe import Recipe
    from train.runs.run import Settings

INDUCTOR_CACHE = "TORCHINDUCTOR_CACHE_DIR"
CHANGES = {
    "title": "Test training of flowkit doctor",
    "dataset": "doctor",
    "classes": "2",
    "iterations": "0",
    "phases": "{}",
    "data.short_side": "48",
    "data.size": "32",
    "network.width": "4",
    "training.epochs": "1",
    "training.batch": "2",
    "testing.controls": "[]",
}
"""Changes that make a small training recipe of motion8_cma, for two videos of 64×48 pixels."""


@contextmanager
def keep_inductor_cache_in(folder: Path) -> Iterator[None]:
    """Keep the cache of PyTorch's compiler in ``folder``, unless the user has set a folder for it.

    Parts of PyTorch create the cache on import; it would otherwise stay in the system's folder for
    temporary files.
    """
    former = os.environ.get(INDUCTOR_CACHE)
    os.environ.setdefault(INDUCTOR_CACHE, str(folder / "inductor"))
    try:
        yield
    finally:
        if former is None:
            os.environ.pop(INDUCTOR_CACHE, None)


def make_recipe() -> "Recipe":
    """Build a training recipe of one step for each branch."""
    from train.recipe.recipe import change_recipe, read_recipe

    return change_recipe(read_recipe("motion8_cma"), CHANGES)


def check_training(store: Path, folder: Path) -> str:
    """Train one step per branch, as `flowkit train` does, and describe the result.

    The check uses the device that `flowkit train` would choose, and a loader process if that
    command would start any.

    Args:
        store: A store as described in ``flowkit.doctor.plugin_steps``.
        folder: An empty folder in which the run is written.
    """
    with keep_inductor_cache_in(folder):
        settings = train_one_step(store, folder / "run")
    processes = f"{settings.workers} process{'' if settings.workers == 1 else 'es'}"
    return f"1 step for RGB and 1 for flow on {settings.device} with {processes} loading data"


def train_one_step(store: Path, run_folder: Path) -> "Settings":
    """Train a run of one step per branch to its end and return the settings used."""
    import torch

    from flowkit.store import Store
    from train.loop.session import open_run, train
    from train.runs.settings import make_settings

    recipe, opened = make_recipe(), Store(store)
    settings = make_settings("auto", None, None)
    settings = replace(settings, workers=min(1, settings.workers))
    run, threads = open_run(run_folder, recipe, opened), torch.get_num_threads()
    try:
        if not train(run, opened, settings, lambda text: None):
            raise KeyboardInterrupt  # training caught the signal and stopped cleanly
    finally:
        torch.set_num_threads(threads)
    return settings

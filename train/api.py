"""The public functions of this package: train, evaluate and predict from scripts and notebooks."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from flowkit.store import Store
from train.evaluation import evaluate as evaluation
from train.evaluation.predict import Prediction, predict_stored, predict_video
from train.loop import session
from train.recipe.recipe import Recipe, change_recipe
from train.recipe.recipe import read_recipe as read_recipe
from train.runs.run import Run
from train.runs.settings import make_settings
from train.tasks.registry import find_task

PathLike = str | os.PathLike[str]


def fit(
    recipe: PathLike | Recipe,
    store: PathLike | Store,
    run: PathLike,
    *,
    device: str = "auto",
    workers: int | None = None,
    threads: int | None = None,
    precision: str = "float32",
    log: Callable[[str], None] = print,
    **overrides: Any,
) -> Run:
    """Train a recipe on a store; call it again to go on after any interruption.

    Args:
        recipe: Name of a recipe (`flowkit recipes` lists them), a YAML file, or a `Recipe`.
        store: The frame store, or its folder.
        run: Folder of the run, which is created if it does not exist.
        device: "cpu", "cuda", or "auto" to use a GPU if PyTorch finds one.
        workers: Number of processes that load data. Default: half of the cores on the CPU, all
            but one on a GPU.
        threads: Number of PyTorch CPU threads. Default: the cores that no loader process takes.
        precision: "float32", "bfloat16" or "float16".
        log: Called with each line of progress.
        **overrides: Changes of the recipe, with two underscores for a dot:
            `training__epochs=10`.

    Returns:
        The run. Its `is_finished` returns whether all phases are trained.

    Raises:
        UsageError: The recipe or an override is wrong.
        StoreError: The store lacks what the recipe needs.
        RunError: The run was begun with another recipe or store.

    Example:
        >>> run = train.fit("motion8_cma", "S", "R", training__epochs=2)  # doctest: +SKIP
        >>> train.evaluate(run, "S")["iter_1/fusion"]["top1"]  # doctest: +SKIP
        0.948
    """
    opened_store = open_store(store)
    original = recipe if isinstance(recipe, Recipe) else read_recipe(os.fspath(recipe))
    changes = {name.replace("__", "."): str(value) for name, value in overrides.items()}
    changed_recipe = change_recipe(original, changes)
    if workers is None:
        workers = find_task(changed_recipe).default_workers
    settings = make_settings(device, workers, threads, precision=precision)
    opened_run = session.open_run(Path(run), changed_recipe, opened_store)
    session.train(opened_run, opened_store, settings, log)
    return opened_run


def evaluate(
    run: PathLike | Run,
    store: PathLike | Store,
    *,
    device: str = "auto",
    workers: int | None = None,
    threads: int | None = None,
) -> dict[str, dict[str, float]]:
    """Score the test videos of a store with every phase of a finished run.

    The scores are saved in the run folder, from which `flowkit report` reads them.

    Args:
        run: The run, or its folder.
        store: The store, or its folder.
        device: As for `fit`.
        workers: As for `fit`.
        threads: As for `fit`.

    Returns:
        Metrics by the name of the score, such as {"iter_1/fusion": {"top1": 0.9, …, "n": 400}}.

    Raises:
        RunError: The run is not finished, or the store has other classes.
    """
    settings = make_settings(device, workers, threads)
    return evaluation.evaluate(open_run(run), open_store(store), settings)


def predict(
    run: PathLike | Run,
    video: PathLike,
    *,
    store: PathLike | Store | None = None,
    device: str = "auto",
    backend: str = "auto",
) -> Prediction:
    """Classify a video with a finished run.

    Args:
        run: The run, or its folder.
        video: A video file; with `store`, the id of a video there.
        store: For a run on features: the store that has those of the video.
        device: As for `fit`.
        backend: Optical-flow backend: a key of `flowkit.flow.BACKENDS`, or "auto".

    Returns:
        Probabilities of the run's classes; `top(5)` gives the likeliest with their names.

    Raises:
        VideoError: The file cannot be used.
        RunError: The run is not finished, or classifies files where `store` is given (or the
            reverse).
    """
    settings = make_settings(device, 0, None)
    if store is None:
        return predict_video(open_run(run), Path(video), settings, backend)
    return predict_stored(open_run(run), open_store(store), os.fspath(video), settings)


def open_run(run: PathLike | Run) -> Run:
    """Open a run folder; an open run is returned as it is."""
    return run if isinstance(run, Run) else Run(Path(run))


def open_store(store: PathLike | Store) -> Store:
    """Open a store; an open store is returned as it is."""
    return store if isinstance(store, Store) else Store(store)

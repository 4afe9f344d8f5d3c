"""Training, evaluation and prediction as calls, for scripts and notebooks."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from flowkit.store import Store
from train.evaluation import evaluate as evaluation
from train.evaluation.predict import Prediction, predict_stored, predict_video
from train.loop.session import check_start
from train.loop.session import train as train_run
from train.recipe.recipe import Recipe, change_recipe
from train.recipe.recipe import read_recipe as read_recipe
from train.runs.run import Run, create_run
from train.runs.settings import make_settings
from train.tasks.registry import find_task

PathLike = str | os.PathLike[str]


def fit(
    recipe: str | os.PathLike[str] | Recipe,
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
        run: Folder of the run. It is made if it does not exist.
        device: "cpu", "cuda", or "auto" for the GPU where torch sees one.
        workers: Processes that load data. Default: half of the cores (CPU), all but one (GPU).
        threads: CPU threads of torch. Default: the cores that no loader process takes.
        precision: "float32", "bfloat16" or "float16".
        log: Called with each line of progress.
        **overrides: Changes of the recipe, with two underscores for a dot:
            `training__epochs=10`.

    Returns:
        The run; `is_finished()` says whether all its phases are trained.

    Raises:
        UsageError: the recipe or an override is wrong.
        StoreError: the store lacks what the recipe needs.
        RunError: the run was begun with another recipe or store.

    Example:
        >>> run = train.fit("motion8_cma", "S", "R", training__epochs=2)  # doctest: +SKIP
        >>> train.evaluate(run, "S")["iter_1/fusion"]["top1"]  # doctest: +SKIP
        0.948
    """
    opened = store if isinstance(store, Store) else Store(store)
    chosen = recipe if isinstance(recipe, Recipe) else read_recipe(os.fspath(recipe))
    changes = {name.replace("__", "."): str(value) for name, value in overrides.items()}
    chosen = change_recipe(chosen, changes)
    if workers is None:
        workers = find_task(chosen).default_workers
    settings = make_settings(device, workers, threads, precision=precision)
    folder = Path(run)
    if not (folder / "run.json").exists():
        check_start(chosen, opened)
    made = create_run(folder, chosen, opened)
    train_run(made, opened, settings, log)
    return made


def evaluate(
    run: PathLike | Run,
    store: PathLike | Store,
    *,
    device: str = "auto",
    workers: int | None = None,
    threads: int | None = None,
) -> dict[str, dict[str, float]]:
    """Score the test videos of a store with every phase of a finished run.

    Scores are kept in the run's folder, where `flowkit report` finds them.

    Args:
        run: The run, or its folder.
        store: The store, or its folder.
        device: As for `fit`.
        workers: As for `fit`.
        threads: As for `fit`.

    Returns:
        Metrics by name of score, such as {"iter_1/fusion": {"top1": 0.9, …, "n": 400}}.

    Raises:
        RunError: the run is not finished, or the store has other classes.
    """
    opened_run = run if isinstance(run, Run) else Run(Path(run))
    opened = store if isinstance(store, Store) else Store(store)
    settings = make_settings(device, workers, threads)
    return evaluation.evaluate(opened_run, opened, settings)


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
        backend: Of the flow: a key of `flowkit.flow.BACKENDS`, or "auto".

    Returns:
        Probabilities of the run's classes; `top(5)` gives the likeliest with their names.

    Raises:
        VideoError: the file cannot be used.
        RunError: the run is not finished, or is not of this kind.
    """
    opened_run = run if isinstance(run, Run) else Run(Path(run))
    settings = make_settings(device, 0, None)
    if store is None:
        return predict_video(opened_run, Path(video), settings, backend)
    opened = store if isinstance(store, Store) else Store(store)
    return predict_stored(opened_run, opened, os.fspath(video), settings)

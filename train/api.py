"""The public functions of this package: `fit`, `evaluate` and `predict`.

A run is a folder with everything of one training: its recipe, weights, logs and scores. `Run` opens
such a folder. A phase is one part of a run with weights of its own, such as training the RGB
branch. A branch is the network of one stream, such as RGB frames or optical flow.
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from flowkit.errors import UsageError
from flowkit.store import Store
from train.evaluation.evaluations import make_evaluation
from train.evaluation.predict import Prediction, predict_stored, predict_video
from train.loop import session as training_session
from train.recipe.recipe import Recipe, draft_of, read_draft
from train.runs.run import Run
from train.runs.settings import make_settings
from train.tasks.registry import find_task

PathLike = str | os.PathLike[str]


def fit(
    recipe: PathLike | Recipe,
    store: PathLike | Store,
    run: PathLike,
    *,
    row: str | None = None,
    quick: bool = False,
    device: str = "auto",
    workers: int | None = None,
    threads: int | None = None,
    precision: str = "float32",
    log: Callable[[str], None] = print,
    **overrides: Any,
) -> Run:
    """Train all phases of a recipe on a store.

    A general recipe, such as "two_stream", takes the classes, the subsets and the sizes from the
    store. A store without subsets is divided into train, val and test first.

    After an interruption, call it again with the same arguments: training then continues.

    Args:
        recipe: Name of a recipe (`flowkit recipes` lists them), a YAML file, or a `Recipe`.
        store: The store of frames, flow, audio or features, or its folder.
        run: Folder of the run, which is created if it does not exist.
        row: Train this row of the paper's tables; `flowkit recipes NAME` lists them.
        quick: Train a smaller network for fewer epochs, as the recipe's section ``quick`` says.
        device: "cpu", "cuda", or "auto" to use a GPU if PyTorch finds one.
        workers: Number of processes that load data. Default: half of the CPU cores when training
            on the CPU, all cores but one when training on a GPU; 0 for recipes on feature sets.
        threads: Number of PyTorch CPU threads. Default: the cores that `workers` leaves free.
        precision: Number format of the network: "float32", "bfloat16" or "float16".
        log: Called with each line of progress.
        **overrides: Values that replace those of the recipe, by key, with two underscores for each
            dot: `training__epochs=10` sets training.epochs. Text is read as YAML.

    Returns:
        The run. Its method `is_finished()` tells whether all phases are trained.

    Raises:
        UsageError: The recipe or an override is invalid, or there is no such row.
        StoreError: The store lacks data that the recipe needs.
        RunError: The folder is a run with another recipe or store.

    Example:
        >>> run = train.fit("motion8_cma", "S", "R", training__epochs=2)  # doctest: +SKIP

        >>> train.evaluate(run, "S")["iter_1/fusion"]["top1"]  # doctest: +SKIP
        0.948
    """
    draft = draft_of(recipe) if isinstance(recipe, Recipe) else read_draft(os.fspath(recipe))
    changes = {name.replace("__", "."): value for name, value in overrides.items()}
    draft = draft if row is None else draft.take_row(row)
    draft = (draft.make_quick() if quick else draft).change(changes)
    if workers is None:  # the example is of the kind that the complete recipe will be
        workers = find_task(draft.make_example()).default_workers
    settings = make_settings(device, workers, threads, precision=precision)
    opened_run, opened_store = training_session.start_run(Path(run), draft, open_store(store), log)
    training_session.train(opened_run, opened_store, settings, log)
    return opened_run


def evaluate(
    run: PathLike | Run,
    store: PathLike | Store,
    *,
    device: str = "auto",
    workers: int | None = None,
    threads: int | None = None,
    name: str | None = None,
    processes: int = 1,
    precision: str = "float32",
    batch: int | None = None,
    **overrides: Any,
) -> dict[str, dict[str, float]]:
    """Score the test videos of a store with the networks of all phases of a finished run.

    The scores of the videos and the results are saved in the run folder, and with a name or other
    test settings in its subfolder ``evaluations``, beside the default ones.

    Args:
        run: The run, or its folder.
        store: The store, or its folder.
        device: As for `fit`.
        workers: As for `fit`.
        threads: As for `fit`.
        name: Name of the evaluation. Default: made of the overrides, such as "segments=10"; without
            overrides, the evaluation is the default one.
        processes: Number of processes that divide the videos: one for each GPU, or on CPU cores.
        precision: As for `fit`.
        batch: Videos that the network scores at once. Default: 1, or 256 sets of features.
        **overrides: Test settings that replace those of the run's recipe, with two underscores for
            the dot: `testing__segments=10` sets testing.segments.

    Returns:
        Metrics by the name of the score, such as {"iter_1/fusion": {"top1": 0.9, …, "n": 400}}:
        accuracies in [0, 1] and n, the number of videos. train/evaluation/evaluate.py lists the
        names.

    Raises:
        RunError: The run is not finished, or the store has classes other than the run's.
        UsageError: An override is not a test setting, the store cannot serve it, or the run has an
            evaluation of this name with other test settings.
    """
    opened_run = open_run(run)
    if workers is None:
        workers = find_task(opened_run.recipe).default_workers
    settings = make_settings(
        device, workers, threads, processes, precision=precision, test_batch=batch
    )
    changes = {key.replace("__", "."): value for key, value in overrides.items()}
    return make_evaluation(opened_run, open_store(store), settings, changes, name).scores


def predict(
    run: PathLike | Run,
    video: PathLike,
    *,
    store: PathLike | Store | None = None,
    device: str = "auto",
    backend: str = "auto",
    frame_rate: float | None = None,
) -> Prediction:
    """Classify a video with a finished run.

    Args:
        run: The run, or its folder.
        video: A video file, or a folder of images; if `store` is given, the id of a video in this
            store.
        store: For a run on feature sets: the store that has the features of the video.
        device: As for `fit`.
        backend: Optical-flow backend: a key of `flowkit.flow.BACKENDS`, or "auto".
        frame_rate: Frames per second of a folder of images, which a run needs whose store is
            resampled to a frame rate.

    Returns:
        The probabilities of all classes; `top(5)` returns the names and probabilities of the five
        most probable.

    Raises:
        VideoError: The file cannot be used.
        RunError: The run is not finished; it is on feature sets and needs `store`; or it classifies
            video files and `store` was given.
        UsageError: `backend` or `frame_rate` is given with `store`, or the store has no such video.
    """
    settings = make_settings(device, 0, None)
    if store is not None and backend != "auto":
        raise UsageError("backend has an effect only with a video file, not with store")
    if store is not None and frame_rate is not None:
        raise UsageError("frame_rate has an effect only with a folder of images, not with store")
    if store is None:
        return predict_video(open_run(run), Path(video), settings, backend, frame_rate)
    return predict_stored(open_run(run), open_store(store), os.fspath(video), settings)


def open_run(run: PathLike | Run) -> Run:
    """Open a run folder. An open run is returned unchanged."""
    return run if isinstance(run, Run) else Run(Path(run))


def open_store(store: PathLike | Store) -> Store:
    """Open a store. An open store is returned unchanged."""
    return store if isinstance(store, Store) else Store(store)

"""Classify a video file: decode it, compute its flow, and score it as in testing.

The video is extracted into a temporary store with the recipe of the run's training store, so that
the networks get the same input as in training, including JPEG compression. Runs on feature sets
classify videos of a store that has their features.
"""

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from rich.console import Console

from flowkit.annotations import explicit_files
from flowkit.annotations.table import Annotation, AnnotationTable
from flowkit.errors import UsageError, VideoError
from flowkit.extraction.options import Options
from flowkit.extraction.run import extract
from flowkit.flow.color import flow_to_color
from flowkit.recipe import StoreRecipe
from flowkit.store import Store, Video
from train.evaluation.scores import F32, convert_to_probabilities
from train.evaluation.scoring import score_phases
from train.recipe.recipe import Branch
from train.runs.phases import Scoring, list_phases, list_scorings
from train.runs.run import Run, RunError, Settings
from train.tasks.registry import find_task

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SUBSET = "predict"
SHOWN = 5
"""Number of the most probable classes that are shown."""
DRAWN = 3
"""Number of frames that are drawn."""


@dataclass(frozen=True)
class Prediction:
    """Class probabilities of a video, and a few of its frames and flow fields for drawing."""

    classes: tuple[str, ...]
    """Names of the classes by class id."""
    probabilities: npt.NDArray[np.float32]
    """Probabilities (C,) of the classes."""
    frames: list[npt.NDArray[np.uint8]]
    """A few frames, uint8 (H, W, 3)."""
    flows: list[npt.NDArray[np.uint8]]
    """The colour-coded flow of the same moments, uint8 (H, W, 3)."""

    def top(self, count: int = SHOWN) -> list[tuple[str, float]]:
        """Return the names and probabilities of the most probable classes, best first."""
        order = np.argsort(-self.probabilities, kind="stable")[:count]
        return [(self.classes[i], float(self.probabilities[i])) for i in order]


def predict_video(
    run: Run,
    video: Path,
    settings: Settings,
    backend: str = "auto",
    frame_rate: float | None = None,
) -> Prediction:
    """Classify a video file with the last score of a finished run, which is a fusion if it has one.

    Args:
        run: The run.
        video: The video file, or a folder of images.
        settings: Device and threads.
        backend: The optical-flow backend.
        frame_rate: Frames per second of a folder of images, which a run needs whose store is
            resampled to a frame rate.

    Returns:
        The prediction.

    Raises:
        VideoError: The video cannot be used, or has no sound for a run on audio.
        RunError: The run is not finished, or was trained on feature sets or imported flow.
    """
    store_recipe = choose_store_recipe(run)
    if not run.is_finished():
        raise RunError(f"{run.path} is not finished; run flowkit train again to continue it")
    torch.set_num_threads(settings.threads)
    with tempfile.TemporaryDirectory(prefix="flowkit-") as folder:
        options = Options(
            workers=0, streams=store_recipe.streams, backend=backend, frame_rate=frame_rate
        )
        store = extract_one(video, store_recipe, run.classes, Path(folder) / "store", options)
        find_task(run.recipe).check_video_file(run, video, store)
        return score_video(run, store, 0, settings)


def choose_store_recipe(run: Run) -> StoreRecipe:
    """Choose how a video file is extracted for a run.

    Raises:
        RunError: The run was trained on feature sets, which a video file does not have, or on
            imported flow.
    """
    task = find_task(run.recipe)
    store_recipe = task.recipe_for_video_file(StoreRecipe.from_dict(run.facts["store_recipe"]))
    if store_recipe is None:
        raise RunError(
            f"{run.path} was trained on features, which a video file does not have: extract them "
            "into a store (flowkit extract, flowkit features), and name the store and the id of "
            "the video: flowkit predict RUN ID --store S"
        )
    if store_recipe.flow is not None and store_recipe.flow.is_imported:
        raise RunError(
            f"{run.path} was trained on imported flow, and nothing records how it was computed, so "
            "that of a video file cannot be computed in the same way: import its frames and flow "
            "(flowkit import), and score them with flowkit evaluate RUN --store S"
        )
    return store_recipe


def predict_stored(run: Run, store: Store, id: str, settings: Settings) -> Prediction:
    """Classify a video of a store from its features, with a finished run on feature sets.

    Args:
        run: The run.
        store: The store with the features.
        id: Id of the video.
        settings: Device and threads.

    Returns:
        The prediction.

    Raises:
        UsageError: The store has no such video.
        StoreError: The video lacks features that the network needs.
        RunError: The run was trained on images or audio, or on other features.
    """
    task = find_task(run.recipe)
    if task.recipe_for_video_file(StoreRecipe.from_dict(run.facts["store_recipe"])) is not None:
        raise RunError(
            f"{run.path} was trained on {task.name}: name a video file, and leave out --store"
        )
    run.check_store(store)
    row = store.find(id)
    if row is None:
        raise UsageError(
            f"{store.location} has no video {id!r}; use the id of a video of this store"
        )
    return score_video(run, store, row, settings)


def score_video(run: Run, store: Store, row: int, settings: Settings) -> Prediction:
    """Score one video of a store.

    Args:
        run: The run.
        store: The store with the video.
        row: Row of the video in the store.
        settings: Device of the networks.
    """
    scoring = choose_scoring(run)
    without_workers = replace(settings, workers=0)
    scores = score_phases(run, scoring, store, without_workers, video=row)
    pairs = {
        branch: (scores[branch].logits[0], scores[branch].softmax[0]) for branch in scoring.phases
    }
    return Prediction(run.classes, combine_scores(run, scoring, pairs), *draw_images(store[row]))


def choose_scoring(run: Run) -> Scoring:
    """Return the last scoring that is not a control experiment.

    A scoring names the phases whose branches are scored together, and their fusion weights. A
    control experiment has the flow of other videos (``scoring.control``), or a phase with equal
    attention weights (``phase.uniform``).
    """
    controls = {phase.name for phase in list_phases(run.recipe) if phase.uniform}
    scorings = [
        scoring
        for scoring in list_scorings(run.recipe)
        if scoring.control is None and not controls & set(scoring.phases.values())
    ]
    return scorings[-1]


def extract_one(
    video: Path, recipe: StoreRecipe, classes: tuple[str, ...], root: Path, options: Options
) -> Store:
    """Extract one video file into a store of its own.

    Args:
        video: The video file.
        recipe: The recipe of the store.
        classes: The names of the classes.
        root: The folder of the new store.
        options: How it is extracted.

    Returns:
        A store with one video, without labels, in the subset `SUBSET`.

    Raises:
        VideoError: The video could not be extracted.
        UsageError: The path is a folder of several videos.
    """
    located = explicit_files([video])
    names = [source.id for source in located.sources]
    if len(names) != 1:
        raise UsageError(
            f"{video}: expected one video, found {len(names)} ({', '.join(names[:3])}"
            f"{', …' if names[3:] else ''}); name one of them"
        )
    table = AnnotationTable(classes, (Annotation(names[0], (), (SUBSET,)),))
    summary = extract(located, root, recipe, options, table=table, console=Console(quiet=True))
    if summary.interrupted:  # extract returns after the first Ctrl-C
        raise KeyboardInterrupt
    if summary.failed:
        failure = summary.failed[0]
        reason = failure.reason.removeprefix(f"{video.name}: ")
        raise VideoError(failure.kind, f"{video}: {reason}")
    return Store(root)


def combine_scores(
    run: Run, scoring: Scoring, scores: Mapping[Branch, tuple[F32, F32]]
) -> npt.NDArray[np.float32]:
    """Combine the scores of branches into probabilities, with the weights of the scoring.

    Args:
        run: The run.
        scoring: The scoring that the scores belong to.
        scores: Logits and probabilities of a video, (C,) each, by branch.

    Returns:
        Probabilities (C,).
    """
    weights = dict.fromkeys(scores, 1.0)
    if scoring.fusion is not None:
        weights = dict(zip(("rgb", "flow"), scoring.fusion, strict=True))
    total = sum(weights[branch] for branch in scores)
    kind = 0 if run.recipe.testing.over == "logits" else 1
    mean = sum(weights[branch] / total * pair[kind] for branch, pair in scores.items())
    return convert_to_probabilities(np.asarray(mean, np.float32), run.recipe)


def draw_images(video: Video) -> tuple[list[Any], list[Any]]:
    """Draw `DRAWN` frames of a video and their flow in colours, as far as the store has them."""
    frames_with_flow = video.flow_frames
    drawable = frames_with_flow or range(video.num_frames)
    if not {"rgb", "flow"} & set(video.streams):
        return [], []
    places = np.linspace(0, len(drawable) - 1, min(DRAWN, len(drawable)))
    indices = [drawable[int(place)] for place in places]
    frames = [video.rgb(t) for t in indices if "rgb" in video.streams]
    return frames, [flow_to_color(video.flow(t)) for t in indices if frames_with_flow]


def draw_prediction(prediction: Prediction, title: str) -> "Figure":
    """Draw the frames above their flow, beside a bar chart of the most probable classes."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.2), layout="constrained", dpi=130)
    columns = max(len(prediction.frames), len(prediction.flows), 1)
    grid = figure.add_gridspec(2, columns + 2)
    for row, images in enumerate((prediction.frames, prediction.flows)):
        for column, image in enumerate(images):
            axes = figure.add_subplot(grid[row, column])
            axes.imshow(image)
            axes.set_axis_off()
    bars = figure.add_subplot(grid[:, -2:])
    names, values = zip(*reversed(prediction.top()), strict=True)
    bars.barh(range(len(names)), [100 * value for value in values], color="#0b6e99")
    # Names of classes and files are no formulas, even with two dollar signs.
    bars.set_yticks(range(len(names)), names, parse_math=False)
    bars.set(xlabel="probability, %", xlim=(0, 100))
    bars.spines[["top", "right"]].set_visible(False)
    figure.suptitle(title, fontsize=9, parse_math=False)
    return figure

"""Draw results of one score by class: the accuracy of each class, and the confusion matrix.

Fig. 5 of CATNet (Wang, Peng, Qiao 2020) shows the accuracies. Only the tested classes are shown,
those that have at least one tested video. Figures of two scores are in comparison.py.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from train.evaluation.scores import Scores, count_confusions, measure_class_accuracies
from train.report.figures.drawing import (
    ACCENTS,
    Drawing,
    NotApplicable,
    Source,
    escape_dollars,
    make_figure,
)
from train.runs.run import Run

MAX_NAMED = 40
"""Greatest number of classes whose names a figure of all classes shows."""
MAX_LETTERS = 28
"""Longest name of a class in a figure; longer ones are shortened."""
LETTER = 0.075
"""Room for a letter of a label of a class, in inches."""


@dataclass(frozen=True, kw_only=True)
class Confusions:
    """Counts of videos by true and predicted class, of the tested classes."""

    tested: npt.NDArray[np.int64]
    """Indices of the n tested classes, (n,), ascending."""
    matrix: npt.NDArray[np.int64]
    """Counts by (true class, predicted class) of the tested classes, (n, n)."""
    others: npt.NDArray[np.int64]
    """For each tested class, the number of predictions of classes that are not tested, (n,)."""


def draw_accuracies(source: Source) -> list[Drawing]:
    """Draw the accuracy of each class, sorted: CATNet's Fig. 5.

    Args:
        source: The run.

    Returns:
        A figure, in a list.

    Raises:
        NotApplicable: Videos have many labels.
    """
    check_labels(source.run)
    name = source.choose_score()
    scores = source.scores(name)
    accuracy = 100 * measure_accuracies(source, scores)
    order = sort_classes(np.unique(scores.labels), accuracy)
    accuracy = accuracy[order]
    has_names = len(order) <= MAX_NAMED
    names = shorten_names(source.run.classes)[order]
    height = 2.6 + LETTER * max(map(len, names)) if has_names else 3.2
    figure, axes = make_figure(7 if len(order) > 10 else 4.5, height)
    axes.bar(np.arange(len(order)), accuracy, 0.8 if has_names else 1.0, color=ACCENTS[0])
    axes.set(xlabel="classes, best first", ylabel="accuracy, %", ylim=(0, 100))
    if has_names:
        axes.set_xticks(np.arange(len(order)), names, rotation=90)
    shares = [(100 * float((accuracy > bound).mean()), bound) for bound in (80, 50)]
    caption = f"Accuracy of each class ({name}): " + ", ".join(
        f"{share:.1f} % of the classes are above {bound} %" for share, bound in shares
    )
    return [Drawing(name="accuracies", caption=f"{caption}.", figure=figure)]


def draw_confusion(source: Source) -> list[Drawing]:
    """Draw the confusion matrix of a score, whose rows add up to 1.

    Predictions of classes that no tested video has are counted in a last column.

    Args:
        source: The run.

    Returns:
        A figure, in a list.

    Raises:
        NotApplicable: Videos have many labels.
    """
    check_labels(source.run)
    name = source.choose_score()
    scores = source.scores(name)
    confusions = count_tested_confusions(source, scores)
    tested, matrix = confusions.tested, confusions.matrix
    columns = list(shorten_names(source.run.classes)[tested])
    caption = f"Confusion matrix of {name}."
    if len(tested) < len(source.run.classes):
        caption += (
            f" {len(tested)} of the {len(source.run.classes)} classes occur in the tested videos."
        )
    if confusions.others.any():
        matrix = np.hstack([matrix, confusions.others[:, None]])
        columns.append("other classes")
        caption += " The last column counts the predictions of other classes."
    fractions = matrix / matrix.sum(axis=1, keepdims=True)
    has_names = len(tested) <= MAX_NAMED
    side, names = 4.0, 0.5
    if has_names:
        side, names = max(1.5, 0.22 * len(tested)), 0.5 + LETTER * max(map(len, columns))
    figure, axes = make_figure(side + names + 1, side + names)
    image = axes.imshow(fractions, cmap="Blues", vmin=0, vmax=1)
    figure.colorbar(image, ax=axes, shrink=0.8)
    if has_names:
        axes.set_xticks(np.arange(len(columns)), columns, rotation=90)
        axes.set_yticks(np.arange(len(tested)), columns[: len(tested)])
    axes.set(xlabel="predicted class", ylabel="true class")
    return [Drawing(name="confusion", caption=caption, figure=figure)]


def check_labels(run: Run) -> None:
    """Check that each video of a run has one label.

    Raises:
        NotApplicable: Videos have many labels, so no class is the right one.
    """
    if run.recipe.labels == "many":
        raise NotApplicable(f"the videos of {run.path} have many labels, so none has a right class")


def shorten_names(names: Sequence[str]) -> npt.NDArray[np.str_]:
    """Shorten the names of classes to `MAX_LETTERS`, so that they leave room for a figure."""
    shortened = (
        name if len(name) <= MAX_LETTERS else f"{name[: MAX_LETTERS - 1]}…" for name in names
    )
    return np.array([escape_dollars(name) for name in shortened])


def sort_classes(
    tested: npt.NDArray[np.int64], values: npt.NDArray[np.float64]
) -> npt.NDArray[np.int64]:
    """Sort classes by their values, the largest first.

    Args:
        tested: Indices of the tested classes, (n,).
        values: A value for each class, (C,); those of other classes are ignored.

    Returns:
        The indices, (n,); those of equal values stay in their order.
    """
    return tested[np.argsort(-values[tested], kind="stable")]


def measure_accuracies(
    source: Source, scores: Scores, run: Run | None = None
) -> npt.NDArray[np.float64]:
    """Compute the accuracy of each class, (C,); NaN for a class without videos.

    Args:
        source: The run.
        scores: Scores of a run.
        run: The run of the scores. Default: the run of the source.
    """
    averages = scores.get_averages(source.get_averaged_values(run))
    return measure_class_accuracies(averages, scores.labels)


def count_tested_confusions(source: Source, scores: Scores) -> Confusions:
    """Count videos by true and predicted class, for the tested classes.

    Args:
        source: The run.
        scores: Its scores, with one label for each video.
    """
    matrix = count_confusions(scores.get_averages(source.get_averaged_values()), scores.labels)
    tested = np.unique(scores.labels)
    inner = matrix[np.ix_(tested, tested)]
    others = matrix[tested].sum(axis=1) - inner.sum(axis=1)
    return Confusions(tested=tested, matrix=inner, others=others)

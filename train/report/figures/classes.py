"""Draw results by class: the gain of one run over another, accuracies, and confusions.

Fig. 4 and Table 3 of Chi et al. 2019; Fig. 4 and 5 of CATNet (Wang, Peng, Qiao 2020).

Only the tested classes are shown, those that have at least one tested video.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from train.evaluation.scores import Scores, count_confusions, measure_class_accuracies
from train.report.figures.drawing import ACCENTS, Drawing, Source, make_figure
from train.runs.run import Run, RunError

MAX_IMPROVED = 20
"""Classes in the figure of the most improved ones."""
MAX_GAINS = 10
"""Classes with the largest gains, and as many with the largest losses."""
MAX_PAIRS = 10
"""Rows in the table of confusions."""
MAX_NAMED = 40
"""Greatest number of classes whose names a figure of all classes shows."""
MAX_LETTERS = 28
"""Longest name of a class in a figure; longer ones are shortened."""


@dataclass(frozen=True, kw_only=True)
class Confusions:
    """Counts of videos by true and predicted class, of the tested classes."""

    tested: npt.NDArray[np.int64]
    """Indices of the n tested classes, (n,), ascending."""
    matrix: npt.NDArray[np.int64]
    """Counts by (true class, predicted class) of the tested classes, (n, n)."""
    others: npt.NDArray[np.int64]
    """For each tested class, the number of predictions of classes that are not tested, (n,)."""


@dataclass(frozen=True, kw_only=True)
class Gains:
    """What a run gained over another one, by class."""

    tested: npt.NDArray[np.int64]
    """Indices of the n tested classes, (n,), ascending."""
    ours: npt.NDArray[np.float64]
    """Accuracy of the run for each class, (C,), 0–1; NaN for classes that are not tested."""
    theirs: npt.NDArray[np.float64]
    """The same of the other run."""

    @property
    def points(self) -> npt.NDArray[np.float64]:
        """Return the gain of each class in percentage points, (C,)."""
        gain: npt.NDArray[np.float64] = 100 * (self.ours - self.theirs)
        return gain

    def choose_largest(self, count: int) -> list[int]:
        """Choose the classes with the largest gains, then those with the largest losses.

        Args:
            count: How many classes of each kind at most.

        Returns:
            Indices of classes, the largest gain first and the largest loss last.
        """
        gain = self.points
        order = sort_classes(self.tested, gain)
        gained = [int(i) for i in order[:count] if gain[i] > 0]
        return gained + [int(i) for i in order[-count:] if gain[i] < 0]

    def describe_shares(self) -> str:
        """Say how many of the tested classes are better, and how many are worse."""
        gain = self.points[self.tested]
        better, worse = (100 * float((gain * sign > 0).mean()) for sign in (1, -1))
        return (
            f"Of the {len(self.tested)} tested classes, {better:.1f} % are better and "
            f"{worse:.1f} % are worse."
        )


def draw_classes(source: Source) -> list[Drawing]:
    """Draw the classes that improved most over another run, and list the resolved confusions.

    Args:
        source: The run, and the run to compare it with.

    Returns:
        A figure and a table; an empty list without another run, or with ``labels: many``.

    Raises:
        RunError: If the runs were evaluated on different videos.
    """
    if source.against is None or source.run.recipe.labels == "many":
        return []
    our_scores, other_scores = load_both_scores(source, source.against)
    names = shorten_names(source.run.classes)
    tested = np.unique(our_scores.labels)
    ours, theirs = (measure_accuracies(source, scores) for scores in (our_scores, other_scores))
    order = sort_classes(tested, ours - theirs)[:MAX_IMPROVED]
    figure, axes = make_figure(9, 4)
    x = np.arange(len(order))
    for shift, values, run, colour in (
        (-0.2, theirs, source.against, ACCENTS[-1]),
        (0.2, ours, source.run, ACCENTS[0]),
    ):
        axes.bar(x + shift, 100 * values[order], 0.4, color=colour, label=run.path.name)
    axes.set_xticks(x, names[order], rotation=45, ha="right")
    axes.set(ylabel="accuracy, %")
    axes.legend(fontsize=8, frameon=False)
    caption = f"The {len(order)} classes that improved most."
    confusions = list_resolved_confusions(source, our_scores, other_scores)
    return [Drawing(name="classes", caption=caption, figure=figure), confusions]


def draw_gains(source: Source) -> list[Drawing]:
    """Draw the classes with the largest gains and losses against another run: CATNet's Fig. 4.

    Classes whose accuracy did not change are left out.

    Args:
        source: The run, and the run to compare it with.

    Returns:
        A figure, in a list; an empty list without another run, or with ``labels: many``.

    Raises:
        RunError: If the runs were evaluated on different videos.
    """
    if source.against is None or source.run.recipe.labels == "many":
        return []
    names = shorten_names(source.run.classes)
    gains = measure_gains(source, source.against)
    gain, shown = gains.points, gains.choose_largest(MAX_GAINS)
    figure, axes = make_figure(7, 1.2 + 0.2 * max(1, len(shown)))
    colours = ["#b03a2e" if gain[i] > 0 else "#0b6e99" for i in shown]
    axes.barh(np.arange(len(shown)), gain[shown], color=colours)
    axes.set_yticks(np.arange(len(shown)), names[shown], fontsize=7)
    axes.invert_yaxis()
    axes.set(xlabel=f"gain in accuracy over {source.against.path.name}, percentage points")
    caption = (
        f"Up to {MAX_GAINS} classes with the largest gains and as many with the largest losses. "
        f"{gains.describe_shares()}"
    )
    return [Drawing(name="gains", caption=caption, figure=figure)]


def draw_accuracies(source: Source) -> list[Drawing]:
    """Draw the accuracy of each class, sorted: CATNet's Fig. 5.

    Args:
        source: The run.

    Returns:
        A figure, in a list; an empty list with ``labels: many``.
    """
    if source.run.recipe.labels == "many":
        return []
    scores = source.scores(source.best_score())
    accuracy = 100 * measure_accuracies(source, scores)
    order = sort_classes(np.unique(scores.labels), accuracy)
    accuracy = accuracy[order]
    has_names = len(order) <= MAX_NAMED
    figure, axes = make_figure(7, 4.2 if has_names else 3.2)
    axes.bar(np.arange(len(order)), accuracy, 0.8 if has_names else 1.0, color=ACCENTS[0])
    axes.set(xlabel="classes, best first", ylabel="accuracy, %", ylim=(0, 100))
    if has_names:
        names = shorten_names(source.run.classes)[order]
        axes.set_xticks(np.arange(len(order)), names, rotation=90)
    shares = [(100 * float((accuracy > bound).mean()), bound) for bound in (80, 50)]
    caption = "Accuracy of each class: " + ", ".join(
        f"{share:.1f} % of the classes are above {bound} %" for share, bound in shares
    )
    return [Drawing(name="accuracies", caption=f"{caption}.", figure=figure)]


def shorten_names(names: Sequence[str]) -> npt.NDArray[np.str_]:
    """Shorten the names of classes to `MAX_LETTERS`, so that they leave room for a figure."""
    shortened = (
        name if len(name) <= MAX_LETTERS else f"{name[: MAX_LETTERS - 1]}…" for name in names
    )
    # Matplotlib would read the text between two dollar signs as a formula.
    return np.array([name.replace("$", r"\$") for name in shortened])


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


def measure_accuracies(source: Source, scores: Scores) -> npt.NDArray[np.float64]:
    """Compute the accuracy of each class, (C,); NaN for a class without videos."""
    return measure_class_accuracies(scores.get_averages(source.averaged_values), scores.labels)


def load_both_scores(source: Source, against: Run) -> tuple[Scores, Scores]:
    """Load the best scores of two runs.

    Args:
        source: The run.
        against: The run to compare it with.

    Returns:
        The scores of both.

    Raises:
        RunError: If the runs were evaluated on different videos.
    """
    ours = source.scores(source.best_score())
    theirs = source.scores(source.best_score(against), against)
    if ours.ids != theirs.ids or source.run.classes != against.classes:
        raise RunError(
            f"{source.run.path} and {against.path} were evaluated on different videos; "
            "evaluate both on one store"
        )
    return ours, theirs


def measure_gains(source: Source, against: Run) -> Gains:
    """Measure what a run gained over another one, by class.

    Args:
        source: The run.
        against: The run to compare it with.

    Raises:
        RunError: If the runs were evaluated on different videos.
    """
    both_scores = load_both_scores(source, against)
    ours, theirs = (measure_accuracies(source, scores) for scores in both_scores)
    return Gains(tested=np.unique(both_scores[0].labels), ours=ours, theirs=theirs)


def count_tested_confusions(source: Source, scores: Scores) -> Confusions:
    """Count videos by true and predicted class, for the tested classes.

    Args:
        source: The run.
        scores: Its scores, with one label for each video.
    """
    matrix = count_confusions(scores.get_averages(source.averaged_values), scores.labels)
    tested = np.unique(scores.labels)
    inner = matrix[np.ix_(tested, tested)]
    others = matrix[tested].sum(axis=1) - inner.sum(axis=1)
    return Confusions(tested=tested, matrix=inner, others=others)


def list_resolved_confusions(source: Source, ours: Scores, theirs: Scores) -> Drawing:
    """List the pairs of classes that the other run confuses more often: Table 3.

    Args:
        source: The run.
        ours: Scores of the run.
        theirs: Scores of the other run.

    Returns:
        A table of the true class, the wrongly predicted class, and the difference in percent of
        the videos of the true class.
    """
    names = source.run.classes
    ours_count, theirs_count = (
        count_confusions(scores.get_averages(source.averaged_values), scores.labels)
        for scores in (ours, theirs)
    )
    resolved = theirs_count - ours_count
    np.fill_diagonal(resolved, 0)
    counts = np.bincount(ours.labels, minlength=len(names)).clip(1)
    percent = 100 * resolved / counts[:, None]
    order = np.argsort(-percent, axis=None, kind="stable")[:MAX_PAIRS]
    rows = [["class", "no longer confused with", "gain, percentage points"]]
    for pair in order:
        true, predicted = np.unravel_index(pair, percent.shape)
        if percent[true, predicted] > 0:
            rows.append([names[true], names[predicted], f"{percent[true, predicted]:.1f}"])
    caption = "Confusions that are more frequent in the other run."
    return Drawing(name="confusing-pairs", caption=caption, rows=rows)


def draw_confusion(source: Source) -> list[Drawing]:
    """Draw the confusion matrix of the best score, whose rows add up to 1.

    Predictions of classes that no tested video has are counted in a last column.

    Args:
        source: The run.

    Returns:
        A figure, in a list; an empty list with ``labels: many``.
    """
    if source.run.recipe.labels == "many":
        return []
    name = source.best_score()
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
    side = 4.5 if not has_names else 2.5 + 0.22 * len(tested)
    figure, axes = make_figure(side + 1, side)
    image = axes.imshow(fractions, cmap="Blues", vmin=0, vmax=1)
    figure.colorbar(image, ax=axes, shrink=0.8)
    if has_names:
        axes.set_xticks(np.arange(len(columns)), columns, rotation=90)
        axes.set_yticks(np.arange(len(tested)), columns[: len(tested)])
    axes.set(xlabel="predicted class", ylabel="true class")
    return [Drawing(name="confusion", caption=caption, figure=figure)]

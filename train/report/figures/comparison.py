"""Draw what one score gains over another by class, and the confusions that it resolves.

Fig. 4 and Table 3 of Chi et al. 2019; Fig. 4 of CATNet (Wang, Peng, Qiao 2020). The scores may be
of two runs, or of one (sides.py). Only the tested classes are shown, those that have at least one
tested video.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from train.evaluation.scores import count_confusions
from train.report.figures.classes import measure_accuracies, shorten_names, sort_classes
from train.report.figures.drawing import (
    ACCENTS,
    MARKERS,
    Drawing,
    Source,
    make_figure,
    make_label,
    make_notice,
)
from train.report.figures.sides import Side, list_parts, load_sides

MAX_IMPROVED = 20
"""Classes in the figure of the most improved ones."""
MAX_GAINS = 10
"""Classes with the largest gains, and as many with the largest losses."""
MAX_PAIRS = 10
"""Rows in the table of confusions."""
GAIN, LOSS = "#b03a2e", "#0072b2"
"""Colours of bars, as in the figure of CATNet: red for gains, blue for losses."""


@dataclass(frozen=True, kw_only=True)
class Gains:
    """What a score gained over another one, by class."""

    tested: npt.NDArray[np.int64]
    """Indices of the n tested classes, (n,), ascending."""
    ours: npt.NDArray[np.float64]
    """Accuracy of the score for each class, (C,), 0–1; NaN for classes that are not tested."""
    theirs: npt.NDArray[np.float64]
    """The same of the other score."""
    names: tuple[str, str]
    """Names of the score and of the other score."""

    @property
    def points(self) -> npt.NDArray[np.float64]:
        """Return the gain of each class in percentage points, (C,)."""
        gain: npt.NDArray[np.float64] = 100 * (self.ours - self.theirs)
        return gain

    def choose_improved(self, count: int) -> list[int]:
        """Choose the classes with the largest gains, the largest first; at most ``count``."""
        gain = self.points
        return [int(i) for i in sort_classes(self.tested, gain)[:count] if gain[i] > 0]

    def choose_largest(self, count: int) -> list[int]:
        """Choose the classes with the largest gains, then those with the largest losses.

        Args:
            count: How many classes of each kind at most.

        Returns:
            Indices of classes, the largest gain first and the largest loss last.
        """
        gain = self.points
        order = sort_classes(self.tested, gain)
        return self.choose_improved(count) + [int(i) for i in order[-count:] if gain[i] < 0]

    def describe_shares(self) -> str:
        """Say how many of the tested classes are better, and how many are worse."""
        gain = self.points[self.tested]
        better, worse = (100 * float((gain * sign > 0).mean()) for sign in (1, -1))
        return (
            f"Of the {len(self.tested)} tested classes, {better:.1f} % are better and "
            f"{worse:.1f} % are worse."
        )


def draw_classes(source: Source) -> list[Drawing]:
    """Draw the classes that improved most over another score, and list the resolved confusions.

    As in Fig. 4 of Chi et al. there is a line for each score. If the other score is a fusion, its
    RGB and flow have lines too, which makes four.

    Args:
        source: The run, and the run or the score to compare it with.

    Returns:
        A figure and a table.

    Raises:
        NotApplicable: There is nothing to compare with, or videos have many labels.
        UsageError: The scores are of different videos, or a run has no such score.
    """
    ours, theirs = load_sides(source)
    gains = measure_gains(source, ours, theirs)
    improved = gains.choose_improved(MAX_IMPROVED)
    tested = len(gains.tested)
    versus = f"{ours.title} over {theirs.title}"
    confusions = list_resolved_confusions(source, ours, theirs)
    if not improved:
        text = f"None of the {tested} tested classes improved: {versus}."
        return [Drawing(name="classes", caption=text, figure=make_notice(text)), confusions]
    figure, axes = make_figure(max(6.0, 2 + 0.36 * len(improved)), 4.2)
    x = np.arange(len(improved))
    sides = [*list_parts(source, theirs), theirs, ours]
    colours = [*ACCENTS[1 : len(sides)], ACCENTS[0]]
    for side, colour, marker in zip(sides, colours, MARKERS, strict=False):
        values = 100 * measure_accuracies(source, side.scores, side.run)[improved]
        thick = 2.0 if side is ours else 1.2
        axes.plot(
            x, values, marker=marker, ms=4, lw=thick, color=colour, label=make_label(side.title)
        )
    axes.set_xticks(x, shorten_names(source.run.classes)[improved], rotation=45, ha="right",
                    rotation_mode="anchor")  # fmt: skip
    axes.set(ylabel="accuracy, %", ylim=(-3, 103), xlim=(-0.5, len(improved) - 0.5))
    figure.legend(*axes.get_legend_handles_labels(), fontsize=8, frameon=False,
                  loc="outside upper center", ncols=min(2, len(sides)))  # fmt: skip
    number = "The class that" if len(improved) == 1 else f"The {len(improved)} classes that"
    caption = f"{number} improved most of {tested} tested ones, best first: {versus}."
    return [Drawing(name="classes", caption=caption, figure=figure), confusions]


def draw_gains(source: Source) -> list[Drawing]:
    """Draw the classes with the largest gains and losses over another score: CATNet's Fig. 4.

    Classes whose accuracy did not change are left out.

    Args:
        source: The run, and the run or the score to compare it with.

    Returns:
        A figure, in a list.

    Raises:
        NotApplicable: There is nothing to compare with, or videos have many labels.
        UsageError: The scores are of different videos, or a run has no such score.
    """
    ours, theirs = load_sides(source)
    gains = measure_gains(source, ours, theirs)
    gain, shown = gains.points, gains.choose_largest(MAX_GAINS)
    versus = f"{ours.title} over {theirs.title}"
    if not shown:
        text = f"The accuracy of no class changed: {versus}."
        return [Drawing(name="gains", caption=text, figure=make_notice(text))]
    figure, axes = make_figure(7, 1.2 + 0.2 * len(shown))
    colours = [GAIN if gain[i] > 0 else LOSS for i in shown]
    axes.barh(np.arange(len(shown)), gain[shown], color=colours)
    axes.set_yticks(np.arange(len(shown)), shorten_names(source.run.classes)[shown], fontsize=7)
    axes.invert_yaxis()
    axes.axvline(0, color="#222222", lw=0.8)
    axes.set(xlabel="gain in accuracy, percentage points")
    caption = (
        f"Up to {MAX_GAINS} classes with the largest gains and as many with the largest losses: "
        f"{versus}. {gains.describe_shares()}"
    )
    return [Drawing(name="gains", caption=caption, figure=figure)]


def measure_gains(source: Source, ours: Side, theirs: Side) -> Gains:
    """Measure what a loaded score gained over another one, by class."""
    return Gains(
        tested=np.unique(ours.scores.labels),
        ours=measure_accuracies(source, ours.scores, ours.run),
        theirs=measure_accuracies(source, theirs.scores, theirs.run),
        names=(ours.name, theirs.name),
    )


def list_resolved_confusions(source: Source, ours: Side, theirs: Side) -> Drawing:
    """List the pairs of classes that the other score confuses more often: Table 3 of Chi et al.

    Args:
        source: The run.
        ours: The score.
        theirs: The score that it is compared with.

    Returns:
        A table of the true class, the wrongly predicted class, and the difference in percent of
        the videos of the true class.
    """
    names = source.run.classes
    ours_count, theirs_count = (
        count_confusions(
            side.scores.get_averages(source.get_averaged_values(side.run)), side.scores.labels
        )
        for side in (ours, theirs)
    )
    resolved = theirs_count - ours_count
    np.fill_diagonal(resolved, 0)
    counts = np.bincount(ours.scores.labels, minlength=len(names)).clip(1)
    percent = 100 * resolved / counts[:, None]
    order = np.argsort(-percent, axis=None, kind="stable")[:MAX_PAIRS]
    rows = [["class", "less often confused with", "gain, percentage points"]]
    for pair in order:
        true, predicted = np.unravel_index(pair, percent.shape)
        if percent[true, predicted] > 0:
            rows.append([names[true], names[predicted], f"{percent[true, predicted]:.1f}"])
    if len(rows) == 1:
        rows.append(["none", "–", "–"])
    caption = f"Confusions that are rarer with {ours.title} than with {theirs.title}."
    return Drawing(name="confusing-pairs", caption=caption, rows=rows)

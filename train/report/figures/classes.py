"""Classes: what one run gains over another, and what is taken for what.

Fig. 4 and Table 3 of Chi et al. 2019; Fig. 4 and 5 of CATNet (Wang, Peng, Qiao 2020).
"""

import numpy as np

from train.evaluation.scores import Scores, count_confusions, per_class
from train.report.figures.drawing import ACCENTS, Drawing, Source, make_figure
from train.runs.run import Run, RunError

MOST, ENDS, PAIRS, NAMED = 20, 10, 10, 40


def draw_classes(source: Source) -> list[Drawing]:
    """The classes that gained most against another run, and the confusions that it lost.

    Nothing without a run to compare with, or with many labels. RunError where the two saw other
    videos.
    """
    if source.against is None or source.run.recipe.labels == "many":
        return []
    mine, other = find_pair(source, source.against)
    over = source.run.recipe.testing.over
    names = np.array(source.run.classes)
    ours, theirs = (per_class(scores.of(over), scores.labels) for scores in (mine, other))
    gain = np.nan_to_num(ours - theirs)
    order = np.argsort(-gain, kind="stable")[: min(MOST, len(names))]
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
    lost = list_lost_confusions(source, mine.of(over), other.of(over), mine.labels)
    return [Drawing(name="classes", caption=caption, figure=figure), lost]


def draw_gains(source: Source) -> list[Drawing]:
    """CATNet's Fig. 4: the classes that gained most and lost most against another run.

    As `draw_classes`; classes that did not change are left out.
    """
    if source.against is None or source.run.recipe.labels == "many":
        return []
    over, names = source.run.recipe.testing.over, np.array(source.run.classes)
    ours, theirs = (
        per_class(scores.of(over), scores.labels) for scores in find_pair(source, source.against)
    )
    gain = 100 * np.nan_to_num(ours - theirs)
    order = np.argsort(-gain, kind="stable")
    shown = [i for i in order[:ENDS] if gain[i] > 0] + [i for i in order[-ENDS:] if gain[i] < 0]
    figure, axes = make_figure(7, 1.2 + 0.2 * max(1, len(shown)))
    colours = ["#b03a2e" if gain[i] > 0 else "#0b6e99" for i in shown]
    axes.barh(np.arange(len(shown)), gain[shown], color=colours)
    axes.set_yticks(np.arange(len(shown)), names[shown], fontsize=7)
    axes.invert_yaxis()
    axes.set(xlabel=f"accuracy over that of {source.against.path.name}, points")
    up, down = (100 * float((gain * sign > 0).mean()) for sign in (1, -1))
    caption = (
        f"The {ENDS} classes at most that gained and that lost most. Of all classes {up:.1f} % are "
        f"better, {down:.1f} % worse."
    )
    return [Drawing(name="gains", caption=caption, figure=figure)]


def draw_accuracies(source: Source) -> list[Drawing]:
    """CATNet's Fig. 5: the accuracy of each class, sorted; not of many labels."""
    if source.run.recipe.labels == "many":
        return []
    scores = source.scores(source.best_score())
    accuracy = 100 * per_class(scores.of(source.run.recipe.testing.over), scores.labels)
    accuracy = np.sort(accuracy[~np.isnan(accuracy)])[::-1]
    figure, axes = make_figure(7, 3.2)
    axes.bar(np.arange(len(accuracy)), accuracy, 1.0, color=ACCENTS[0])
    axes.set(xlabel="classes, best first", ylabel="accuracy, %", ylim=(0, 100))
    shares = [(100 * float((accuracy > bound).mean()), bound) for bound in (80, 50)]
    caption = "Accuracy of each class: " + ", ".join(
        f"{share:.1f} % of the classes are above {bound} %" for share, bound in shares
    )
    return [Drawing(name="accuracies", caption=f"{caption}.", figure=figure)]


def find_pair(source: Source, against: Run) -> tuple[Scores, Scores]:
    """The scores of both runs; RunError where they are of different videos."""
    mine = source.scores(source.best_score())
    other = source.scores(source.best_score(against), against)
    if mine.ids != other.ids or source.run.classes != against.classes:
        raise RunError(
            f"{source.run.path} and {against.path} were evaluated on different videos; "
            "evaluate both on one store"
        )
    return mine, other


def list_lost_confusions(
    source: Source, ours: np.ndarray, theirs: np.ndarray, labels: np.ndarray
) -> Drawing:
    """Table 3: pairs (class, what it was taken for) that the other run confuses more often."""
    names = source.run.classes
    lost = count_confusions(theirs, labels) - count_confusions(ours, labels)
    np.fill_diagonal(lost, 0)
    counts = np.bincount(labels, minlength=len(names)).clip(1)
    share = 100 * lost / counts[:, None]
    order = np.argsort(-share, axis=None, kind="stable")[:PAIRS]
    rows = [["class", "no longer taken for", "gain, points"]]
    for place in order:
        true, taken = np.unravel_index(place, share.shape)
        if share[true, taken] > 0:
            rows.append([names[true], names[taken], f"{share[true, taken]:.1f}"])
    caption = "Confusions that the other run has more often."
    return Drawing(name="confusing-pairs", caption=caption, rows=rows)


def draw_confusion(source: Source) -> list[Drawing]:
    """The confusion matrix of the run's best score, rows adding up to 1; not of many labels."""
    if source.run.recipe.labels == "many":
        return []
    name = source.best_score()
    scores = source.scores(name)
    matrix = count_confusions(scores.of(source.run.recipe.testing.over), scores.labels)
    share = matrix / matrix.sum(axis=1, keepdims=True).clip(1)
    few = len(share) <= NAMED
    side = 4.5 if not few else 2.5 + 0.22 * len(share)
    figure, axes = make_figure(side + 1, side)
    image = axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
    figure.colorbar(image, ax=axes, shrink=0.8)
    if few:
        axes.set_xticks(np.arange(len(share)), source.run.classes, rotation=90)
        axes.set_yticks(np.arange(len(share)), source.run.classes)
    axes.set(xlabel="taken for", ylabel="class")
    return [Drawing(name="confusion", caption=f"Confusion matrix of {name}.", figure=figure)]

"""Classes: what one run gains over another, and what is taken for what.

Fig. 4 and Table 3 of Chi et al. 2019.
"""

import numpy as np

from train.figures.drawing import ACCENTS, Drawing, Source, make_figure
from train.run import RunError
from train.scores import count_confusions, per_class

MOST, PAIRS, NAMED = 20, 10, 40


def draw_classes(source: Source) -> list[Drawing]:
    """The classes that gained most against another run, and the confusions that it lost.

    Nothing without a run to compare with, or with many labels. RunError where the two saw other
    videos.
    """
    if source.against is None or source.run.recipe.labels == "many":
        return []
    mine = source.scores(source.best_score())
    other = source.scores(source.best_score(source.against), source.against)
    if mine.ids != other.ids or source.run.classes != source.against.classes:
        raise RunError(
            f"{source.run.path} and {source.against.path} were evaluated on different videos; "
            "evaluate both on one store"
        )
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

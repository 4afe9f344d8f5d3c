"""Draw training curves: loss and accuracy of each phase."""

from train.evaluation.scores import METRICS
from train.recipe.recipe import Recipe
from train.report.figures.drawing import ACCENTS, Drawing, Source, make_figure
from train.runs.journal import read_lines
from train.runs.phases import list_phases


def name_metric(recipe: Recipe) -> tuple[str, str]:
    """Name the metric that measures a network after an epoch.

    Args:
        recipe: Recipe of the run.

    Returns:
        The key of the metric in epochs.jsonl, and its title.
    """
    return next(iter(METRICS[recipe.labels].items()))


def draw_curves(source: Source) -> list[Drawing]:
    """Draw loss and accuracy by epoch, with a colour for each phase.

    If videos have several labels, mAP replaces accuracy; it is measured in validation only.

    Args:
        source: The run.

    Returns:
        A figure; nothing if no epoch is finished.
    """
    key, title = name_metric(source.run.recipe)
    losses = {"loss": ":", "val_loss": "-"}
    scores = {"train_top1": ":", "top1": "-"} if key == "top1" else {key: "-"}
    figure, (left, right) = make_figure(9, 3.6, ncols=2)
    has_epochs = False
    for number, phase in enumerate(list_phases(source.run.recipe)):
        epochs = read_lines(source.run.folder(phase.name) / "epochs.jsonl")
        colour = ACCENTS[number % len(ACCENTS)]
        x = [line["epoch"] for line in epochs]
        for axes, styles, scale in ((left, losses, 1), (right, scores, 100)):
            for name, style in styles.items():
                label = phase.name if style == "-" and axes is right else None
                axes.plot(
                    x, [scale * line[name] for line in epochs], style, color=colour, label=label
                )
        has_epochs = has_epochs or bool(epochs)
    if not has_epochs:
        return []
    left.set(xlabel="epoch", ylabel="loss")
    right.set(xlabel="epoch", ylabel=f"{title}, %")
    right.legend(fontsize=7, frameon=False)
    caption = "Training (dotted) and validation (solid) by phase."
    return [Drawing(name="curves", caption=caption, figure=figure)]

"""Training curves: loss and accuracy of each phase."""

from train.evaluation.scores import METRICS
from train.recipe.recipe import Recipe
from train.report.figures.drawing import ACCENTS, Drawing, Source, make_figure
from train.runs.journal import read_lines
from train.runs.phases import list_phases


def name_metric(recipe: Recipe) -> tuple[str, str]:
    """What tells how good a network is after an epoch: its key in epochs.jsonl, and its name."""
    return next(iter(METRICS[recipe.labels].items()))


def draw_curves(source: Source) -> list[Drawing]:
    """Loss (training, validation) and accuracy by epoch, a colour for each phase.

    With many labels mAP in its place, which is known of validation alone.
    """
    key, title = name_metric(source.run.recipe)
    losses = {"loss": ":", "val_loss": "-"}
    scores = {"train_top1": ":", "top1": "-"} if key == "top1" else {key: "-"}
    figure, (left, right) = make_figure(9, 3.6, ncols=2)
    drawn = False
    for number, phase in enumerate(list_phases(source.run.recipe)):
        epochs = read_lines(source.run.folder(phase.name) / "epochs.jsonl")
        colour = ACCENTS[number % len(ACCENTS)]
        x = [line["epoch"] for line in epochs]
        for axes, lines, scale in ((left, losses, 1), (right, scores, 100)):
            for name, style in lines.items():
                label = phase.name if style == "-" and axes is right else None
                axes.plot(
                    x, [scale * line[name] for line in epochs], style, color=colour, label=label
                )
        drawn = drawn or bool(epochs)
    if not drawn:
        return []
    left.set(xlabel="epoch", ylabel="loss")
    right.set(xlabel="epoch", ylabel=f"{title}, %")
    right.legend(fontsize=7, frameon=False)
    caption = "Training (dotted) and validation (solid) by phase."
    return [Drawing(name="curves", caption=caption, figure=figure)]

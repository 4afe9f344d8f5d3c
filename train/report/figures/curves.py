"""Draw training curves: loss and accuracy of each phase."""

from train.evaluation.scores import choose_metric
from train.report.figures.drawing import ACCENTS, Drawing, Source, make_figure
from train.runs.journal import read_lines
from train.runs.phases import list_phases


def draw_curves(source: Source) -> list[Drawing]:
    """Draw loss and accuracy by epoch, with a colour for each phase.

    If videos have several labels, mAP replaces accuracy; it is measured in validation only.

    Args:
        source: The run.

    Returns:
        A figure; nothing if no epoch is finished.
    """
    key, title = choose_metric(source.run.recipe.labels)
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
                y = [scale * line[name] for line in epochs]
                axes.plot(x, y, style, color=colour, label=label)
        has_epochs = has_epochs or bool(epochs)
    if not has_epochs:
        return []
    left.set(xlabel="epoch", ylabel="loss")
    right.set(xlabel="epoch", ylabel=f"{title}, %")
    right.legend(fontsize=7, frameon=False)
    caption = "Training (dotted) and validation (solid) by phase."
    return [Drawing(name="curves", caption=caption, figure=figure)]

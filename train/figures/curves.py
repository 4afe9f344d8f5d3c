"""Training curves: loss and accuracy of each phase."""

from train.alternate import list_phases
from train.figures.drawing import ACCENTS, Drawing, Source, make_figure
from train.journal import read_lines


def draw_curves(source: Source) -> list[Drawing]:
    """Loss (training, validation) and accuracy by epoch, a colour for each phase."""
    figure, (left, right) = make_figure(9, 3.6, ncols=2)
    drawn = False
    for number, phase in enumerate(list_phases(source.run.recipe)):
        epochs = read_lines(source.run.folder(phase.name) / "epochs.jsonl")
        colour = ACCENTS[number % len(ACCENTS)]
        x = [line["epoch"] for line in epochs]
        for axes, keys, scale in (
            (left, ("loss", "val_loss"), 1),
            (right, ("train_top1", "top1"), 100),
        ):
            for key, style in zip(keys, (":", "-"), strict=True):
                label = phase.name if style == "-" and axes is right else None
                axes.plot(
                    x, [scale * line[key] for line in epochs], style, color=colour, label=label
                )
        drawn = drawn or bool(epochs)
    if not drawn:
        return []
    left.set(xlabel="epoch", ylabel="loss")
    right.set(xlabel="epoch", ylabel="top-1, %")
    right.legend(fontsize=7, frameon=False)
    caption = "Training (dotted) and validation (solid) by phase."
    return [Drawing(name="curves", caption=caption, figure=figure)]

"""Draw training curves: loss and accuracy of each phase."""

from typing import Any

from train.evaluation.scores import choose_metric
from train.report.figures.drawing import ACCENTS, Drawing, NotApplicable, Source, make_figure
from train.runs.journal import read_lines
from train.runs.run import Run

WIDE = 300
"""If the largest loss is more than this many times the smallest, the axis is logarithmic."""

TRAINING = ("loss", "train_top1")
"""Logged values that are measured in training; the others are measured in validation."""


def list_curves(metric: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """List the logged values that are drawn: the losses, and the accuracies.

    Args:
        metric: ``top1`` or ``mAP``, which is logged for validation only.
    """
    return ("loss", "val_loss"), ("train_top1", "top1") if metric == "top1" else (metric,)


def read_epochs(run: Run, phase: str) -> list[dict[str, Any]]:
    """Read the logged values of each finished epoch of a phase."""
    return read_lines(run.folder(phase) / "epochs.jsonl")


def draw_curves(source: Source) -> list[Drawing]:
    """Draw loss and accuracy by epoch, with a colour for each phase.

    If the recipe has ``labels: many``, mAP replaces accuracy. Training logs mAP only for the
    validation videos, so there is no training curve of it.

    Args:
        source: The run to draw; a `Source` has the inputs of all figures. If it names a phase, only
            that one is drawn.

    Returns:
        One figure, in a list.

    Raises:
        NotApplicable: No epoch is finished.
        UsageError: The run has no such phase.
    """
    metric, title = choose_metric(source.run.recipe.labels)  # top1 or mAP
    # The line styles of the logged values: dotted for training, solid for validation.
    loss_styles, metric_styles = ({name: ":" if name in TRAINING else "-" for name in names}
                                  for names in list_curves(metric))  # fmt: skip
    phases = source.list_phases()
    figure, (left, right) = make_figure(9, 3.6, ncols=2)
    has_epochs = False
    for phase_index, phase in enumerate(phases):
        records = read_epochs(source.run, phase.name)
        colour = ACCENTS[phase_index % len(ACCENTS)]
        epochs = [record["epoch"] for record in records]
        for axes, styles, scale in ((left, loss_styles, 1), (right, metric_styles, 100)):
            for name, style in styles.items():
                label = phase.name if style == "-" and axes is right else None
                values = [scale * record[name] for record in records]
                axes.plot(epochs, values, style, color=colour, label=label)
        has_epochs = has_epochs or bool(records)
    if not has_epochs:
        names = ", ".join(phase.name for phase in phases)
        raise NotApplicable(f"no epoch is finished of {names}; flowkit train continues the run")
    for axes in (left, right):
        axes.xaxis.get_major_locator().set_params(integer=True)
    left.set(xlabel="epoch", ylabel="loss")
    losses = [value for line in left.lines for value in line.get_ydata() if value > 0]
    if losses and max(losses) > WIDE * min(losses):
        left.set_yscale("log")
    right.set(xlabel="epoch", ylabel=f"{title}, %")
    right.legend(fontsize=7, frameon=False)
    caption = "Training (dotted) and validation (solid) by phase."
    return [Drawing(name="curves", caption=caption, figure=figure)]

"""Figures and tables of the papers, drawn for a run, by name."""

from collections.abc import Callable

from train.report.figures.attention import draw_attention
from train.report.figures.classes import draw_accuracies, draw_confusion
from train.report.figures.comparison import draw_classes, draw_gains
from train.report.figures.curves import draw_curves
from train.report.figures.drawing import Drawing, NotApplicable, Source
from train.report.figures.epochs import draw_epochs
from train.report.figures.frame_counts import draw_frames
from train.report.figures.fusion import draw_fusion
from train.report.figures.receptive import draw_receptive
from train.report.figures.tables import list_iterations, list_parameters
from train.report.figures.weights import draw_heaviest, draw_weights

FIGURES: dict[str, Callable[[Source], list[Drawing]]] = {
    "iterations": list_iterations,
    "parameters": list_parameters,
    "fusion": draw_fusion,
    "classes": draw_classes,
    "gains": draw_gains,
    "accuracies": draw_accuracies,
    "confusion": draw_confusion,
    "attention": draw_attention,
    "receptive": draw_receptive,
    "frames": draw_frames,
    "weights": draw_weights,
    "heaviest": draw_heaviest,
    "curves": draw_curves,
    "epochs": draw_epochs,
}
"""Functions that draw the figures, by name; they raise `NotApplicable` if one does not apply."""
SLOW_FIGURES = frozenset({"frames"})
"""Figures that need minutes or more, and are drawn only if the user names them."""

__all__ = ["FIGURES", "SLOW_FIGURES", "Drawing", "NotApplicable", "Source"]

"""Figures and tables of a run, as the papers have them: `FIGURES` by name."""

from collections.abc import Callable

from train.figures.attention import draw_attention
from train.figures.classes import draw_accuracies, draw_classes, draw_confusion, draw_gains
from train.figures.curves import draw_curves
from train.figures.drawing import Drawing, Source
from train.figures.epochs import draw_epochs
from train.figures.fusion import draw_fusion
from train.figures.receptive import draw_frames, draw_receptive
from train.figures.tables import list_iterations, list_parameters
from train.figures.weights import draw_heaviest, draw_weights

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
# These take their time, and are drawn only if they are asked for by name.
COSTLY = frozenset({"frames"})

__all__ = ["COSTLY", "FIGURES", "Drawing", "Source"]

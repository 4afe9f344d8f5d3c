"""Compute training losses and class weights, and find correct predictions."""

from collections.abc import Callable

import torch
from torch.nn import functional

TOP = 5
# By the recipe's ``labels``. Each is a mean over videos and, with many labels, over classes.
LOSSES: dict[str, Callable[..., torch.Tensor]] = {
    "one": functional.cross_entropy,
    "many": functional.binary_cross_entropy_with_logits,
}


def measure_loss(
    label_kind: str,
    scores: torch.Tensor,
    targets: torch.Tensor,
    balance: torch.Tensor | None = None,
) -> torch.Tensor:
    """Compute the mean loss over videos, each weighted by its class.

    Args:
        label_kind: The recipe's ``labels``: "one" for one label per video, "many" for many.
        scores: Logits (B, C).
        targets: Class ids (B,), or 0 and 1 (B, C) with many labels.
        balance: Weights of the classes (C,), only with one label. None weighs all equally.

    Returns:
        The loss, a scalar.
    """
    if balance is None:
        return LOSSES[label_kind](scores, targets)
    losses = functional.cross_entropy(scores, targets, reduction="none")
    return (losses * balance[targets]).mean()


def weigh_classes(labels: torch.Tensor, classes: int) -> torch.Tensor:
    """Compute loss weights of the classes, (C,), from the labels (N,) that are trained on.

    Long et al., "Attention Clusters", CVPR 2018, §5.4: "we set the sample weight to 1/S if a given
    sample belongs to a class that contains S samples". Here the weights are scaled so that their
    mean over the videos is 1. With the weights as printed, the loss and the gradients would be
    smaller by a factor of the class size, but the learning rates and the clipping of gradients at 5
    are meant for a loss of the usual size. Weights are not normalized within a batch. A class
    without videos has weight 0.
    """
    counts = torch.bincount(labels, minlength=classes)
    present = counts > 0
    weights = torch.where(present, len(labels) / counts.clamp(min=1), 0)
    return weights / int(present.sum())


def find_correct(scores: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Return whether each of the five classes with the highest scores is a label of the video.

    Args:
        scores: Scores (B, C).
        labels: Class ids (B,), or 0 and 1 (B, C) with many labels.

    Returns:
        Booleans (B, 5), best class first; fewer columns if there are fewer classes.
    """
    best = scores.topk(min(TOP, scores.shape[1])).indices
    if labels.ndim == 1:
        return best == labels[:, None]
    return labels.gather(1, best) > 0

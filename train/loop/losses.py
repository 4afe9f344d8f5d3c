"""What training makes less, and which videos are right."""

from collections.abc import Callable

import torch
from torch.nn import functional

TOP = 5
# The mean over videos; of many labels, over all classes too.
LOSSES: dict[str, Callable[..., torch.Tensor]] = {
    "one": functional.cross_entropy,
    "many": functional.binary_cross_entropy_with_logits,
}


def measure_loss(
    labels: str, scores: torch.Tensor, targets: torch.Tensor, balance: torch.Tensor | None = None
) -> torch.Tensor:
    """The loss of scores (B, C): the mean over videos, of each times its class's weight."""
    if balance is None:
        return LOSSES[labels](scores, targets)
    losses = functional.cross_entropy(scores, targets, reduction="none")
    return (losses * balance[targets]).mean()


def weigh_classes(labels: torch.Tensor, classes: int) -> torch.Tensor:
    """Weights of the classes in the loss, (C,), of the labels (N,) that are trained on.

    Long et al., "Attention Clusters", CVPR 2018, §5.4: "we set the sample weight to 1/S if a given
    sample belongs to a class that contains S samples". Here they are scaled so that their mean
    over the videos is 1: as printed, a loss would be as many times smaller as classes are large,
    and so would gradients, which are clipped at 5 and to which rates belong. Between the videos of
    a batch they are not scaled again. A class without videos has 0.
    """
    counts = torch.bincount(labels, minlength=classes)
    present = counts > 0
    weights = torch.where(present, len(labels) / counts.clamp(min=1), 0)
    return weights / int(present.sum())


def find_right(scores: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Whether each of the best five classes of (B, C) is one of the video's, (B, 5), best first."""
    best = scores.topk(min(TOP, scores.shape[1])).indices
    if labels.ndim == 1:
        return best == labels[:, None]
    return labels.gather(1, best) > 0

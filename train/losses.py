"""What training makes less, and which videos are right."""

from collections.abc import Callable

import torch
from torch.nn import functional

from train.recipe import Recipe

TOP = 5
# The mean over videos; of many labels, over all classes too.
LOSSES: dict[str, Callable[..., torch.Tensor]] = {
    "one": functional.cross_entropy,
    "many": functional.binary_cross_entropy_with_logits,
}


def find_right(scores: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Whether each of the best five classes of (B, C) is one of the video's, (B, 5), best first."""
    best = scores.topk(min(TOP, scores.shape[1])).indices
    if labels.ndim == 1:
        return best == labels[:, None]
    return labels.gather(1, best) > 0


def add_losses(
    recipe: Recipe, loss: torch.Tensor, given: dict[str, torch.Tensor]
) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """The loss with those that the network gives, by the recipe's weights; and each of them."""
    pyramid = recipe.network.pyramid
    if pyramid is None:
        return loss, {}
    parts = {"classes": loss.detach()}
    for name in ("interactive", "attention"):
        loss = loss + getattr(pyramid, name) * given[name].float()
        parts[name] = given[name].detach()
    return loss, parts

"""Validate a network after an epoch.

Image networks see the middle crop of each of K segments, once per video. Audio networks see the
middle patches. Feature-set networks see all features, or evenly spaced ones.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from flowkit.datasets.loading import EpochSampler
from train.distributed.parallel import add_up, gather
from train.evaluation.average_precision import measure_many
from train.loop.context import PhaseContext, watch
from train.loop.losses import find_right, measure_loss
from train.tasks.samples import make_loader


def make_validation(context: PhaseContext, network: Any) -> Callable[[], dict[str, float]]:
    """Build a function that validates the trained branch over all processes.

    Args:
        context: The phase in training.
        network: The network to validate.

    Returns:
        A function that returns top1, top5 and val_loss. With many labels it also returns mAP, and
        a prediction is correct if its class is one of the video's own.
    """
    recipe, process, phase = context.recipe, context.process, context.phase
    dataset = context.task.open_dataset(context.store, phase, "validate")
    sampler = EpochSampler(
        len(dataset), training=False, rank=process.rank, world=process.world
    )  # fmt: skip
    size = max(1, phase.training.batch // process.world)
    loader = make_loader(dataset, sampler, size, context.settings, training=False)

    def validate() -> dict[str, float]:
        network.eval()
        sums, kept = torch.zeros(4, dtype=torch.float64), []
        for batch in watch(loader, context):
            with torch.no_grad():
                scores = context.score(network, batch)[phase.branch].cpu()
            best = find_right(scores, batch["label"])
            loss = measure_loss(recipe.labels, scores, batch["label"]) * len(best)
            sums += torch.tensor([best[:, 0].sum(), best.any(dim=1).sum(), loss, len(best)])
            if recipe.labels == "many":
                kept.append((scores.numpy(), batch["label"].numpy()))
        top1, top5, loss_sum, seen = add_up(sums.tolist(), process)
        found = {"top1": top1 / seen, "top5": top5 / seen, "val_loss": loss_sum / seen}
        if recipe.labels == "many":
            parts = [pair for share in gather(kept, process) for pair in share]
            scores_all, targets = (np.concatenate(side) for side in zip(*parts, strict=True))
            found["mAP"] = measure_many(scores_all, targets)["mAP"]
        return found

    return validate

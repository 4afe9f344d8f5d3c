"""Validate a network after an epoch.

Each video is scored once. Image networks read the centre crop of the middle of K segments, audio
networks the middle patches of the segments, and feature-set networks all features or evenly spaced
ones.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from flowkit.datasets.loading import EpochSampler
from train.distributed.parallel import gather_from_processes, sum_over_processes
from train.evaluation.average_precision import measure_average_precision
from train.loop.context import PhaseContext, read_batches
from train.loop.losses import find_correct, measure_loss
from train.tasks.samples import make_loader


def make_validation(context: PhaseContext, network: Any) -> Callable[[], dict[str, float]]:
    """Build a function that validates the trained branch over all processes.

    Args:
        context: The phase in training.
        network: The network to validate.

    Returns:
        A function that returns top1, top5 and val_loss. With many labels it also returns mAP, and
        a prediction is correct if its class is one of the video's labels.
    """
    recipe, process, phase = context.recipe, context.process, context.phase
    dataset = context.task.open_dataset(context.store, phase, "validate")
    sampler = EpochSampler(len(dataset), training=False, rank=process.rank, world=process.world)
    size = max(1, phase.training.batch // process.world)
    loader = make_loader(dataset, sampler, size, context.settings, training=False)

    def validate() -> dict[str, float]:
        network.eval()
        sums, scored = torch.zeros(4, dtype=torch.float64), []
        for batch in read_batches(loader, context):
            with torch.no_grad():
                scores = context.score(network, batch)[phase.branch].cpu()
            correct = find_correct(scores, batch["label"])
            loss = measure_loss(recipe.labels, scores, batch["label"]) * len(correct)
            sums += torch.tensor(
                [correct[:, 0].sum(), correct.any(dim=1).sum(), loss, len(correct)]
            )
            if recipe.labels == "many":
                scored.append((scores.numpy(), batch["label"].numpy()))
        top1, top5, loss_sum, seen = sum_over_processes(sums.tolist(), process)
        metrics = {"top1": top1 / seen, "top5": top5 / seen, "val_loss": loss_sum / seen}
        if recipe.labels == "many":
            pairs = [pair for share in gather_from_processes(scored, process) for pair in share]
            scores_all, targets = (np.concatenate(arrays) for arrays in zip(*pairs, strict=True))
            metrics["mAP"] = measure_average_precision(scores_all, targets)["mAP"]
        return metrics

    return validate

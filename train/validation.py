"""How good a network is after an epoch: the middle crop of each of K segments, once a video."""

from collections.abc import Callable

import numpy as np
import torch

from flowkit.datasets import EpochSampler
from models.segments import average_segments
from models.two_stream import TwoStream
from train.average_precision import measure_many
from train.context import Context, watch
from train.losses import LOSSES, find_right
from train.parallel import add_up, gather
from train.samples import make_dataset, make_loader, needed_streams, prepare_images


def make_validation(context: Context, network: TwoStream) -> Callable[[], dict[str, float]]:
    """A function that gives top1, top5 and val_loss of the trained branch, over all processes.

    With many labels also mAP; a video is right then if the best class is one of its own.
    """
    recipe, process, phase = context.recipe, context.process, context.phase
    dataset = make_dataset(recipe, context.store, needed_streams(phase), "validate")
    sampler = EpochSampler(
        len(dataset), training=False, rank=process.rank, world=process.world
    )  # fmt: skip
    size = max(1, phase.training.batch // process.world)
    loader = make_loader(dataset, sampler, size, context.settings, training=False)

    def validate() -> dict[str, float]:
        network.eval()
        sums, kept = torch.zeros(4, dtype=torch.float64), []
        for batch in watch(loader, context):
            images = prepare_images(batch, needed_streams(phase), context.device, context.inputs)
            with torch.no_grad(), context.autocast():
                scores = network(**images)[phase.branch].float().cpu()
            scores = average_segments(scores, len(scores) // len(batch["label"]))
            best = find_right(scores, batch["label"])
            loss = LOSSES[recipe.labels](scores, batch["label"]) * len(best)
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

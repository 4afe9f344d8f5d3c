"""Build the optimizers that recipes name, with their learning-rate schedules."""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from flowkit.streams import STREAMS
from models.weights.parameters import group_parameters
from train.loop.checkpoint import Progress
from train.loop.schedule import Schedule
from train.recipe.recipe import Training
from train.runs.phases import Phase
from train.runs.run import Settings

# What recipes cannot set is PyTorch's default: RMSprop α 0.99, ε 1e-8, not centred; Adam β 0.9 and
# 0.999, ε 1e-8. Adam takes no ``training.momentum``.
OPTIMIZERS: dict[str, Callable[[Any, Training], Any]] = {
    "sgd": lambda groups, training: torch.optim.SGD(
        groups, training.rate, momentum=training.momentum, weight_decay=training.weight_decay
    ),
    "rmsprop": lambda groups, training: torch.optim.RMSprop(
        groups, training.rate, momentum=training.momentum, weight_decay=training.weight_decay
    ),
    # With fused, Adam's update needs a tenth of the time on a CPU. Without it, the update of a wide
    # classifier takes a fifth of the time of a step.
    "adam": lambda groups, training: torch.optim.Adam(
        groups, training.rate, weight_decay=training.weight_decay, fused=True
    ),
}


def make_progress(
    network: nn.Module, grouped: nn.Module, phase: Phase, settings: Settings
) -> Progress:
    """Build the optimizer, schedule and gradient scaler of a phase at its start.

    Args:
        network: The network. With ``groups: plain``, all its trainable parameters are optimized.
        grouped: The part of it that the phase trains, whose parameters ``groups: tsn`` optimizes.
        phase: The phase to train.
        settings: Device and precision.

    Returns:
        The state of the phase before its first step.
    """
    training = phase.training
    if training.groups == "tsn":
        groups: Any = group_parameters(
            grouped,
            training.rate,
            training.weight_decay,
            first_is_new=phase.branch in STREAMS and not STREAMS[phase.branch].fits_rgb_weights,
        )
    else:
        groups = [p for p in network.parameters() if p.requires_grad]
    optimizer = OPTIMIZERS[training.optimizer](groups, training)
    scaler = torch.amp.GradScaler(settings.device, enabled=settings.precision == "float16")
    return Progress(network, optimizer, Schedule(optimizer, training), scaler)

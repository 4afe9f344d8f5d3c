"""Group the parameters of a network by learning rate and weight decay, as TSN trains.

Wang et al., "Temporal Segment Networks", ECCV 2016, and the authors' code: biases learn twice as
fast and do not decay, batch normalization does not decay, and the first convolution of a flow
network, which was initialized from an RGB network, learns 5 times as fast (its bias 10 times).
"""

from typing import Any

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

# The factors of learning rate and weight decay of each group.
FACTORS = {
    "first weights": (5.0, 1.0),
    "first biases": (10.0, 0.0),
    "weights": (1.0, 1.0),
    "biases": (2.0, 0.0),
    "batch norm": (1.0, 0.0),
}


def group_parameters(
    network: nn.Module, rate: float, weight_decay: float, first_is_new: bool = False
) -> list[dict[str, Any]]:
    """Group the trainable parameters of a network for an optimizer.

    Args:
        network: The network to train. Parameters without ``requires_grad`` are left out.
        rate: Base learning rate.
        weight_decay: Base weight decay.
        first_is_new: Whether the first convolution was converted from RGB to other channels, so
            that it gets a higher rate. Default: False.

    Returns:
        Optimizer groups with ``name``, ``params``, ``lr`` and ``weight_decay``. Each trainable
        parameter is in exactly one group, and no group is empty.

    Example:
        >>> torch.optim.SGD(group_parameters(network, rate=0.001, weight_decay=5e-4), momentum=0.9)
    """
    parameters: dict[str, list[nn.Parameter]] = {name: [] for name in FACTORS}
    convolutions = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
    first = next((m for m in network.modules() if isinstance(m, convolutions)), None)
    for module in network.modules():
        for name, parameter in module.named_parameters(recurse=False):
            if not parameter.requires_grad:
                continue
            group = "biases" if name.endswith("bias") else "weights"
            if isinstance(module, _BatchNorm):
                group = "batch norm"
            elif module is first and first_is_new:
                group = f"first {group}"
            parameters[group].append(parameter)
    return [
        {
            "name": name,
            "params": parameters[name],
            "lr": rate * rate_factor,
            "weight_decay": weight_decay * decay_factor,
        }
        for name, (rate_factor, decay_factor) in FACTORS.items()
        if parameters[name]
    ]

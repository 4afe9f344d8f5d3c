"""Groups of parameters with rates of their own, as TSN trains.

Wang et al., "Temporal Segment Networks", ECCV 2016, and its code: biases learn twice as fast
and do not decay, BN does not decay, and the first convolution of a flow network, which was made
from an RGB one, learns 5 times (its bias 10 times) as fast.
"""

from typing import Any

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm


def group_parameters(
    network: nn.Module, rate: float, weight_decay: float, first_is_new: bool = False
) -> list[dict[str, Any]]:
    """Optimizer groups, each with ``name``, ``params``, ``lr`` and ``weight_decay``.

    ``first_is_new`` says that the first convolution is a flow network's. Every parameter that
    is trained is in exactly one group; parameters that are not are in none.
    """
    rates = {
        "first weights": (5.0, 1.0),
        "first biases": (10.0, 0.0),
        "weights": (1.0, 1.0),
        "biases": (2.0, 0.0),
        "batch norm": (1.0, 0.0),
    }
    groups: dict[str, list[nn.Parameter]] = {name: [] for name in rates}
    convolutions = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
    first = next((m for m in network.modules() if isinstance(m, convolutions)), None)
    for module in network.modules():
        for name, parameter in module.named_parameters(recurse=False):
            if not parameter.requires_grad:
                continue
            kind = "biases" if name.endswith("bias") else "weights"
            if isinstance(module, _BatchNorm):
                kind = "batch norm"
            elif module is first and first_is_new:
                kind = f"first {kind}"
            groups[kind].append(parameter)
    return [
        {
            "name": name,
            "params": groups[name],
            "lr": rate * times,
            "weight_decay": weight_decay * decay,
        }
        for name, (times, decay) in rates.items()
        if groups[name]
    ]

"""Freeze the batch normalization layers of a network (partial BN).

Wang et al., "Temporal Segment Networks" (TSN), ECCV 2016, §3.2: the mean and variance of every
batch normalization (BN) layer but the first are frozen. As in the authors' code, its scale and
shift are frozen too. The first layer is the one that is registered first.
"""

from collections.abc import Iterator

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm


def find_batch_norms(network: nn.Module) -> Iterator[nn.Module]:
    """Find all batch normalization layers of a network.

    Args:
        network: Any module.

    Returns:
        The BN layers of 1, 2 or 3 dimensions and the SyncBatchNorm layers, in the order in which
        they are registered.
    """
    return (module for module in network.modules() if isinstance(module, _BatchNorm))


def freeze_batch_norms(network: nn.Module, skip_first: bool = True) -> int:
    """Freeze the batch normalization layers of a network, in place.

    A frozen layer is in eval mode and its parameters need no gradient. ``network.train()`` puts
    it back into training mode, so call this function again after every call of ``train()``.

    Args:
        network: Any module.
        skip_first: Leave the first BN layer trainable, as TSN does. Default: True.

    Returns:
        The number of frozen layers.
    """
    layers = list(find_batch_norms(network))[1 if skip_first else 0 :]
    for layer in layers:
        layer.eval().requires_grad_(False)
    return len(layers)

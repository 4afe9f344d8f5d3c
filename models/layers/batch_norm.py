"""Batch normalization as TSN trains it: partial BN.

Wang et al., "Temporal Segment Networks", ECCV 2016, §3.2: all BN layers but the first keep the
statistics and the parameters that they came with.
"""

from collections.abc import Iterator

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm


def find_batch_norms(network: nn.Module) -> Iterator[nn.Module]:
    """All BN layers, in the order in which they were made; SyncBatchNorm is one, too."""
    return (module for module in network.modules() if isinstance(module, _BatchNorm))


def freeze_batch_norms(network: nn.Module, but_first: bool = True) -> int:
    """Partial BN; returns how many layers were frozen.

    To be called again after every `train()`, which wakes BN up.
    """
    layers = list(find_batch_norms(network))[1 if but_first else 0 :]
    for layer in layers:
        layer.eval().requires_grad_(False)
    return len(layers)

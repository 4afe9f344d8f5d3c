"""Batch normalization over the batches of all processes, on CPUs as well.

Peng et al., "MegDet", CVPR 2018, §3.2. torch's SyncBatchNorm does this on GPUs and refuses the
CPU; `AllReduceBatchNorm` is for that case: mean and variance of the whole batch by two sums over
the processes, through which gradients flow.
"""

from typing import Any

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm


class SumOverProcesses(torch.autograd.Function):
    """The sum of a tensor over processes. So is its gradient: each one's loss depends on it."""

    @staticmethod
    def forward(context: Any, x: torch.Tensor) -> torch.Tensor:
        total = x.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(context: Any, *gradients: torch.Tensor) -> torch.Tensor:
        total = gradients[0].clone()
        dist.all_reduce(total)
        return total


class AllReduceBatchNorm(_BatchNorm):
    """Batch normalization with the statistics of all processes; as if one had them all."""

    def _check_input_dim(self, input: torch.Tensor) -> None:
        if input.dim() < 2:
            raise ValueError(f"expected 2 dimensions or more, got {input.dim()}")

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """Like nn.BatchNorm2d's; batches of the processes may differ in size."""
        self._check_input_dim(input)
        if not self.training:
            return super().forward(input)
        kind = input.dtype
        # Sums of many halves in halves would be rough, and the running statistics are not halves.
        input = input.to(torch.promote_types(kind, self.weight.dtype))
        spread = [0, *range(2, input.dim())]
        shape = [1, -1] + [1] * (input.dim() - 2)
        count = SumOverProcesses.apply(input.new_tensor([input.numel() / input.shape[1]]))
        mean = SumOverProcesses.apply(input.sum(spread)) / count
        centred = input - mean.view(shape)
        variance = SumOverProcesses.apply(centred.square().sum(spread)) / count
        with torch.no_grad():
            self.num_batches_tracked += 1
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(variance * count / (count - 1), self.momentum)
        scale = self.weight * (variance + self.eps).rsqrt()
        return (centred * scale.view(shape) + self.bias.view(shape)).to(kind)


def synchronize_batch_norms(network: nn.Module, device: torch.device) -> nn.Module:
    """The network with BN over all processes, by the same names of weights."""
    if device.type == "cuda":
        return nn.SyncBatchNorm.convert_sync_batchnorm(network)
    for name, child in network.named_children():
        if isinstance(child, _BatchNorm):
            setattr(network, name, convert(child))
        else:
            synchronize_batch_norms(child, device)
    return network


def convert(layer: _BatchNorm) -> AllReduceBatchNorm:
    """The same layer, sharing its parameters and statistics."""
    other = AllReduceBatchNorm(layer.num_features, layer.eps, layer.momentum)
    other.weight, other.bias = layer.weight, layer.bias
    other.running_mean, other.running_var = layer.running_mean, layer.running_var
    other.num_batches_tracked = layer.num_batches_tracked
    other.train(layer.training)
    return other

"""Batch normalization over the batches of all processes, on CPUs as well as GPUs.

Peng et al., "MegDet", CVPR 2018, §3.2. PyTorch's SyncBatchNorm supports GPUs only.
`AllReduceBatchNorm` is its counterpart for the CPU: sums over the processes give the mean and the
variance of the whole batch, and gradients flow through them.
"""

from typing import Any

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm


class SumOverProcesses(torch.autograd.Function):
    """Sum a tensor over all processes.

    The gradient is summed over the processes too, because the loss of each one depends on the sum.
    """

    @staticmethod
    def forward(context: Any, x: torch.Tensor) -> torch.Tensor:
        """Return the sum of `x` over all processes."""
        total = x.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(context: Any, *gradients: torch.Tensor) -> torch.Tensor:
        """Return the sum of the gradient over all processes."""
        return SumOverProcesses.forward(context, gradients[0])


class AllReduceBatchNorm(_BatchNorm):
    """Batch normalization with statistics over the batches of all processes."""

    def _check_input_dim(self, input: torch.Tensor) -> None:
        if input.dim() < 2:
            raise ValueError(f"expected 2 dimensions or more, got {input.dim()}")

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """Normalize a batch as `nn.BatchNorm2d` does.

        Args:
            input: Tensor (N, C, ...). N may differ between processes.

        Returns:
            The normalized tensor, of the shape and dtype of `input`.

        Raises:
            ValueError: `input` has less than 2 dimensions, or in training one value per channel in
                all processes together, which has no variance.
        """
        self._check_input_dim(input)
        if not self.training:
            return super().forward(input)
        dtype = input.dtype
        # float16 sums of many values are inaccurate, and the running statistics are float32.
        input = input.to(torch.promote_types(dtype, self.weight.dtype))
        summed = [0, *range(2, input.dim())]  # all dimensions but the channels
        shape = [1, -1] + [1] * (input.dim() - 2)
        count = SumOverProcesses.apply(input.new_tensor([input.numel() / input.shape[1]]))
        if count <= 1:
            raise ValueError(
                f"expected more than 1 value per channel in training, got {tuple(input.shape)} in "
                "all processes together; use larger batches"
            )
        mean = SumOverProcesses.apply(input.sum(summed)) / count
        centred = input - mean.view(shape)
        variance = SumOverProcesses.apply(centred.square().sum(summed)) / count
        with torch.no_grad():
            self.num_batches_tracked += 1
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(variance * count / (count - 1), self.momentum)
        scale = self.weight * (variance + self.eps).rsqrt()
        return (centred * scale.view(shape) + self.bias.view(shape)).to(dtype)


def synchronize_batch_norms(network: nn.Module, device: torch.device) -> nn.Module:
    """Replace the batch normalization layers of a network with synchronized ones.

    Args:
        network: The network, which is changed in place; no such layer itself.
        device: The device that the network is trained on.

    Returns:
        The network, whose weights keep their names.
    """
    if device.type == "cuda":
        return nn.SyncBatchNorm.convert_sync_batchnorm(network)
    for name, child in network.named_children():
        if isinstance(child, _BatchNorm):
            setattr(network, name, convert_batch_norm(child))
        else:
            synchronize_batch_norms(child, device)
    return network


def convert_batch_norm(layer: _BatchNorm) -> AllReduceBatchNorm:
    """Convert a layer to `AllReduceBatchNorm`, sharing its parameters and statistics.

    Raises:
        ValueError: The layer has no weight and bias, no running statistics or no momentum.
    """
    if not layer.affine or not layer.track_running_stats or layer.momentum is None:
        raise ValueError(
            f"expected batch normalization with affine, track_running_stats and a momentum, got "
            f"{layer}; processes without a GPU can train no other"
        )
    converted = AllReduceBatchNorm(layer.num_features, layer.eps, layer.momentum)
    converted.weight, converted.bias = layer.weight, layer.bias
    converted.running_mean, converted.running_var = layer.running_mean, layer.running_var
    converted.num_batches_tracked = layer.num_batches_tracked
    converted.train(layer.training)
    return converted

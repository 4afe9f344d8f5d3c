"""Partial batch normalization."""

import pytest
import torch
from torch import nn

from models.backbones.resnet import ResNet
from models.layers.batch_norm import find_batch_norms, freeze_batch_norms
from models.networks.two_stream import TwoStream


def read_statistics(network):
    return [layer.running_mean.clone() for layer in find_batch_norms(network)]


def test_partial_batch_norm_keeps_all_but_the_first():
    network = ResNet(18, width=4, num_classes=2).train()
    layers = list(find_batch_norms(network))
    assert len(layers) == 20
    assert freeze_batch_norms(network) == 19
    before = read_statistics(network)
    network(torch.randn(4, 3, 32, 32)).sum().backward()
    changed = [not torch.equal(a, b) for a, b in zip(before, read_statistics(network), strict=True)]
    assert changed == [True] + [False] * 19
    assert layers[0].weight.grad is not None
    assert all(layer.weight.grad is None for layer in layers[1:])


def test_train_unfreezes_them_and_they_can_be_frozen_again():
    network = ResNet(18, width=4, num_classes=2)
    freeze_batch_norms(network)
    network.train()
    assert all(layer.training for layer in find_batch_norms(network))
    assert freeze_batch_norms(network) == 19
    assert [layer.training for layer in find_batch_norms(network)] == [True] + [False] * 19


def test_first_layer_of_a_branch_stays_trainable():
    network = TwoStream(*(ResNet(18, in_channels=c, width=4) for c in (3, 10)))
    branch = network.list_branch_modules("flow")
    assert freeze_batch_norms(branch) == 19 + 2  # of the backbone and of its two blocks
    training = [layer for layer in find_batch_norms(network.flow) if layer.training]
    assert training == [network.flow.bn1]
    assert all(layer.training for layer in find_batch_norms(network.rgb))


def test_all_can_be_frozen():
    network = ResNet(18, width=4)
    assert freeze_batch_norms(network, skip_first=False) == 20
    assert not any(layer.training for layer in find_batch_norms(network))


def test_synchronized_layers_are_frozen():
    """A search for BatchNorm2d alone would freeze nothing in distributed training."""
    network = nn.SyncBatchNorm.convert_sync_batchnorm(ResNet(18, width=4))
    assert all(isinstance(layer, nn.SyncBatchNorm) for layer in find_batch_norms(network))
    assert freeze_batch_norms(network) == 19
    assert [layer.training for layer in find_batch_norms(network)] == [True] + [False] * 19
    assert not network.layer1[0].bn1.weight.requires_grad


@pytest.mark.parametrize("kind", [nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d])
def test_layers_of_all_dimensions_are_frozen(kind):
    assert freeze_batch_norms(nn.Sequential(kind(2), nn.ReLU(), kind(2), nn.GroupNorm(1, 2))) == 1

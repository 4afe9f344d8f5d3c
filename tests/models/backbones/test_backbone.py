"""What all backbones share: their initialization."""

import pytest
import torch
from torch import nn

from models.backbones.backbone import initialize_convolutions


def make_network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.Linear(4, 4), nn.Conv3d(2, 8, 1))


def test_convolutions_are_initialized_and_other_layers_are_not():
    network, before = make_network(), make_network()
    initialize_convolutions(network)
    changed = [not torch.equal(a.weight, b.weight) for a, b in zip(network, before, strict=True)]
    assert changed == [True, False, True]
    assert all(not network[index].bias.any() for index in (0, 2))


def test_nothing_is_drawn_on_the_meta_device(monkeypatch):
    def draw(*_, **__):
        pytest.fail("this imports PyTorch's compiler")

    monkeypatch.setattr(nn.init, "kaiming_normal_", draw)
    with torch.device("meta"):
        initialize_convolutions(make_network())

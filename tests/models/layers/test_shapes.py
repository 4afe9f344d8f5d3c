"""Networks on the meta device."""

import pytest
import torch
from torch import nn

from models.backbones.resnet import ResNet
from models.layers.shapes import ShapesOnly


def test_shapes_are_those_without_it():
    network = ResNet(18, width=4, num_classes=2).to("meta").eval()
    images = torch.empty(2, 3, 32, 32, device="meta")
    with torch.no_grad():
        expected = network.embed(images).shape
        with ShapesOnly():
            assert network.embed(images).shape == expected == (2, 32)


def test_channels_that_do_not_fit_are_an_error():
    layer = nn.BatchNorm2d(4, device="meta").eval()
    with ShapesOnly():
        assert layer(torch.empty(1, 4, 2, 2, device="meta")).shape == (1, 4, 2, 2)
        with pytest.raises(RuntimeError):
            layer(torch.empty(1, 5, 2, 2, device="meta"))


def test_values_are_normalized():
    layer = nn.BatchNorm2d(1).eval()
    layer.running_mean.fill_(3)
    with ShapesOnly():
        assert torch.allclose(layer(torch.full((1, 1, 2, 2), 3.0)), torch.zeros(()), atol=1e-6)

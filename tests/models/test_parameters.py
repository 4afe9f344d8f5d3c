import pytest

from models.backbones.resnet import ResNet
from models.parameters import group_parameters


@pytest.mark.parametrize("flow", [False, True])
def test_every_parameter_is_in_one_group(flow):
    network = ResNet(50, width=4, num_classes=3)
    groups = group_parameters(network, 0.1, 5e-4, first_is_new=flow)
    grouped = [id(parameter) for group in groups for parameter in group["params"]]
    assert len(grouped) == len(set(grouped))
    assert set(grouped) == {id(parameter) for parameter in network.parameters()}


def test_rates_and_decays_are_tsns():
    network = ResNet(18, width=4, num_classes=3)
    groups = {g["name"]: g for g in group_parameters(network, 0.1, 5e-4, first_is_new=True)}
    assert {name: (g["lr"], g["weight_decay"]) for name, g in groups.items()} == {
        "first weights": (0.5, 5e-4),
        "weights": (0.1, 5e-4),
        "biases": (0.2, 0),
        "batch norm": (0.1, 0),
    }
    assert groups["first weights"]["params"][0] is network.conv1.weight
    assert groups["biases"]["params"] == [network.fc.bias]
    assert len(groups["batch norm"]["params"]) == 40


def test_frozen_parameters_are_in_none():
    network = ResNet(18, width=4, num_classes=3)
    network.requires_grad_(False)
    network.fc.requires_grad_(True)
    groups = group_parameters(network, 0.1, 5e-4)
    assert sum(len(group["params"]) for group in groups) == 2

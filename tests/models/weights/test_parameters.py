import pytest
from torch import nn

from models.backbones.resnet import ResNet
from models.networks.two_stream import TwoStream
from models.weights.parameters import group_parameters


@pytest.mark.parametrize("flow", [False, True])
def test_every_parameter_is_in_one_group(flow):
    network = ResNet(50, width=4, num_classes=3)
    groups = group_parameters(network, 0.1, 5e-4, first_is_new=flow)
    grouped = [id(parameter) for group in groups for parameter in group["params"]]
    assert len(grouped) == len(set(grouped))
    assert set(grouped) == {id(parameter) for parameter in network.parameters()}


def make_two_stream():
    return TwoStream(
        *(ResNet(18, in_channels=c, num_classes=3, width=4) for c in (3, 10)), non_local=("flow",)
    )


def test_attention_blocks_are_in_one_group():
    network = make_two_stream()
    flow = group_parameters(network.list_branch_modules("flow"), 0.1, 5e-4, first_is_new=True)
    rgb = group_parameters(network.list_branch_modules("rgb"), 0.1, 5e-4)
    grouped = [id(p) for group in flow + rgb for p in group["params"]]
    assert len(grouped) == len(set(grouped))
    assert set(grouped) == {id(parameter) for parameter in network.parameters()}
    of = {g["name"]: {id(p) for p in g["params"]} for g in flow}
    block = network.to_flow["res3_1"]
    assert of["first weights"] == {id(network.flow.conv1.weight)}
    assert id(block.query.weight) in of["weights"]
    assert id(block.query.bias) in of["biases"]
    assert {id(block.norm.weight), id(block.norm.bias)} <= of["batch norm"]


def test_frozen_branch_is_in_no_group():
    network = make_two_stream()
    network.freeze("rgb")
    grouped = {id(p) for g in group_parameters(network, 0.1, 5e-4) for p in g["params"]}
    assert grouped == {id(p) for p in network.list_branch_modules("flow").parameters()}


def test_rates_and_decays_of_tsn():
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


def test_first_bias_of_flow_learns_ten_times_as_fast():
    """ResNets have no such bias; other networks of TSN do."""
    network = nn.Sequential(nn.Conv2d(10, 4, 3), nn.Conv2d(4, 4, 3))
    groups = {g["name"]: g for g in group_parameters(network, 0.01, 1e-4, first_is_new=True)}
    assert groups["first biases"]["params"] == [network[0].bias]
    assert groups["first biases"]["lr"] == pytest.approx(0.1)
    assert groups["first biases"]["weight_decay"] == 0
    assert groups["biases"]["params"] == [network[1].bias]


def test_first_convolution_of_rgb_is_not_special():
    network = ResNet(18, width=4, num_classes=3)
    groups = {g["name"]: g for g in group_parameters(network, 0.1, 5e-4)}
    assert set(groups) == {"weights", "biases", "batch norm"}
    assert groups["weights"]["params"][0] is network.conv1.weight


def test_frozen_parameters_are_in_no_group():
    network = ResNet(18, width=4, num_classes=3)
    network.requires_grad_(False)
    network.fc.requires_grad_(True)
    groups = group_parameters(network, 0.1, 5e-4)
    assert {g["name"]: g["params"][0] for g in groups} == {
        "weights": network.fc.weight,
        "biases": network.fc.bias,
    }
    assert sum(len(group["params"]) for group in groups) == 2

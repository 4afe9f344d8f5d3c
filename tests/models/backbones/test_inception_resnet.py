"""Inception-ResNet-v2: counts, keys and sizes of the public network, and its output."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from models.backbones import inception_resnet
from models.backbones.backbone import normalize
from models.backbones.inception_resnet import InceptionResNetV2
from models.backbones.resnet import ResNet
from models.weights.pretrained import WeightsError, load_weights
from models.weights.weight_files import convert_weights

NORM = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
# Layers of the towers, by module.
MIXED_5B = ["branch0", "branch1.0", "branch1.1", *(f"branch2.{i}" for i in range(3)), "branch3.1"]
MIXED_6A = ["branch0", "branch1.0", "branch1.1", "branch1.2"]
MIXED_7A = [
    *(f"branch{i}.{j}" for i in (0, 1) for j in (0, 1)),
    *(f"branch2.{i}" for i in range(3)),
]
BLOCK_A = ["branch0", "branch1.0", "branch1.1", "branch2.0", "branch2.1", "branch2.2"]
BLOCK_BC = ["branch0", "branch1.0", "branch1.1", "branch1.2"]


@pytest.fixture(scope="module")
def network():
    """Make one network for all tests, which do not change it."""
    torch.manual_seed(0)
    return InceptionResNetV2(num_classes=5, dropout=0.5).eval()


@pytest.fixture(scope="module")
def full():
    """Make the network with 1000 classes on the meta device."""
    return make_meta()


def make_meta(**options):
    with torch.device("meta"):
        return InceptionResNetV2(**options)


def count_parameters(network):
    return sum(parameter.numel() for parameter in network.parameters())


def test_counts(full):
    assert count_parameters(full) == 55_843_464
    assert count_parameters(make_meta(num_classes=1001)) == 55_845_001
    trunk = make_meta(num_classes=0, in_channels=10)
    assert count_parameters(trunk) == 55_843_464 - 1537 * 1000 + 7 * 32 * 9
    norms = [module for module in full.modules() if isinstance(module, nn.BatchNorm2d)]
    assert {module.eps for module in norms} == {1e-3}


def test_keys_are_those_of_public_weight_files(full):
    layers = [f"conv2d_{name}" for name in ("1a", "2a", "2b", "3b", "4a", "7b")]
    for name, towers in (("5b", MIXED_5B), ("6a", MIXED_6A), ("7a", MIXED_7A)):
        layers += [f"mixed_{name}.{layer}" for layer in towers]
    blocks = [("block8", BLOCK_BC)]
    for name, count, towers in (
        ("repeat", 10, BLOCK_A), ("repeat_1", 20, BLOCK_BC), ("repeat_2", 9, BLOCK_BC)
    ):  # fmt: skip
        blocks += [(f"{name}.{index}", towers) for index in range(count)]
    keys = {"last_linear.weight", "last_linear.bias"}
    for name, towers in blocks:
        layers += [f"{name}.{layer}" for layer in towers]
        keys |= {f"{name}.conv2d.weight", f"{name}.conv2d.bias"}
    keys |= {f"{layer}.conv.weight" for layer in layers}
    keys |= {f"{layer}.bn.{end}" for layer in layers for end in NORM}
    assert set(full.state_dict()) == keys


def test_shapes_of_layers(full):
    shapes = {
        "conv2d_3b.conv": (80, 64, 1, 1),
        "mixed_5b.branch1.1.conv": (64, 48, 5, 5),
        "repeat.9.branch2.1.conv": (48, 32, 3, 3),
        "repeat.0.conv2d": (320, 128, 1, 1),
        "mixed_6a.branch1.2.conv": (384, 256, 3, 3),
        "repeat_1.19.branch1.1.conv": (160, 128, 1, 7),
        "repeat_1.0.branch1.2.conv": (192, 160, 7, 1),
        "repeat_1.0.conv2d": (1088, 384, 1, 1),
        "mixed_7a.branch2.2.conv": (320, 288, 3, 3),
        "repeat_2.8.branch1.1.conv": (224, 192, 1, 3),
        "block8.branch1.2.conv": (256, 224, 3, 1),
        "block8.conv2d": (2080, 448, 1, 1),
        "conv2d_7b.conv": (1536, 2080, 1, 1),
    }
    weights = full.state_dict()
    assert {name: tuple(weights[f"{name}.weight"].shape) for name in shapes} == shapes


def test_sizes_and_channels_of_taps(full):
    x, output = torch.empty(2, 3, 299, 299, device="meta"), {}
    for name, step in full.steps():
        x = step(x)
        output[name] = (x.shape[1], *x.shape[2:])
    assert x.shape == (2, 1536, 8, 8)
    expected = {
        "conv2d_4a": (192, 71, 71),
        "block_a": (320, 35, 35),
        "block_b": (1088, 17, 17),
        "block_c": (2080, 8, 8),
    }
    assert {name: output[name] for name in full.taps} == expected
    assert full.taps == {name: shape[0] for name, shape in expected.items()}
    names = ["conv2d_1a", "conv2d_2a", "conv2d_2b", "maxpool_3a", "conv2d_3b", "conv2d_4a"]
    names += ["maxpool_5a", "mixed_5b", *(f"block_a_{i}" for i in range(9)), "block_a", "relu_a"]
    names += ["mixed_6a", *(f"block_b_{i}" for i in range(19)), "block_b", "relu_b"]
    names += ["mixed_7a", *(f"block_c_{i}" for i in range(9)), "block_c", "conv2d_7b"]
    assert list(output) == names
    assert full.head(x).shape == (2, 1000)


def compute(weights, x):
    """Compute scores and maps by the layers' definitions from the tensors alone."""
    maps = {}

    def layer(x, name, stride=1, valid=False):
        kernel = weights[f"{name}.conv.weight"]
        padding = (0, 0) if valid else (kernel.shape[2] // 2, kernel.shape[3] // 2)
        x = functional.conv2d(x, kernel, None, stride, padding)
        scale, shift, mean, var, _ = (weights[f"{name}.bn.{end}"].view(-1, 1, 1) for end in NORM)
        return ((x - mean) / (var + 1e-3).sqrt() * scale + shift).clamp(min=0)

    def chain(x, name, count, last=None):
        for index in range(count):
            halves = last == "halves" and index == count - 1
            x = layer(x, f"{name}.{index}", 2 if halves else 1, valid=halves)
        return x

    def halve(x):
        return functional.max_pool2d(x, 3, 2)

    def residual(x, name, scale, lengths):
        towers = [
            layer(x, f"{name}.branch{i}") if n == 1 else chain(x, f"{name}.branch{i}", n)
            for i, n in enumerate(lengths)
        ]
        kernel, bias = weights[f"{name}.conv2d.weight"], weights[f"{name}.conv2d.bias"]
        return x + scale * functional.conv2d(torch.cat(towers, 1), kernel, bias)

    x = layer(layer(x, "conv2d_1a", 2, valid=True), "conv2d_2a", valid=True)
    x = halve(layer(x, "conv2d_2b"))
    maps["conv2d_4a"] = layer(layer(x, "conv2d_3b"), "conv2d_4a", valid=True)
    x = halve(maps["conv2d_4a"])
    # The mean over a 3×3 window ignores positions outside the map.
    count = functional.avg_pool2d(torch.ones_like(x), 3, 1, 1)
    pooled = functional.avg_pool2d(x, 3, 1, 1) / count
    one, two = layer(x, "mixed_5b.branch0"), chain(x, "mixed_5b.branch1", 2)
    three, four = chain(x, "mixed_5b.branch2", 3), layer(pooled, "mixed_5b.branch3.1")
    x = torch.cat([one, two, three, four], 1)
    for index in range(10):
        maps["block_a"] = residual(x, f"repeat.{index}", 0.17, (1, 2, 3))
        x = maps["block_a"].clamp(min=0)
    towers = [layer(x, "mixed_6a.branch0", 2, valid=True)]
    x = torch.cat([*towers, chain(x, "mixed_6a.branch1", 3, "halves"), halve(x)], 1)
    for index in range(20):
        maps["block_b"] = residual(x, f"repeat_1.{index}", 0.1, (1, 3))
        x = maps["block_b"].clamp(min=0)
    towers = [chain(x, f"mixed_7a.branch{i}", n, "halves") for i, n in enumerate((2, 2, 3))]
    x = torch.cat([*towers, halve(x)], 1)
    for index in range(9):
        x = residual(x, f"repeat_2.{index}", 0.2, (1, 3)).clamp(min=0)
    maps["block_c"] = residual(x, "block8", 1, (1, 3))
    x = layer(maps["block_c"], "conv2d_7b").mean((2, 3))
    return x @ weights["last_linear.weight"].T + weights["last_linear.bias"], maps


def assert_near(output, expected):
    assert (output - expected).abs().max() <= 1e-4 * expected.abs().max()


def test_output_equals_the_definition(network, randomize):
    """Maps are 2 × 3 in C. Taps are before their ReLU and not changed by later steps."""
    randomize(network)
    x = images = torch.randn(1, 3, 107, 139)
    taps = {}
    with torch.no_grad():
        expected, maps = compute(network.state_dict(), images)
        for name, step in network.steps():
            x = step(x)
            if name in network.taps:
                taps[name] = x
        assert_near(network.head(x), expected)
        assert torch.equal(network(images), network.head(x))
    assert taps.keys() == maps.keys()
    for name, tap in taps.items():
        assert_near(tap, maps[name])
        assert (tap.min() < 0) == name.startswith("block")


def test_output_equals_timm(network, randomize):
    try:
        import timm
    except Exception as error:  # noqa: BLE001 (what it imports may not fit torch)
        pytest.skip(f"timm cannot be imported here: {error}")
    theirs = randomize(timm.create_model("inception_resnet_v2", num_classes=5))
    ours = InceptionResNetV2(num_classes=5).eval()
    load_weights(ours, convert_weights(ours, theirs.state_dict()))
    images = torch.randn(1, 3, 107, 139)
    with torch.no_grad():
        torch.testing.assert_close(ours(images), theirs(images), rtol=1e-4, atol=1e-4)


@pytest.fixture
def use_few_blocks(monkeypatch):
    """Build networks with two blocks of each kind, to save time."""
    monkeypatch.setattr(inception_resnet, "COUNTS", (2, 2, 1))


def test_all_weights_get_gradients(use_few_blocks):
    network = InceptionResNetV2(num_classes=5)
    network(torch.randn(2, 3, 75, 75)).square().sum().backward()
    missing = [n for n, p in network.named_parameters() if p.grad is None or not p.grad.any()]
    assert not missing


def test_features_and_flow(use_few_blocks):
    network = InceptionResNetV2(num_classes=0, in_channels=10).eval()
    with torch.no_grad():
        assert network(torch.randn(2, 10, 75, 75)).shape == (2, 1536)
    rgb = InceptionResNetV2(num_classes=5)
    load_weights(network, rgb.state_dict(), skip=("last_linear.",), inflate_channels=True)
    expected = rgb.conv2d_1a.conv.weight.mean(1)
    torch.testing.assert_close(network.conv2d_1a.conv.weight[:, 7], expected)


def test_dropout_is_active_only_in_training(network):
    features = torch.rand(4, 1536)
    assert torch.equal(network.classify(features), network.last_linear(features))
    network.dropout.train()
    assert not torch.equal(network.classify(features), network.classify(features))
    network.dropout.eval()


def test_normalization_is_from_minus_one_to_one():
    image = torch.tensor([0.0, 0.5, 1.0]).view(1, 3, 1, 1)
    expected = torch.tensor([-1.0, 0.0, 1.0])
    torch.testing.assert_close(normalize(image, InceptionResNetV2.rgb_input).flatten(), expected)
    flow = expected.view(1, 3, 1, 1)
    torch.testing.assert_close(normalize(flow, InceptionResNetV2.flow_input).flatten(), expected)


# --- weight files --------------------------------------------------------------------------------


def last_layer(classes, name="last_linear"):
    weight = torch.arange(float(classes))[:, None].expand(-1, 1536)
    return {f"{name}.weight": weight, f"{name}.bias": torch.arange(float(classes))}


@pytest.mark.parametrize("name", ["last_linear", "classif"])
@pytest.mark.parametrize(("classes", "first"), [(1000, 0), (1001, 1)])
def test_background_class_is_dropped(full, name, classes, first):
    weights = convert_weights(full, last_layer(classes, name))
    assert weights.keys() == {"last_linear.weight", "last_linear.bias"}
    for tensor in weights.values():
        assert tensor.shape[0] == 1000 and tensor.flatten()[0] == first
    shapes = {n: tuple(t.shape) for n, t in full.state_dict().items() if n in weights}
    assert shapes == {n: tuple(t.shape) for n, t in weights.items()}


@pytest.mark.parametrize("classes", [0, 1001])
def test_background_stays_for_other_numbers_of_classes(classes):
    given = last_layer(1001)
    weights = convert_weights(make_meta(num_classes=classes), given)
    assert all(torch.equal(weights[name], tensor) for name, tensor in given.items())


def test_only_the_last_layer_loses_a_row(full):
    odd = {"conv2d_7b.conv.weight": torch.zeros(1001, 2), "last_linear.odd": torch.zeros(1001)}
    weights = convert_weights(full, odd)
    assert all(weights[name] is tensor for name, tensor in odd.items())


def test_timm_names_are_converted(network):
    given = {n.replace("last_linear", "classif"): t for n, t in network.state_dict().items()}
    with pytest.raises(WeightsError, match=r"missing: last_linear\.weight, last_linear\.bias"):
        load_weights(network, given)
    assert convert_weights(network, given).keys() == network.state_dict().keys()


def test_other_families_keep_their_names():
    network = ResNet(18, width=4, num_classes=5)
    weights = network.state_dict()
    assert convert_weights(network, weights) is weights

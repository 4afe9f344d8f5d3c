"""BN-Inception: counts, keys and sizes of the public network, and its output by definition."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from models.backbones.backbone import normalize
from models.backbones.bn_inception import BNInception
from models.weights.pretrained import WeightsError, load_weights
from models.weights.weight_files import convert_weights

NORM = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
BLOCKS = ("3a", "3b", "3c", "4a", "4b", "4c", "4d", "4e", "5a", "5b")
HALVING = ("3c", "4e")
DOUBLE = ("double_3x3_reduce", "double_3x3_1", "double_3x3_2")


def make_thin(seed=0, **options):
    torch.manual_seed(seed)
    return BNInception(**{"num_classes": 5, "width": 0.125, **options})


@pytest.fixture(scope="module")
def full():
    """Make the network of the paper on the meta device."""
    with torch.device("meta"):
        return BNInception()


def count_parameters(network):
    return sum(parameter.numel() for parameter in network.parameters())


def test_counts(full):
    assert count_parameters(full) == 11_295_240
    with torch.device("meta"):
        assert count_parameters(BNInception(num_classes=0)) == 11_295_240 - 1025 * 1000
        assert count_parameters(BNInception(in_channels=10)) == 11_295_240 + 7 * 64 * 49
    convolutions = [m for m in full.modules() if isinstance(m, nn.Conv2d)]
    assert len(convolutions) == 69 == sum(isinstance(m, nn.BatchNorm2d) for m in full.modules())
    assert all(module.bias is not None for module in convolutions)


def test_keys_are_those_of_public_weight_files(full):
    layers = {"conv1_7x7_s2", "conv2_3x3_reduce", "conv2_3x3"}
    for block in BLOCKS:
        layers |= {f"inception_{block}_{layer}" for layer in ("3x3_reduce", "3x3", *DOUBLE)}
        if block not in HALVING:
            layers |= {f"inception_{block}_1x1", f"inception_{block}_pool_proj"}
    keys = {f"{layer}.{end}" for layer in layers for end in ("weight", "bias")}
    keys |= {f"{layer}_bn.{end}" for layer in layers for end in NORM}
    assert set(full.state_dict()) == keys | {"last_linear.weight", "last_linear.bias"}


def test_shapes_of_layers(full):
    shapes = {
        "conv1_7x7_s2": (64, 3, 7, 7),
        "conv2_3x3": (192, 64, 3, 3),
        "inception_3a_double_3x3_1": (96, 64, 3, 3),
        "inception_3b_pool_proj": (64, 256, 1, 1),
        "inception_3c_3x3": (160, 128, 3, 3),
        "inception_4a_1x1": (224, 576, 1, 1),
        "inception_4d_pool_proj": (128, 608, 1, 1),
        "inception_4e_double_3x3_2": (256, 256, 3, 3),
        "inception_5a_1x1": (352, 1056, 1, 1),
        "inception_5b_double_3x3_reduce": (192, 1024, 1, 1),
    }
    weights = full.state_dict()
    assert {name: tuple(weights[f"{name}.weight"].shape) for name in shapes} == shapes
    outs = {name: tuple(weights[f"{name}_bn.running_var"].shape) for name in shapes}
    assert outs == {name: shape[:1] for name, shape in shapes.items()}


def test_sizes_and_channels_of_steps(full):
    x, output = torch.empty(2, 3, 224, 224, device="meta"), {}
    for name, step in full.steps():
        x = step(x)
        output[name] = (x.shape[1], *x.shape[2:])
    taps = {
        "inception_3a": (256, 28, 28),
        "inception_3b": (320, 28, 28),
        "inception_3c": (576, 14, 14),
        "inception_4a": (576, 14, 14),
        "inception_4b": (576, 14, 14),
        "inception_4c": (608, 14, 14),
        "inception_4d": (608, 14, 14),
        "inception_4e": (1056, 7, 7),
        "inception_5a": (1024, 7, 7),
        "inception_5b": (1024, 7, 7),
    }
    stem = {
        "conv1_7x7_s2": (64, 112, 112),
        "pool1_3x3_s2": (64, 56, 56),
        "conv2_3x3_reduce": (64, 56, 56),
        "conv2_3x3": (192, 56, 56),
        "pool2_3x3_s2": (192, 28, 28),
    }
    assert list(output.items()) == [*stem.items(), *taps.items()]
    assert full.taps == {name: shape[0] for name, shape in taps.items()}
    assert full.head(x).shape == (2, 1000)


def compute(weights, x):
    """Compute scores by the layers' definitions from the tensors of a weight file alone."""

    def layer(x, name, stride=1):
        kernel = weights[f"{name}.weight"]
        x = functional.conv2d(x, kernel, weights[f"{name}.bias"], stride, kernel.shape[-1] // 2)
        scale, shift, mean, var, _ = (weights[f"{name}_bn.{end}"].view(-1, 1, 1) for end in NORM)
        return ((x - mean) / (var + 1e-5).sqrt() * scale + shift).clamp(min=0)

    def windows(x, beyond):
        """Stack the nine values around each position, (9, …)."""
        padded = functional.pad(x, (1, 1, 1, 1), value=beyond)
        height, width = x.shape[2:]
        return torch.stack(
            [padded[..., i : i + height, j : j + width] for i in range(3) for j in range(3)]
        )

    def halve(x):
        # The windows without padding are centred on odd positions. On an even side, the last
        # window crosses the border.
        return windows(x, -torch.inf).amax(0)[..., 1::2, 1::2]

    x = halve(layer(x, "conv1_7x7_s2", 2))
    x = halve(layer(layer(x, "conv2_3x3_reduce"), "conv2_3x3"))
    for block in BLOCKS:
        name, stride = f"inception_{block}", 2 if block in HALVING else 1
        three = layer(layer(x, f"{name}_3x3_reduce"), f"{name}_3x3", stride)
        double = layer(layer(x, f"{name}_double_3x3_reduce"), f"{name}_double_3x3_1")
        double = layer(double, f"{name}_double_3x3_2", stride)
        if block in HALVING:
            x = torch.cat([three, double, halve(x)], 1)
            continue
        pooled = windows(x, -torch.inf).amax(0) if block == "5b" else windows(x, 0).mean(0)
        pooled = layer(pooled, f"{name}_pool_proj")
        x = torch.cat([layer(x, f"{name}_1x1"), three, double, pooled], 1)
    return functional.linear(x.mean((2, 3)), weights["last_linear.weight"])


@pytest.mark.parametrize("size", [(64, 96), (70, 128)])
def test_output_equals_the_definition(randomize, size):
    torch.manual_seed(0)
    network, images = randomize(make_thin()), torch.randn(2, 3, *size)
    with torch.no_grad():
        expected = compute(network.state_dict(), images)
        network.last_linear.bias.zero_()
        scores = network(images)
    assert (scores - expected).abs().max() <= 1e-4 * expected.abs().max()


def test_all_weights_get_gradients():
    network = make_thin()
    network(torch.randn(2, 3, 64, 64)).square().sum().backward()
    # Biases before BN get no gradient, since BN subtracts them.
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None and (parameter.grad.any() or name.endswith(".bias")), name


def test_steps_do_not_change_their_inputs():
    network, x = make_thin().eval(), torch.randn(1, 3, 64, 64)
    seen = []
    for _, step in network.steps():
        seen.append((x, x.clone()))
        x = step(x)
    assert all(torch.equal(now, then) for now, then in seen)


def test_without_classes_the_output_is_features():
    network = make_thin(num_classes=0)
    assert network(torch.randn(2, 3, 32, 32)).shape == (2, network.num_features) == (2, 128)


def test_thin_networks():
    with torch.device("meta"):
        assert BNInception(width=0.25).taps["inception_3a"] == 64
        thinnest = BNInception(width=1e-9)
    assert thinnest.taps["inception_3c"] == 6  # 1 + 1 and, pooled, 1 + 1 + 1 + 1 of 3b


def test_flow():
    network, rgb = make_thin(in_channels=10), make_thin(1)
    assert network.eval()(torch.randn(1, 10, 32, 32)).shape == (1, 5)
    load_weights(network, rgb.state_dict(), inflate_channels=True)
    expected = rgb.conv1_7x7_s2.weight.mean(1)
    torch.testing.assert_close(network.conv1_7x7_s2.weight[:, 9], expected)


@pytest.mark.parametrize(
    ("side", "block", "map_size"), [(40, "3c", "4×5"), (48, "4e", "2×3")], ids=["3c", "4e"]
)
def test_odd_maps_are_refused(side, block, map_size):
    with pytest.raises(ValueError, match=f"inception_{block} halves .* got {map_size}: .* of 32"):
        make_thin().eval()(torch.randn(1, 3, 32, side))


def test_dropout_is_active_only_in_training():
    network, x = make_thin(dropout=0.5).eval(), torch.rand(4, 128, 2, 2)
    assert torch.equal(network.head(x), network.last_linear(x.mean((2, 3))))
    network.train()
    assert not torch.equal(network.head(x), network.head(x))


def test_normalization_is_caffes():
    # red 10, green 20, blue 30 → blue, green and red less their means.
    image = torch.tensor([10.0, 20.0, 30.0]).view(1, 3, 1, 1) / 255
    expected = torch.tensor([30.0 - 104, 20 - 117, 10 - 128])
    torch.testing.assert_close(normalize(image, BNInception.rgb_input).flatten(), expected)
    flow = torch.tensor([-1.0, 0.0, 1.0]).view(1, 3, 1, 1)
    expected = torch.tensor([-127.5, 0.0, 127.5])
    torch.testing.assert_close(normalize(flow, BNInception.flow_input).flatten(), expected)


# --- weight files --------------------------------------------------------------------------------


def as_caffe(weights):
    """Give the tensors of BN the shape [1, C], as in files converted from Caffe."""
    return {n: t[None] if "_bn." in n and t.ndim == 1 else t for n, t in weights.items()}


def test_batch_norm_of_shape_1_c_is_squeezed():
    weights, network = make_thin().state_dict(), make_thin(1)
    given = as_caffe(weights)
    assert given["conv1_7x7_s2_bn.running_var"].shape == (1, 8)
    with pytest.raises(WeightsError, match=r"conv1_7x7_s2_bn.weight \(1, 8\) instead of \(8,\)"):
        load_weights(network, given)
    load_weights(network, convert_weights(network, given))
    assert all(torch.equal(network.state_dict()[name], t) for name, t in weights.items())
    assert given["conv1_7x7_s2_bn.running_var"].shape == (1, 8)


def test_only_one_row_is_squeezed():
    network = make_thin()
    weights = {**network.state_dict(), "conv2_3x3_bn.bias": torch.zeros(2, 24)}
    with pytest.raises(WeightsError, match=r"conv2_3x3_bn.bias \(2, 24\) instead of \(24,\)"):
        load_weights(network, convert_weights(network, weights))


@pytest.mark.parametrize("head", ["fc", "new_fc", "base_model.fc"])
def test_tsn_names_are_converted(head):
    weights, network = make_thin().state_dict(), make_thin(1)
    given = {
        name.replace("last_linear", head) if "last" in name else f"base_model.{name}": tensor
        for name, tensor in weights.items()
    }
    load_weights(network, convert_weights(network, given))
    assert all(torch.equal(network.state_dict()[name], t) for name, t in weights.items())


def test_two_last_layers_are_refused():
    network = make_thin()
    weights = {**network.state_dict(), "new_fc.bias": torch.zeros(5)}
    with pytest.raises(WeightsError, match=r"two .* named last_linear.bias: .* and new_fc.bias"):
        convert_weights(network, weights)


def test_unknown_names_are_reported():
    network = make_thin()
    weights = {**network.state_dict(), "base_model.odd": torch.zeros(1)}
    with pytest.raises(WeightsError, match="unexpected: odd"):
        load_weights(network, convert_weights(network, weights))

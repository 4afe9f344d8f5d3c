"""VGG-16: parameter counts and keys of the public weights, and torchvision's output."""

import pytest
import torch
from torch.nn import functional

from models.backbones import vgg
from models.backbones.backbone import RGB_INPUT, normalize
from models.backbones.vgg import VGG16
from models.weights.pretrained import WeightsError, load_weights
from models.weights.weight_files import convert_weights

# Indices of the convolutions among torchvision's modules, by stage.
NUMBERS = ((0, 2), (5, 7), (10, 12, 14), (17, 19, 21), (24, 26, 28))
CHANNELS = (64, 128, 256, 512, 512)
HIDDEN = 16


def count_parameters(network):
    return sum(parameter.numel() for parameter in network.parameters())


@pytest.fixture
def make_small(monkeypatch):
    """Make VGG-16 with a small classifier, since initializing 120 million weights is slow."""
    monkeypatch.setattr(vgg, "HIDDEN", HIDDEN)

    def make(seed=0, **options):
        torch.manual_seed(seed)
        return VGG16(**{"num_classes": 5, **options})

    return make


def test_counts():
    with torch.device("meta"):
        assert count_parameters(VGG16()) == 138_357_544
        last = 4096 * 1000 + 1000
        assert count_parameters(VGG16(num_classes=0)) == 138_357_544 - last
        assert count_parameters(VGG16(in_channels=10)) == 138_357_544 + 7 * 64 * 9


def test_keys_are_those_of_public_weight_files():
    modules = [f"features.{number}" for stage in NUMBERS for number in stage]
    modules += [f"classifier.{number}" for number in (0, 3, 6)]
    with torch.device("meta"):
        weights = VGG16().state_dict()
    assert list(weights) == [f"{module}.{end}" for module in modules for end in ("weight", "bias")]
    assert weights["features.5.weight"].shape == (128, 64, 3, 3)
    assert weights["classifier.0.weight"].shape == (4096, 25088)
    assert weights["classifier.6.weight"].shape == (1000, 4096)


def test_sizes_and_channels_of_steps():
    with torch.device("meta"):
        network, x = VGG16(), torch.empty(2, 3, RGB_INPUT.size, RGB_INPUT.size)
    output = {}
    for name, step in network.steps():
        x = step(x)
        output[name] = tuple(x.shape[1:])
    expected = {}
    for stage, (channels, numbers) in enumerate(zip(CHANNELS, NUMBERS, strict=True), 1):
        size = 448 >> stage
        for number in range(1, len(numbers) + 1):
            expected[f"conv{stage}_{number}"] = (channels, size, size)
        expected[f"pool{stage}"] = (channels, size // 2, size // 2)
    assert list(output.items()) == list(expected.items())
    assert network.taps == {n: shape[0] for n, shape in expected.items() if n.startswith("conv")}
    assert network.pool_features(x).shape == (2, network.num_features) == (2, 4096)


def compute(weights, x):
    """Compute features and scores by the layers' definitions from the tensors alone."""
    for stage in NUMBERS:
        for number in stage:
            kernel, bias = weights[f"features.{number}.weight"], weights[f"features.{number}.bias"]
            x = functional.conv2d(x, kernel, bias, padding=1).clamp(min=0)
        x = x.unflatten(2, (-1, 2)).unflatten(4, (-1, 2)).amax((3, 5))
    x = functional.adaptive_avg_pool2d(x, 7).flatten(1)
    for number in (0, 3):
        kernel, bias = weights[f"classifier.{number}.weight"], weights[f"classifier.{number}.bias"]
        x = (x @ kernel.T + bias).clamp(min=0)
    return x, x @ weights["classifier.6.weight"].T + weights["classifier.6.bias"]


def assert_near(output, expected):
    assert (output - expected).abs().max() <= 1e-4 * expected.abs().max()


def test_output_equals_the_definition(make_small, randomize):
    network = randomize(make_small(dropout=0.5))
    for layer in network.classifier[::3]:
        torch.nn.init.kaiming_normal_(
            layer.weight
        )  # small weights would be dominated by the biases
    # The last map has 2 × 3 positions, which are averaged to 7 × 7.
    x = images = torch.randn(2, 3, 64, 96)
    with torch.no_grad():
        features, scores = compute(network.state_dict(), images)
        for _, step in network.steps():
            x = step(x)
        assert_near(network.pool_features(x), features)
        assert_near(network(images), scores)


@pytest.mark.slow
def test_output_equals_torchvision():
    try:
        import torchvision
    except Exception as error:  # noqa: BLE001 (its compiled part may not fit torch)
        pytest.skip(f"torchvision cannot be imported here: {error}")
    torch.manual_seed(0)
    theirs = torchvision.models.vgg16(num_classes=10).eval()
    ours = VGG16(num_classes=10).eval()
    ours.load_state_dict(theirs.state_dict())
    images = torch.randn(2, 3, 96, 64)
    with torch.no_grad():
        torch.testing.assert_close(ours(images), theirs(images), rtol=1e-4, atol=1e-4)


def test_steps_do_not_change_their_inputs(make_small):
    network, x = make_small().eval(), torch.randn(1, 3, 32, 32)
    seen = []
    for _, step in network.steps():
        seen.append((x, x.clone()))
        x = step(x)
    assert all(torch.equal(now, then) for now, then in seen)


def test_without_classes_the_output_is_features(make_small):
    network = make_small(num_classes=0)
    assert network.last_layer is None
    assert network(torch.randn(2, 3, 32, 32)).shape == (2, HIDDEN)


def test_last_layer_has_the_declared_name(make_small):
    network = make_small()
    assert network.last_layer is network.get_submodule(network.last_layer_name)


def test_flow(make_small):
    network = make_small(in_channels=10)
    assert network(torch.randn(1, 10, 32, 32)).shape == (1, 5)
    rgb = make_small(1)
    load_weights(
        network, rgb.state_dict(), skip=(f"{network.last_layer_name}.",), inflate_channels=True
    )
    expected = rgb.features[0].weight.mean(1)
    torch.testing.assert_close(network.features[0].weight[:, 7], expected)


def test_dropout_follows_both_hidden_layers(make_small):
    network = make_small(dropout=0.5).train()
    x = torch.rand(8, 512, 7, 7)
    for part, given in ((network.pool_features, x), (network.classify, torch.rand(8, HIDDEN))):
        network.dropout.p = 0.5
        assert not torch.equal(part(given), part(given))
        network.dropout.p = 0.0
        assert torch.equal(part(given), part(given))


def test_initialization(make_small):
    network = make_small()
    assert network.features[28].weight.std().item() == pytest.approx((2 / 4608) ** 0.5, rel=0.02)
    assert network.classifier[0].weight.std().item() == pytest.approx(0.01, rel=0.02)
    assert not network.features[0].bias.any() and not network.classifier[3].bias.any()


def test_cadene_names_are_converted(make_small):
    weights, network = make_small().state_dict(), make_small(1)
    theirs = {
        "features": "_features",
        "classifier.0": "linear0",
        "classifier.3": "linear1",
        "classifier.6": "last_linear",
    }
    renamed = {
        next(new + name.removeprefix(old) for old, new in theirs.items() if name.startswith(old)): t
        for name, t in weights.items()
    }
    assert "_features.28.bias" in renamed and "last_linear.weight" in renamed
    load_weights(network, convert_weights(network, renamed))
    assert all(torch.equal(network.state_dict()[name], t) for name, t in weights.items())


def test_known_names_stay_and_unknown_names_are_reported(make_small):
    network = make_small()
    weights = dict(network.state_dict())
    assert convert_weights(network, weights) == weights
    with pytest.raises(WeightsError, match=r"unexpected: fc9\.weight"):
        load_weights(network, convert_weights(network, {**weights, "fc9.weight": torch.zeros(1)}))


def test_two_names_for_one_weight_are_refused(make_small):
    network = make_small()
    weights = {**network.state_dict(), "linear1.bias": torch.zeros(HIDDEN)}
    with pytest.raises(WeightsError, match=r"two tensors .* named classifier\.3\.bias"):
        convert_weights(network, weights)


def test_log_mel_patches_are_images_of_one_channel(make_small):
    network = make_small(in_channels=1).eval()
    convention = VGG16.audio_input
    patches = torch.randn(3, 1, convention.size, 64)
    assert torch.equal(normalize(patches, convention), patches)
    with torch.no_grad():
        features = network.embed(patches)
        assert features.shape == (3, HIDDEN)
        assert torch.equal(network.classify(features), network(patches))
    assert make_small(in_channels=1, num_classes=0).embed(patches).shape == (3, HIDDEN)

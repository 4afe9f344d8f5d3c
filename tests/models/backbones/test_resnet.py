"""ResNets: parameter counts and keys of the public weights, and torchvision's output."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from models.backbones.backbone import FLOW_INPUT, RGB_INPUT, normalize
from models.backbones.resnet import BOTTLENECKS_FROM, DEPTHS, ResNet
from models.networks.two_stream import count_parameters

COUNTS = {18: 11_689_512, 34: 21_797_672, 50: 25_557_032, 101: 44_549_160, 152: 60_192_808}
LAST = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")


@pytest.mark.parametrize(("depth", "count"), COUNTS.items())
def test_counts(depth, count):
    with torch.device("meta"):
        assert count_parameters(ResNet(depth)) == count


def test_counts_of_trunks():
    with torch.device("meta"):
        assert count_parameters(ResNet(50, num_classes=0)) == 23_508_032
        assert count_parameters(ResNet(50, num_classes=0, in_channels=10)) == 23_529_984


@pytest.mark.parametrize("depth", DEPTHS)
def test_keys_are_those_of_public_weight_files(depth):
    convolutions = 3 if depth >= BOTTLENECKS_FROM else 2
    keys = {"conv1.weight", "fc.weight", "fc.bias", *(f"bn1.{end}" for end in LAST)}
    for stage, blocks in enumerate(DEPTHS[depth], 1):
        for block in range(blocks):
            prefix = f"layer{stage}.{block}"
            for i in range(1, convolutions + 1):
                keys |= {f"{prefix}.conv{i}.weight", *(f"{prefix}.bn{i}.{end}" for end in LAST)}
            # ResNet-18 and 34 keep the channels of the stem in their first stage.
            if block == 0 and (stage > 1 or depth >= BOTTLENECKS_FROM):
                keys |= {f"{prefix}.downsample.0.weight"}
                keys |= {f"{prefix}.downsample.1.{end}" for end in LAST}
    with torch.device("meta"):
        assert set(ResNet(depth).state_dict()) == keys


def compute(weights, depth, x):
    """Compute scores by the layers' definitions from the tensors of a weight file alone."""

    def norm(x, name):
        mean, var, scale, shift = (
            weights[f"{name}.{end}"] for end in ("running_mean", "running_var", "weight", "bias")
        )
        return functional.batch_norm(x, mean, var, scale, shift)

    def convolve(x, layer, bn, stride=1):
        kernel = weights[f"{layer}.weight"]
        return norm(functional.conv2d(x, kernel, None, stride, kernel.shape[-1] // 2), bn)

    x = convolve(x, "conv1", "bn1", 2).relu()
    x = functional.max_pool2d(x, 3, 2, 1)
    count = 3 if depth >= BOTTLENECKS_FROM else 2
    for stage, blocks in enumerate(DEPTHS[depth], 1):
        for block in range(blocks):
            prefix = f"layer{stage}.{block}"
            stride = 2 if stage > 1 and block == 0 else 1
            out = x
            for i in range(1, count + 1):
                # v1.5: the 3×3 convolution has the stride; in basic blocks, the first one.
                block_stride = stride if i == count - 1 else 1
                out = convolve(
                    out.relu() if i > 1 else out,
                    f"{prefix}.conv{i}",
                    f"{prefix}.bn{i}",
                    block_stride,
                )
            if f"{prefix}.downsample.0.weight" in weights:
                x = convolve(x, f"{prefix}.downsample.0", f"{prefix}.downsample.1", stride)
            x = (x + out).relu()
    return functional.linear(x.mean((2, 3)), weights["fc.weight"], weights["fc.bias"])


@pytest.mark.parametrize("depth", DEPTHS)
def test_output_equals_the_definition(depth):
    """The same as the next test, for machines without torchvision."""
    torch.manual_seed(0)
    network = ResNet(depth, width=4, num_classes=5).eval()
    for name, tensor in network.state_dict().items():
        if name.endswith(("running_mean", "bias")):
            torch.nn.init.normal_(tensor, std=0.1)
        elif name.endswith("running_var"):
            torch.nn.init.uniform_(tensor, 0.5, 2)
    images = torch.randn(2, 3, 70, 41)
    with torch.no_grad():
        scores, expected = network(images), compute(network.state_dict(), depth, images)
    assert (scores - expected).abs().max() <= 1e-5 * expected.abs().max()


@pytest.mark.parametrize("depth", [18, 50])
def test_output_equals_torchvision(depth):
    try:
        import torchvision
    except Exception as error:  # noqa: BLE001 (its compiled part may not fit torch)
        pytest.skip(f"torchvision cannot be imported here: {error}")
    torch.manual_seed(0)
    theirs = getattr(torchvision.models, f"resnet{depth}")().eval()
    ours = ResNet(depth).eval()
    ours.load_state_dict(theirs.state_dict())
    images = torch.randn(2, 3, 96, 64)
    with torch.no_grad():
        torch.testing.assert_close(ours(images), theirs(images), rtol=1e-5, atol=1e-5)


def test_running_all_steps_equals_the_network():
    network = ResNet(18, width=8, num_classes=5).eval()
    images = torch.randn(2, 3, 40, 32)
    x, shapes = images, {}
    for name, step in network.steps():
        x = step(x)
        shapes[name] = tuple(x.shape[1:])
    assert shapes["stem"] == shapes["res2_1"] == (8, 10, 8)
    assert shapes["res3_1"] == (16, 5, 4)
    assert shapes["res4_1"] == (32, 3, 2)
    assert shapes["res5_1"] == (64, 2, 1)
    assert network.taps == {name: shape[0] for name, shape in shapes.items() if name != "stem"}
    torch.testing.assert_close(network.head(x), network(images), rtol=0, atol=0)
    assert ResNet(50, width=4).taps["res4_0"] == 64


def test_without_classes_the_output_is_pooled_features():
    features = ResNet(18, width=8, num_classes=0)(torch.randn(2, 3, 32, 32))
    assert features.shape == (2, 64)


@pytest.mark.parametrize("depth", [18, 50])
def test_channels_last_changes_nothing(depth):
    torch.manual_seed(0)
    network, images = ResNet(depth, width=8).eval(), torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        plain = network(images)
        network.to(memory_format=torch.channels_last)
        last = network(images.contiguous(memory_format=torch.channels_last))
    # The scores of a new network are in the thousands.
    assert (plain - last).abs().max() <= 1e-5 * plain.abs().max()


def test_dropout_is_active_only_in_training():
    network = ResNet(18, width=8, dropout=0.5).eval()
    torch.manual_seed(0)
    x = torch.rand(4, 64, 2, 2)
    assert torch.equal(network.head(x), network.fc(x.mean((2, 3))))
    network.train()
    assert not torch.equal(network.head(x), network.head(x))
    network.dropout.p = 0.0
    assert torch.equal(network.head(x), network.fc(x.mean((2, 3))))


def test_he_initialization():
    torch.manual_seed(0)
    network = ResNet(34, width=32)
    for module in network.modules():
        if isinstance(module, nn.Conv2d) and module.weight.numel() > 50_000:
            out, _, height, width = module.weight.shape
            expected = (2 / (out * height * width)) ** 0.5
            assert module.weight.std().item() == pytest.approx(expected, rel=0.02)


def test_unknown_depth_is_refused():
    with pytest.raises(ValueError, match="expected a depth of 18, 34, 50, 101, 152, got 49"):
        ResNet(49)


def test_normalization_fits_the_weights():
    white = normalize(torch.ones(1, 3, 1, 1), RGB_INPUT).flatten()
    expected = [
        (1 - m) / s for m, s in zip((0.485, 0.456, 0.406), (0.229, 0.224, 0.225), strict=True)
    ]
    torch.testing.assert_close(white, torch.tensor(expected))
    flow = normalize(torch.tensor([-1.0, 0.0, 1.0]).view(1, 3, 1, 1), FLOW_INPUT).flatten()
    # TSN: (q / 255 − 0.5) / 0.226, so 20 pixels become 0.5 / 0.226.
    torch.testing.assert_close(flow, torch.tensor([-0.5, 0.0, 0.5]) / 0.226)

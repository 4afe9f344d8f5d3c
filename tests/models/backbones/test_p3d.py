"""P3D-199: published counts, sizes in time and space, and the output by definition."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from models.backbones.p3d import BLOCKS, P3D199

SHORT = (2, 2, 3, 2)  # A B | C A | B C A | images


def count_parameters(network):
    return sum(parameter.numel() for parameter in network.parameters())


def make_p3d(**options):
    """Make a small network in eval mode with random BN statistics."""
    torch.manual_seed(0)
    network = P3D199(**{"width": 4, "num_classes": 5, "blocks": SHORT, **options}).eval()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d | nn.BatchNorm3d):
            nn.init.normal_(module.running_mean, std=0.1)
            nn.init.uniform_(module.running_var, 0.5, 2)
            nn.init.normal_(module.bias, std=0.1)
    return network


@pytest.mark.parametrize(
    ("options", "count"),
    [
        ({"num_classes": 400}, 66_492_240),
        ({"num_classes": 400, "in_channels": 2}, 66_489_104),
        ({"num_classes": 101}, 65_879_589),
    ],
)
def test_counts(options, count):
    with torch.device("meta"):
        assert count_parameters(P3D199(**options)) == count


def test_variants_alternate_through_all_stages():
    with torch.device("meta"):
        network = P3D199()
    stages = [network.layer1, network.layer2, network.layer3]
    variants = "".join(block.variant for stage in stages for block in stage)
    assert variants == "ABC" * 15 + "AB"
    assert [len(stage) for stage in (*stages, network.layer4)] == [3, 8, 36, 3]


def test_keys():
    norm = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
    keys = {"conv1_custom.weight", "fc.weight", "fc.bias", *(f"bn1.{end}" for end in norm)}
    for stage, blocks in enumerate(BLOCKS, 1):
        middle = ("2", "3") if stage < 4 else ("_normal",)
        for index in range(blocks):
            block = f"layer{stage}.{index}"
            for i in ("1", *middle, "4"):
                keys |= {f"{block}.conv{i}.weight", *(f"{block}.bn{i}.{end}" for end in norm)}
            if index == 0:
                keys |= {f"{block}.downsample.0.weight"}
                keys |= {f"{block}.downsample.1.{end}" for end in norm}
    with torch.device("meta"):
        assert set(P3D199().state_dict()) == keys


@pytest.mark.parametrize(("frames", "times"), [(16, (8, 4, 2)), (12, (6, 3, 2)), (2, (1, 1, 1))])
def test_sizes_of_each_step(frames, times):
    with torch.device("meta"):
        network, x = P3D199(), torch.empty(1, 3, frames, 160, 160)
        sizes = {}
        for name, step in network.steps():
            x = step(x)
            sizes[name] = tuple(x.shape[1:])
        assert network.head(x).shape == (1, 400)
    first, second, third = times
    expected = {"stem": (64, first, 40, 40)}
    expected |= {f"res2_{index}": (256, first, 40, 40) for index in range(3)}
    expected |= {"pool2": (256, second, 40, 40)}
    expected |= {f"res3_{index}": (512, second, 20, 20) for index in range(8)}
    expected |= {"pool3": (512, third, 20, 20)}
    expected |= {f"res4_{index}": (1024, third, 10, 10) for index in range(36)}
    expected |= {"pool4": (1024, 10, 10)}
    expected |= {f"res5_{index}": (2048, 5, 5) for index in range(3)}
    assert list(sizes.items()) == list(expected.items())
    assert network.taps == {
        name: size[0] for name, size in sizes.items() if name[:4] in ("res2", "res3", "res4")
    }


def halve(x):
    """Take the maximum of each pair of frames; a last frame without a partner stays."""
    return torch.stack([pair.amax(2) for pair in x.split(2, dim=2)], dim=2)


def compute(weights, blocks, x):
    """Compute scores by the layers' definitions from the tensors of a weight file alone.

    All of it in 3-D: what the network computes of images is that of clips of one frame.
    """

    def convolve(x, prefix, number, stride=1):
        kernel = weights[f"{prefix}conv{number}.weight"]
        kernel = kernel if kernel.ndim == 5 else kernel[:, :, None]
        padding = [side // 2 for side in kernel.shape[2:]]
        x = functional.conv3d(x, kernel, None, (1, stride, stride), padding)
        return norm(x, f"{prefix}bn{number.removesuffix('_custom')}")

    def norm(x, name):
        mean, var, scale, shift = (
            weights[f"{name}.{end}"].view(-1, 1, 1, 1)
            for end in ("running_mean", "running_var", "weight", "bias")
        )
        return (x - mean) / (var + 1e-5).sqrt() * scale + shift

    x = halve(convolve(x, "", "1_custom", 2).relu())
    x = functional.pad(x, (1, 1, 1, 1)).unfold(3, 3, 2).unfold(4, 3, 2).amax((-2, -1))
    variants = iter("ABC" * 16)
    for stage, length in enumerate(blocks, 1):
        for number in range(length):
            prefix, stride = f"layer{stage}.{number}.", 2 if stage > 1 and number == 0 else 1
            inner = convolve(x, prefix, "1", stride).relu()
            variant = next(variants) if stage < 4 else "image"
            if variant == "image":
                out = convolve(inner, prefix, "_normal").relu()
            else:
                in_space = convolve(inner, prefix, "2").relu()
                in_time = convolve(inner if variant == "B" else in_space, prefix, "3").relu()
                out = in_time if variant == "A" else in_space + in_time
            out = convolve(out, prefix, "4")
            if number == 0:
                kernel = weights[f"{prefix}downsample.0.weight"]
                x = x[..., ::stride, ::stride]  # a 1×1×1 kernel with a stride skips positions
                x = torch.einsum("oi,bithw->bothw", kernel.flatten(1), x)
                x = norm(x, f"{prefix}downsample.1")
            x = (x + out).relu()
        x = halve(x) if stage < 4 else x
    assert x.shape[2] == 1
    return functional.linear(x.mean((2, 3, 4)), weights["fc.weight"], weights["fc.bias"])


@pytest.mark.parametrize(
    ("frames", "blocks"),
    [(16, SHORT), (12, SHORT), (2, SHORT), (16, BLOCKS)],
)
def test_output_equals_the_definition(frames, blocks):
    network, clips = make_p3d(blocks=blocks), torch.randn(2, 3, frames, 49, 38)
    with torch.no_grad():
        scores, expected = network(clips), compute(network.state_dict(), blocks, clips)
    assert scores.shape == (2, 5)
    assert (scores - expected).abs().max() <= 1e-5 * expected.abs().max()


def test_without_classes_the_output_is_pooled_features():
    network = P3D199(width=2, num_classes=0, in_channels=2, blocks=(1, 1, 1, 1))
    assert network.eval()(torch.randn(2, 2, 16, 32, 32)).shape == (2, 64)


def test_gradients_reach_every_layer():
    network = make_p3d().train()
    network(torch.randn(2, 3, 12, 64, 64)).sum().backward()
    assert [name for name, p in network.named_parameters() if p.grad is None] == []


def test_input_conventions():
    assert (P3D199.rgb_input.frames, P3D199.rgb_input.size) == (16, 160)
    assert P3D199.rgb_input.mean == (0.485, 0.456, 0.406)
    assert (P3D199.flow_input.frames, P3D199.flow_input.size) == (16, 160)
    assert make_p3d().dropout.p == 0.5


@pytest.mark.parametrize("frames", [0, 1, 13, 18, 32])
def test_clips_of_other_lengths_are_refused(frames):
    with pytest.raises(ValueError, match=rf"2, 4, … or 16 frames, got \(1, 3, {frames}, 32, 32\)"):
        make_p3d()(torch.zeros(1, 3, frames, 32, 32))


def test_images_are_refused():
    with pytest.raises(ValueError, match=r"clips \(B, C, T, H, W\) .* got \(3, 16, 32, 32\)"):
        make_p3d()(torch.zeros(3, 16, 32, 32))

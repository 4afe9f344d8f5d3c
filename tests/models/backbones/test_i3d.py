"""I3D-ResNet-50: published counts, sizes in time and space, and the output by definition."""

from functools import partial

import pytest
import torch
from torch import nn
from torch.nn import functional

from models.attention.non_local import NonLocalBlock
from models.backbones.i3d import I3D
from models.backbones.resnet import ResNet

with_attention = partial(NonLocalBlock, dims=3)
# Published lengths of the kernels in time, by stage of the weight files.
LENGTHS = {1: "333", 2: "3131", 3: "313131", 4: "131"}
POSITIONS = ["res3_1", "res3_3", "res4_1", "res4_3", "res4_5"]


def count_parameters(network):
    return sum(parameter.numel() for parameter in network.parameters())


def make_i3d(**options):
    """Make a small network in eval mode in which no layer is the identity."""
    torch.manual_seed(0)
    network = I3D(**{"width": 4, "num_classes": 5, **options}).eval()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm3d):
            nn.init.normal_(module.running_mean, std=0.1)
            nn.init.uniform_(module.running_var, 0.5, 2)
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.1)
    return network


@pytest.mark.parametrize(
    ("options", "count"),
    [
        ({}, 28_043_472),
        ({"in_channels": 2}, 28_027_792),
        ({"non_local": with_attention}, 35_401_936),
        ({"frames": 8}, 28_043_472),
    ],
)
def test_counts(options, count):
    with torch.device("meta"):
        assert count_parameters(I3D(num_classes=400, **options)) == count


def test_keys_are_those_of_the_resnet():
    with torch.device("meta"):
        plain, images = set(I3D().state_dict()), set(ResNet(50).state_dict())
        attending = set(I3D(non_local=with_attention).state_dict())
    assert plain == images
    positions = {key.split(".")[1] for key in attending - plain if key.startswith("non_local.")}
    assert positions == set(POSITIONS)
    assert plain < attending


def test_temporal_kernel_sizes():
    expected = {"conv1.weight": 5}
    for stage, lengths in LENGTHS.items():
        for index, length in enumerate(lengths):
            expected[f"layer{stage}.{index}.conv1.weight"] = int(length)
    for name, tensor in I3D(width=2).state_dict().items():
        if tensor.ndim == 5:
            assert tensor.shape[2] == expected.get(name, 1), name


@pytest.mark.parametrize("frames", [32, 8])
def test_sizes_of_each_step(frames):
    with torch.device("meta"):
        network, x = (
            I3D(frames=frames, non_local=with_attention),
            torch.empty(1, 3, frames, 224, 224),
        )
        sizes = {}
        for name, step in network.steps():
            x = step(x)
            sizes[name] = tuple(x.shape[1:])
        assert network.head(x).shape == (1, 400)
    expected = {"stem": (64, 8, 55, 55)}
    expected |= {f"res2_{index}": (256, 8, 55, 55) for index in range(3)}
    expected |= {"pool2": (256, 4, 55, 55)}
    expected |= {f"res3_{index}": (512, 4, 28, 28) for index in range(4)}
    expected |= {f"res4_{index}": (1024, 4, 14, 14) for index in range(6)}
    expected |= {f"res5_{index}": (2048, 4, 7, 7) for index in range(3)}
    assert list(sizes.items()) == list(expected.items())
    blocks = {name: size[0] for name, size in sizes.items() if name.startswith("res")}
    assert network.taps == blocks


def compute(weights, frames, x):
    """Compute scores by the layers' definitions from the tensors of a weight file alone."""

    def convolve(x, conv, bn, stride=(1, 1, 1)):
        kernel = weights[f"{conv}.weight"]
        x = functional.conv3d(x, kernel, None, stride, [side // 2 for side in kernel.shape[2:]])
        mean, var, scale, shift = (
            weights[f"{bn}.{end}"].view(-1, 1, 1, 1)
            for end in ("running_mean", "running_var", "weight", "bias")
        )
        return (x - mean) / (var + 1e-5).sqrt() * scale + shift

    x = convolve(x, "conv1", "bn1", {32: (2, 2, 2), 8: (1, 2, 2)}[frames]).clamp(min=0)
    if frames == 32:  # pool1 in time
        x = torch.maximum(x[:, :, :-1:2], x[:, :, 1::2])
    x = x.unfold(3, 3, 2).unfold(4, 3, 2).amax((-2, -1))  # and in space, whole windows only
    for stage, lengths in LENGTHS.items():
        for index in range(len(lengths)):
            block = f"layer{stage}.{index}"
            stride = (1, 2, 2) if stage > 1 and index == 0 else (1, 1, 1)
            out = convolve(x, f"{block}.conv1", f"{block}.bn1").clamp(min=0)
            out = convolve(out, f"{block}.conv2", f"{block}.bn2", stride).clamp(min=0)
            out = convolve(out, f"{block}.conv3", f"{block}.bn3")
            if index == 0:
                x = convolve(x, f"{block}.downsample.0", f"{block}.downsample.1", stride)
            x = (x + out).clamp(min=0)
        if stage == 1:
            x = torch.maximum(x[:, :, :-1:2], x[:, :, 1::2])
    return functional.linear(x.mean((2, 3, 4)), weights["fc.weight"], weights["fc.bias"])


@pytest.mark.parametrize(("frames", "length"), [(32, 32), (8, 8), (32, 22)])
def test_output_equals_the_definition(frames, length):
    network, clips = make_i3d(frames=frames), torch.randn(2, 3, length, 61, 40)
    with torch.no_grad():
        scores, expected = network(clips), compute(network.state_dict(), frames, clips)
    assert scores.shape == (2, 5)
    assert (scores - expected).abs().max() <= 1e-5 * expected.abs().max()


def test_new_block_is_its_shortcut():
    """The last BN of each block starts at scale 0, all others at 1."""
    scales = {n: t for n, t in I3D(width=2).named_parameters() if t.ndim == 1 and "weight" in n}
    assert len(scales) == 1 + 16 * 3 + 4
    for name, scale in scales.items():
        assert torch.equal(scale, torch.full_like(scale, 0 if name.endswith("bn3.weight") else 1))


class Mark(nn.Module):
    """A stand-in for a non-local block, which adds 100."""

    def __init__(self, channels):
        super().__init__()
        self.channels = channels

    def forward(self, x):
        return x + 100


def test_non_local_block_follows_its_step():
    network, clips = make_i3d(frames=8, non_local=Mark), torch.randn(1, 3, 2, 32, 32)
    plain = dict(make_i3d(frames=8).steps())
    assert {name: mark.channels for name, mark in network.non_local.items()} == {
        name: network.taps[name] for name in POSITIONS
    }
    x = clips
    with torch.no_grad():
        for name, step in network.steps():
            torch.testing.assert_close(step(x), plain[name](x) + 100 * (name in POSITIONS))
            x = step(x)


def test_new_non_local_blocks_change_nothing():
    clips = torch.randn(1, 3, 4, 32, 32)
    with torch.no_grad():
        plain = make_i3d(frames=8)(clips)
        attending = make_i3d(frames=8)
        attending.non_local = I3D(width=4, non_local=with_attention).eval().non_local
        assert torch.equal(attending(clips), plain)
        for block in attending.non_local.values():
            nn.init.ones_(block.norm.weight)
        assert not torch.equal(attending(clips), plain)


def test_without_classes_the_output_is_pooled_features():
    features = I3D(width=2, num_classes=0, in_channels=2, frames=8)(torch.randn(2, 2, 2, 32, 32))
    assert features.shape == (2, 64)


def test_gradients_reach_every_layer():
    network = make_i3d(frames=8, non_local=with_attention).train()
    network(torch.randn(2, 3, 4, 48, 48)).sum().backward()
    without_gradient = [name for name, p in network.named_parameters() if p.grad is None]
    assert without_gradient == []


def test_input_conventions():
    assert (I3D.rgb_input.frames, I3D.rgb_input.size, I3D.rgb_input.order) == (32, 224, "RGB")
    assert I3D.rgb_input.mean == (0.485, 0.456, 0.406)
    assert (I3D.flow_input.frames, I3D.flow_input.size) == (32, 224)
    assert I3D(width=2).dropout.p == 0.5


@pytest.mark.parametrize(
    ("frames", "shape", "message"),
    [
        (32, (1, 3, 7, 32, 32), r"of 8 frames or more, got \(1, 3, 7, 32, 32\): sample longer"),
        (8, (1, 3, 1, 32, 32), r"of 2 frames or more, got \(1, 3, 1, 32, 32\)"),
        (8, (3, 8, 32, 32), r"expected clips \(B, C, T, H, W\) .*, got \(3, 8, 32, 32\)"),
    ],
)
def test_wrong_clips_are_refused(frames, shape, message):
    with pytest.raises(ValueError, match=message):
        I3D(width=2, frames=frames)(torch.zeros(shape))


def test_minimum_number_of_frames_is_accepted():
    for frames, fewest in ((32, 8), (8, 2)):
        clip = torch.zeros(1, 3, fewest, 32, 32)
        assert I3D(width=2, frames=frames).eval()(clip).shape == (1, 400)


def test_unknown_stem_is_refused():
    with pytest.raises(ValueError, match="expected the stem for 32 or 8 frames, got 16"):
        I3D(frames=16)

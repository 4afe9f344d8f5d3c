"""I3D on Inception-v1: counts, names and sizes of the public files, padding, and public outputs."""

import runpy
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from models.backbones.backbone import name_first_convolution, trace_shapes
from models.backbones.i3d_inception import (
    MIN_FRAMES,
    MIN_SIDE,
    InceptionI3D,
    LastLayer,
)
from models.weights.pretrained import WeightsError, load_weights
from models.weights.weight_files import convert_weights

GOLDEN = Path(__file__).with_name("golden")
SMALLEST = (MIN_FRAMES, MIN_SIDE, MIN_SIDE)
# Channels of the blocks by Szegedy et al. 2015, Table 1: 1×1; 3×3 reduce, 3×3; 5×5 reduce, 5×5;
# projection of the pool.
TABLE = {
    "Mixed_3b": (64, 96, 128, 16, 32, 32),
    "Mixed_3c": (128, 128, 192, 32, 96, 64),
    "Mixed_4b": (192, 96, 208, 16, 48, 64),
    "Mixed_4c": (160, 112, 224, 24, 64, 64),
    "Mixed_4d": (128, 128, 256, 24, 64, 64),
    "Mixed_4e": (112, 144, 288, 32, 64, 64),
    "Mixed_4f": (256, 160, 320, 32, 128, 128),
    "Mixed_5b": (256, 160, 320, 32, 128, 128),
    "Mixed_5c": (384, 192, 384, 48, 128, 128),
}


def list_kernels(in_channels, classes):
    """List all convolutions of the table: name, output channels, input channels, side."""
    kernels = [
        ("Conv3d_1a_7x7", 64, in_channels, 7),
        ("Conv3d_2b_1x1", 64, 64, 1),
        ("Conv3d_2c_3x3", 192, 64, 3),
    ]
    channels = 192
    for block, (b0, b1a, b1b, b2a, b2b, b3b) in TABLE.items():
        kernels += [
            (f"{block}.b0", b0, channels, 1),
            (f"{block}.b1a", b1a, channels, 1),
            (f"{block}.b1b", b1b, b1a, 3),
            (f"{block}.b2a", b2a, channels, 1),
            (f"{block}.b2b", b2b, b2a, 3),
            (f"{block}.b3b", b3b, channels, 1),
        ]
        channels = b0 + b1b + b2b + b3b
    return [*kernels, ("logits", classes, channels, 1)]


@pytest.fixture(scope="module")
def golden():
    return runpy.run_path(str(GOLDEN / "make_i3d_inception.py"))


@pytest.mark.parametrize(
    ("in_channels", "classes", "count"),
    [(3, 400, 12_697_264), (2, 400, 12_675_312), (3, 157, 12_448_189), (2, 157, 12_426_237)],
)
def test_counts_and_shapes_are_those_of_the_table(in_channels, classes, count):
    expected, total = {}, 0
    for name, outputs, inputs, side in list_kernels(in_channels, classes):
        expected[f"{name}.conv3d.weight"] = (outputs, inputs, side, side, side)
        total += outputs * inputs * side**3
        if name == "logits":
            expected["logits.conv3d.bias"] = (outputs,)
            total += outputs
        else:
            for end in ("weight", "bias", "running_mean", "running_var"):
                expected[f"{name}.bn.{end}"] = (outputs,)
            total += 2 * outputs
    with torch.device("meta"):
        network = InceptionI3D(in_channels=in_channels, num_classes=classes)
    state = network.state_dict()
    shapes = {n: tuple(t.shape) for n, t in state.items() if "num_batches_tracked" not in n}
    assert shapes == expected
    assert sum(parameter.numel() for parameter in network.parameters()) == total == count
    assert name_first_convolution(network) == "Conv3d_1a_7x7.conv3d.weight"


@pytest.mark.parametrize(
    ("clip", "times", "sides"),
    [
        ((64, 224), (32, 16, 8), (112, 56, 28, 14, 7)),
        ((16, 224), (8, 4, 2), (112, 56, 28, 14, 7)),
        ((9, 193), (5, 3, 2), (97, 49, 25, 13, 7)),
        ((17, 256), (9, 5, 3), (128, 64, 32, 16, 8)),
    ],
)
def test_sizes_of_each_step(clip, times, sides):
    with torch.device("meta"):
        network = InceptionI3D()
    frames, side = clip
    steps = trace_shapes(network, (3, frames, side, side))
    sizes = {
        "Conv3d_1a_7x7": (64, times[0], sides[0]),
        "MaxPool3d_2a_3x3": (64, times[0], sides[1]),
        "Conv3d_2b_1x1": (64, times[0], sides[1]),
        "Conv3d_2c_3x3": (192, times[0], sides[1]),
        "MaxPool3d_3a_3x3": (192, times[0], sides[2]),
        "Mixed_3b": (256, times[0], sides[2]),
        "Mixed_3c": (480, times[0], sides[2]),
        "MaxPool3d_4a_3x3": (480, times[1], sides[3]),
        "Mixed_4b": (512, times[1], sides[3]),
        "Mixed_4c": (512, times[1], sides[3]),
        "Mixed_4d": (512, times[1], sides[3]),
        "Mixed_4e": (528, times[1], sides[3]),
        "Mixed_4f": (832, times[1], sides[3]),
        "MaxPool3d_5a_2x2": (832, times[2], sides[4]),
        "Mixed_5b": (832, times[2], sides[4]),
        "Mixed_5c": (1024, times[2], sides[4]),
    }
    expected = {name: (c, t, s, s) for name, (c, t, s) in sizes.items()}
    assert list(steps.items()) == list(expected.items())
    assert network.taps == {n: s[0] for n, s in steps.items() if n.startswith("Mixed")}
    assert network.num_features == 1024


@pytest.mark.parametrize("stream", ["rgb", "flow"])
def test_outputs_equal_those_of_the_public_implementation(golden, stream):
    """golden/make_i3d_inception.py computes them, and says how to run it."""
    clip, expected = golden["draw_clip"](stream), np.load(GOLDEN / "i3d_inception.npz")
    network = InceptionI3D(in_channels=clip.shape[1]).eval()
    load_weights(network, golden["draw_weights"](network.state_dict()))
    with torch.no_grad():
        features = network.embed(clip)
        logits = network.classify(features)
    for name, values in (("features", features), ("logits", logits)):
        public = expected[f"{stream}_{name}"]
        assert public.std() > 1
        np.testing.assert_allclose(values[0].numpy(), public, rtol=0, atol=1e-4)


def test_last_layer_is_the_1x1x1_convolution():
    torch.manual_seed(0)
    layer, features = LastLayer(6, 4), torch.randn(3, 6)
    torch.testing.assert_close(layer(features), layer.conv3d(features[:, :, None, None, None])[
        :, :, 0, 0, 0
    ])  # fmt: skip


def test_features_are_means_of_windows_of_the_last_map():
    network, x = InceptionI3D(width=2, num_classes=0), torch.randn(2, 4, 3, 8, 7)
    windows = [x[:, :, t : t + 2, y : y + 7].mean((2, 3, 4)) for t in range(2) for y in range(2)]
    torch.testing.assert_close(network.pool_features(x), torch.stack(windows).mean(0))
    assert not torch.allclose(network.pool_features(x), x.mean((2, 3, 4)), atol=1e-3)


def test_batch_norm_is_that_of_the_public_files():
    with torch.device("meta"):
        layers = [m for m in InceptionI3D().modules() if isinstance(m, nn.BatchNorm3d)]
    assert len(layers) == 3 + 9 * 6
    assert {(layer.eps, layer.momentum) for layer in layers} == {(1e-3, 0.01)}


def test_input_conventions():
    rgb, flow = InceptionI3D.rgb_input, InceptionI3D.flow_input
    assert (rgb.mean, rgb.std, rgb.order) == ((0.5,) * 3, (0.5,) * 3, "RGB")
    assert (flow.mean, flow.std, flow.order) == ((0.0,), (1.0,), "xy")
    assert (rgb.size, rgb.frames, flow.size, flow.frames) == (224, 64, 224, 64)


@pytest.mark.parametrize(("width", "features"), [(64, 1024), (4, 64), (2, 32)])
def test_thin_networks(width, features):
    with torch.device("meta"):
        network = InceptionI3D(width=width, num_classes=0, in_channels=2)
        assert network(torch.empty(1, 2, *SMALLEST)).shape == (1, features)
    assert network.num_features == features
    assert network.last_layer is None
    assert not any(name.startswith("logits") for name in network.state_dict())


def test_gradients_reach_every_layer():
    torch.manual_seed(0)
    network = InceptionI3D(width=4, num_classes=3).train()
    network(torch.randn(1, 3, *SMALLEST)).sum().backward()
    assert [name for name, p in network.named_parameters() if p.grad is None] == []


@pytest.mark.parametrize(
    "shape",
    [(1, 3, 8, 224, 224), (1, 3, 16, 192, 224), (1, 3, 16, 224, 192), (3, 16, 224, 224)],
)
def test_clips_that_are_too_small_are_refused(shape):
    with torch.device("meta"):
        network = InceptionI3D(width=2)
        with pytest.raises(
            ValueError, match=r"of 9 frames or more, with sides of 193 .*, got \("
        ) as e:
            network(torch.empty(shape))
    assert str(shape) in str(e.value)


def rename_as_hassony2(name):
    """Give a tensor its name in the files of hassony2's conversion."""
    parts = name.split(".")
    parts[0] = "conv3d_0c_1x1" if parts[0] == "logits" else parts[0][0].lower() + parts[0][1:]
    towers = {"b0": "branch_0", "b1a": "branch_1.0", "b1b": "branch_1.1", "b2a": "branch_2.0",
              "b2b": "branch_2.1", "b3b": "branch_3.1", "bn": "batch3d"}  # fmt: skip
    return ".".join(towers.get(part, part) for part in parts)


def test_files_by_the_names_of_another_conversion():
    network = InceptionI3D(width=2, num_classes=3)
    renamed = {rename_as_hassony2(name): t for name, t in network.state_dict().items()}
    assert "mixed_5c.branch_3.1.batch3d.running_var" in renamed
    assert not set(renamed) & set(network.state_dict())
    converted = convert_weights(network, renamed)
    assert {n: id(t) for n, t in converted.items()} == {
        name: id(renamed[rename_as_hassony2(name)]) for name in converted
    }
    load_weights(network, converted)
    words = r"two tensors of the file would be named (Conv3d_1a_7x7\S+): \1 and conv3d_1a_7x7"
    with pytest.raises(WeightsError, match=words):
        convert_weights(network, {**network.state_dict(), **renamed})

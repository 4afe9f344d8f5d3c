"""Files with the names and shapes of publishers, taken from their public code."""

import re

import pytest
import torch
from torch import nn
from torch.nn import functional

from models.backbones.backbone import normalize
from models.backbones.bn_inception import BNInception
from models.backbones.i3d import I3D
from models.backbones.inception_resnet import InceptionResNetV2
from models.backbones.p3d import P3D199
from models.backbones.resnet import ResNet
from models.backbones.vgg import VGG16
from models.weights.errors import WeightsError
from models.weights.layouts import CAFFE_CONVOLUTIONS
from models.weights.pretrained import load_weights
from models.weights.weight_files import convert_weights


def vary(network):
    """Make no two layers alike, as if the network were trained."""
    generator = torch.Generator().manual_seed(0)
    for name, tensor in network.state_dict().items():
        if name.endswith("running_var"):
            tensor.uniform_(0.5, 2, generator=generator)
        elif tensor.is_floating_point() and tensor.ndim == 1:
            tensor.normal_(1 if name.endswith("weight") else 0, 0.2, generator=generator)
    return network.eval()


def rename(weights, *rules):
    renamed = {}
    for name, tensor in weights.items():
        for pattern, replacement in rules:
            name = re.sub(pattern, replacement, name)
        renamed[name] = tensor
    assert len(renamed) == len(weights)
    return renamed


def name_caffe_layer(name):
    """Name a tensor of a ResNet as the layers of Caffe are named."""
    name = re.sub(r"^conv1\.", "conv1.", name)
    name = re.sub(r"^bn1\.(running_mean|running_var|num.*)", r"bn_conv1.\1", name)
    name = re.sub(r"^bn1\.", "scale_conv1.", name)
    name = re.sub(r"^fc\.", "fc1000.", name)
    match = re.match(r"layer(\d)\.(\d+)\.(conv|bn|downsample)\.?(\d)\.(.*)", name)
    if match is None:
        return name
    stage, block, kind, number, rest = match.groups()
    letter = "abcdef"[int(block)]
    layer = f"{int(stage) + 1}{letter}_branch"
    if kind == "downsample":
        kind, layer = ("conv", "bn")[int(number)], f"{layer}1"
    else:
        layer += f"2{'abc'[int(number) - 1]}"
    if kind == "bn":
        prefix = "bn" if "running" in rest or "num" in rest else "scale"
        return f"{prefix}{layer}.{rest}"
    return f"res{layer}.{rest}"


MMACTION2 = (
    (r"(^|\.)conv(\d)\.", r"\1conv\2.conv."),
    (r"(^|\.)bn(\d)\.", r"\1conv\2.bn."),
    (r"downsample\.0\.", "downsample.conv."),
    (r"downsample\.1\.", "downsample.bn."),
    (r"^fc\.", "cls_head.fc_cls."),
    (r"^(?!cls_head)", "backbone."),
)
TSN = ((r"^fc\.", "new_fc."), (r"^(?!new_fc)", "base_model."))
RESNET_LAYOUTS = {
    "Cadene": lambda w: rename(w, (r"^fc\.", "last_linear.")),
    "TSN": lambda w: rename(w, *TSN),
    "TSM": lambda w: rename(w, (r"(layer\d\.\d+\.conv1)\.", r"\1.net."), *TSN),
    "TSM by block": lambda w: rename(w, (r"(layer\d\.\d+)\.", r"\1.net."), *TSN),
    "TSN without dropout": lambda w: rename(w, (r"^", "base_model.")),
    "MMAction": lambda w: rename(
        w, (r"^fc\.", "cls_head.fc_cls."), (r"^(?!cls_head)", "backbone.")
    ),
    "MMAction2": lambda w: rename(w, *MMACTION2),
    "MMAction2 TSM": lambda w: rename(
        w, *MMACTION2, (r"(layer\d\.\d+\.conv1\.conv)\.", r"\1.net.")
    ),
    "Caffe": lambda w: {name_caffe_layer(name): tensor for name, tensor in w.items()},
}  # fmt: skip


@pytest.mark.parametrize("layout", RESNET_LAYOUTS)
@pytest.mark.parametrize("channels", [3, 10])
def test_resnets(layout, channels):
    network = vary(ResNet(50, width=4, num_classes=5, in_channels=channels))
    file = RESNET_LAYOUTS[layout](network.state_dict())
    if layout != "Caffe":
        assert set(file) != set(network.state_dict())
    other = ResNet(50, width=4, num_classes=5, in_channels=channels).eval()
    load_weights(other, convert_weights(other, file))
    x = torch.randn(1, channels, 40, 40)
    assert torch.equal(network(x), other(x))


def test_blocks_of_deep_networks_of_caffe():
    """ResNet-101 and deeper: res4a, res4b1 … res4b22."""
    network = ResNet(101, width=4, num_classes=2)
    file = {"res4b22_branch2c.weight": torch.zeros(1), "bn4b1_branch2a.running_mean": torch.ones(1)}
    names = set(convert_weights(network, file))
    assert names == {"layer3.22.conv3.weight", "layer3.1.bn1.running_mean"}
    assert names <= set(network.state_dict())


def test_clips_of_mmaction2():
    network = vary(I3D(width=4, num_classes=5))
    other = I3D(width=4, num_classes=5).eval()
    load_weights(other, convert_weights(other, rename(network.state_dict(), *MMACTION2)))
    x = torch.randn(1, 3, 8, 40, 40)
    assert torch.equal(network(x), other(x))


def name_as_timm(weights):
    """In timm, fc6 and fc7 are convolutions."""
    renamed = rename(
        weights, (r"classifier\.0", "pre_logits.fc1"), (r"classifier\.3", "pre_logits.fc2"),
        (r"classifier\.6", "head.fc"),
    )  # fmt: skip
    first, second = renamed["pre_logits.fc1.weight"], renamed["pre_logits.fc2.weight"]
    renamed["pre_logits.fc1.weight"] = first.unflatten(1, (-1, 7, 7))
    renamed["pre_logits.fc2.weight"] = second[:, :, None, None]
    return renamed


VGG_LAYOUTS = {
    "Cadene": lambda w: rename(
        w, (r"^features", "_features"), (r"classifier\.0", "linear0"),
        (r"classifier\.3", "linear1"), (r"classifier\.6", "last_linear"),
    ),
    "on several GPUs": lambda w: rename(w, (r"^features", "features.module")),
    "Caffe": lambda w: rename(
        w, *((rf"^features\.{i}\.", f"{name}.") for name, i in CAFFE_CONVOLUTIONS.items()),
        (r"classifier\.0", "fc6"), (r"classifier\.3", "fc7"), (r"classifier\.6", "fc8"),
    ),
    "timm": name_as_timm,
}  # fmt: skip


@pytest.mark.parametrize("layout", VGG_LAYOUTS)
def test_vgg16(layout):
    network, other = (VGG16(width=2, num_classes=5).eval() for _ in range(2))
    load_weights(other, convert_weights(other, VGG_LAYOUTS[layout](network.state_dict())))
    x = torch.randn(1, 3, 64, 64)
    assert torch.equal(network(x), other(x))


def split_caffe_names(weights):
    """Name the layers as the Caffe network of TSN does, with vectors of four dimensions."""
    renamed = rename(
        weights, (r"^(conv\d|inception_\d[a-e])_", r"\1/"), (r"^last_linear", "fc-action")
    )
    return {
        name: t[None, :, None, None] if t.ndim == 1 and "fc-" not in name else t
        for name, t in renamed.items() if "num_batches" not in name
    }  # fmt: skip


BN_INCEPTION_LAYOUTS = {
    "TSM": lambda w: rename(w, (r"^last_linear", "new_fc"), (r"^(?!new_fc)", "base_model.")),
    "MMAction": lambda w: rename(
        w, (r"^last_linear", "cls_head.fc_cls"), (r"^(?!cls_head)", "backbone.")
    ),
    "Caffe": split_caffe_names,
    "caffe2pytorch-tsn": lambda w: rename(
        w, (r"^last_linear", "22.base_model.fc-action.1"), (r"^(?!22)", "3.1.base_model.")
    ),
    "caffe_pytorch with _": lambda w: rename(w, (r"^last_linear", "fc_action")),
}


@pytest.mark.parametrize("layout", BN_INCEPTION_LAYOUTS)
@pytest.mark.parametrize("channels", [3, 10])
def test_bn_inception(layout, channels):
    network = vary(BNInception(width=1 / 16, num_classes=5, in_channels=channels))
    other = BNInception(width=1 / 16, num_classes=5, in_channels=channels).eval()
    file = BN_INCEPTION_LAYOUTS[layout](network.state_dict())
    load_weights(other, convert_weights(other, file))
    x = torch.randn(1, channels, 64, 64)
    assert torch.equal(network(x), other(x))


def test_bn_inception_sees_bytes_in_the_order_of_caffe():
    """The public kernel reads B, G, R from 0 to 255 without the mean 104, 117, 128."""
    kernel, bias = torch.randn(4, 3, 7, 7), torch.randn(4)
    network = BNInception(num_classes=2, width=1 / 16).eval()
    file = {**network.state_dict(), "conv1_7x7_s2.weight": kernel, "conv1_7x7_s2.bias": bias}
    load_weights(network, convert_weights(network, rename(file, (r"^last_linear", "fc"))))
    rgb_bytes = torch.randint(0, 256, (2, 3, 32, 32)).float()
    bgr = torch.stack([rgb_bytes[:, 2] - 104, rgb_bytes[:, 1] - 117, rgb_bytes[:, 0] - 128], dim=1)
    expected = functional.conv2d(bgr, kernel, bias, stride=2, padding=3)
    own = network.conv1_7x7_s2(normalize(rgb_bytes / 255, BNInception.rgb_input))
    torch.testing.assert_close(own, expected, rtol=1e-3, atol=1e-2)


class PortedBlock(nn.Module):
    """The block of qijiezhao's P3D, written after the description of its layers."""

    def __init__(self, channels, inner, index, stride, is_image):
        super().__init__()
        conv, norm = (nn.Conv2d, nn.BatchNorm2d) if is_image else (nn.Conv3d, nn.BatchNorm3d)
        step = stride if is_image else (1, stride, stride)
        self.kind = "image" if is_image else "ABC"[index % 3]
        self.conv1, self.bn1 = conv(channels, inner, 1, step, bias=False), norm(inner)
        if is_image:
            self.conv_normal = conv(inner, inner, 3, padding=1, bias=False)
            self.bn_normal = norm(inner)
        else:
            self.conv2 = conv(inner, inner, (1, 3, 3), padding=(0, 1, 1), bias=False)
            self.bn2 = norm(inner)
            self.conv3 = conv(inner, inner, (3, 1, 1), padding=(1, 0, 0), bias=False)
            self.bn3 = norm(inner)
        self.conv4, self.bn4 = conv(inner, 4 * inner, 1, bias=False), norm(4 * inner)
        needs_projection = channels != 4 * inner or stride != 1
        self.downsample = nn.Sequential(
            conv(channels, 4 * inner, 1, step, bias=False), norm(4 * inner)
        ) if needs_projection else None  # fmt: skip

    def forward(self, x):
        out = functional.relu(self.bn1(self.conv1(x)))
        if self.kind == "image":
            out = functional.relu(self.bn_normal(self.conv_normal(out)))
        else:
            spatial = functional.relu(self.bn2(self.conv2(out)))
            source = out if self.kind == "B" else spatial
            temporal = functional.relu(self.bn3(self.conv3(source)))
            out = temporal if self.kind == "A" else spatial + temporal
        shortcut = x if self.downsample is None else self.downsample(x)
        return functional.relu(self.bn4(self.conv4(out)) + shortcut)


class PortedP3D(nn.Module):
    """P3D with the names of qijiezhao's state dict."""

    def __init__(self, channels, width, blocks, classes):
        super().__init__()
        self.conv1_custom = nn.Conv3d(
            channels, width, (1, 7, 7), (1, 2, 2), padding=(0, 3, 3), bias=False
        )
        self.bn1 = nn.BatchNorm3d(width)
        index, inputs = 0, width
        for stage, count in enumerate(blocks):
            layers = []
            for block in range(count):
                stride = 2 if stage and not block else 1
                inner = width << stage
                layers.append(PortedBlock(inputs, inner, index, stride, stage == 3))
                index, inputs = index + 1, 4 * inner
            setattr(self, f"layer{stage + 1}", nn.Sequential(*layers))
        self.fc = nn.Linear(inputs, classes)

    def forward(self, x):
        x = functional.relu(self.bn1(self.conv1_custom(x)))
        x = functional.max_pool3d(x, (2, 3, 3), 2, (0, 1, 1))
        for stage in (1, 2, 3):
            x = functional.max_pool3d(getattr(self, f"layer{stage}")(x), (2, 1, 1), (2, 1, 1))
        x = self.layer4(x[:, :, 0])
        return self.fc(x.mean((2, 3)))


@pytest.mark.parametrize("channels", [3, 2])
def test_p3d_of_its_port(channels):
    torch.manual_seed(0)
    blocks = (3, 1, 4, 2)
    ported = vary(PortedP3D(channels, 4, blocks, 5))
    network = P3D199(in_channels=channels, width=4, blocks=blocks, num_classes=5).eval()
    load_weights(network, convert_weights(network, ported.state_dict()))
    x = torch.randn(1, channels, 16, 64, 64)
    torch.testing.assert_close(network(x), ported(x), rtol=1e-4, atol=1e-4)


def test_inception_resnet_of_tsn():
    with torch.device("meta"):
        network = InceptionResNetV2(num_classes=5)
    file = rename(
        network.state_dict(), (r"^last_linear", "new_fc"), (r"^(?!new_fc)", "base_model.")
    )
    assert set(convert_weights(network, file)) == set(network.state_dict())


def test_two_last_layers_are_refused():
    network = ResNet(18, width=4, num_classes=5)
    file = {**network.state_dict(), "new_fc.weight": torch.zeros(5, 32)}
    with pytest.raises(WeightsError, match=r"two tensors .* named fc\.weight"):
        convert_weights(network, file)


def test_unchanged_weights_are_returned_themselves():
    network = ResNet(18, width=4, num_classes=5)
    weights = network.state_dict()
    assert convert_weights(network, weights) is weights

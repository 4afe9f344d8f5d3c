"""Weight files of I3D: the public ones are read, those of another stream or network are refused."""

from dataclasses import replace

import pytest
import torch

from flowkit.errors import UsageError
from models.backbones.bn_inception import BNInception
from models.backbones.i3d import I3D
from models.backbones.i3d_inception import InceptionI3D
from models.backbones.resnet import ResNet
from models.weights.weight_files import PREFIXES
from train.features.network import NetworkOptions, check_sizes
from train.features.network_loading import load_feature_network


def order_as_in_public_files(state):
    """Put the last layer first, and leave out the counters, which are younger than the files."""
    ordered = sorted(state, key=lambda name: not name.startswith("logits."))
    return {name: state[name] for name in ordered if not name.endswith("num_batches_tracked")}


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Paths of weight files by name. The thin networks are recognized by names and dimensions."""
    folder = tmp_path_factory.mktemp("weights")
    torch.manual_seed(0)
    states = {
        "rgb_imagenet.pt": order_as_in_public_files(InceptionI3D(num_classes=400).state_dict()),
        # As fine-tuned on Charades, with its 157 classes.
        "flow_charades.pt": order_as_in_public_files(
            InceptionI3D(in_channels=2, num_classes=157).state_dict()
        ),
        "resnet50.pth": ResNet(50, width=2).state_dict(),
        "i3d_resnet50.pth": I3D(width=2).state_dict(),
        "bn_inception.pth": BNInception(width=0.05).state_dict(),
        "branches.pt": {"rgb.conv1.weight": torch.ones(1), "flow.conv1.weight": torch.ones(1)},
        "empty.pth": {},
    }
    for name, state in states.items():
        torch.save(state, folder / name)
    (folder / "text.pth").write_text("no weights")
    return {name: str(folder / name) for name in (*states, "text.pth")}


@pytest.mark.parametrize(
    ("file", "backbone", "stream", "requested"),
    [
        ("rgb_imagenet.pt", "i3d", "rgb", None),
        ("rgb_imagenet.pt", "i3d_inception", "rgb", "rgb"),
        ("flow_charades.pt", "i3d", "flow", "flow"),
    ],
)
def test_public_files_are_read(files, file, backbone, stream, requested):
    network = load_feature_network(
        NetworkOptions(model=files[file], backbone=backbone, stream=requested)
    )
    recipe = network.recipe
    assert (recipe.source, recipe.model, recipe.dimension) == (stream, "i3d_inception", 1024)
    assert (recipe.size, recipe.clip_length, recipe.clip_stride) == (224, 64, 1)
    assert (network.is_3d, network.backbone.training) == (True, False)
    assert network.backbone.last_layer is None
    weights, state = torch.load(files[file], weights_only=True), network.backbone.state_dict()
    assert {n for n in state if "num_batches" not in n} == {n for n in weights if "logits" not in n}
    assert all(torch.equal(state[n], t) for n, t in weights.items() if "logits" not in n)


def test_files_of_another_conversion_are_the_same_network(files, tmp_path):
    original = NetworkOptions(model=files["rgb_imagenet.pt"], backbone="i3d", stream="rgb")
    names = {new: old for old, new in PREFIXES[InceptionI3D].items()}
    renamed = {}
    for name, tensor in torch.load(original.model, weights_only=True).items():
        prefix = next(prefix for prefix in names if name.startswith(prefix))
        rest = name.removeprefix(prefix).replace("bn.", "batch3d.")
        renamed[names[prefix] + rest] = tensor
    torch.save(renamed, tmp_path / "i3d_rgb.pt")
    same = replace(original, model=str(tmp_path / "i3d_rgb.pt"))
    assert load_feature_network(same).recipe == load_feature_network(original).recipe


FIRST = r"Conv3d_1a_7x7\.conv3d\.weight"


@pytest.mark.parametrize(
    ("file", "backbone", "stream", "message"),
    [
        ("flow_charades.pt", "i3d", "rgb",
         rf"a network of flow \(2 channels\), but is given for rgb .*: expected 3 input "
         rf"channels, and {FIRST} has the shape \(64, 2, 7, 7, 7\)\. Give a weight file of rgb"),
        ("rgb_imagenet.pt", "i3d_inception", "flow",
         rf"a network of rgb \(3 channels\), but is given for flow .*: expected 2 input "
         rf"channels, and {FIRST} has the shape \(64, 3, 7, 7, 7\)\. Give a weight file of flow"),
        ("resnet50.pth", "i3d", "rgb",
         rf"another network than i3d: expected .* conv1\.weight \(64, C, 5, 7, 7\), or {FIRST} of "
         r"i3d_inception, where C is 3 for RGB and 2 for flow; got conv1\.weight \(2, 3, 7, 7\), "
         r"layer1\.0\.conv1\.weight .* and 51 more\. Give a weight file of i3d"),
        ("bn_inception.pth", "i3d", None, r"got conv1_7x7_s2\.weight \(3, 3, 7, 7\)"),
        ("i3d_resnet50.pth", "i3d_inception", "rgb",
         rf"another network than i3d_inception: expected .* {FIRST} \(64, C, 7, 7, 7\).*"
         r"got conv1\.weight \(2, 3, 5, 7, 7\)"),
        ("resnet50.pth", "i3d_inception", None, r"got conv1\.weight \(2, 3, 7, 7\)"),
        ("rgb_imagenet.pt", "resnet50", None,
         r"expected .* conv1\.weight \(64, C, 7, 7\).* got logits\.conv3d\.weight \(400, 1024, "),
        ("i3d_resnet50.pth", "resnet50", None, r"got conv1\.weight \(2, 3, 5, 7, 7\)"),
        ("i3d_resnet50.pth", "i3d", "flow",
         r"is given for flow .*: expected 2 .* conv1.weight has the shape \(2, 3, 5, 7, 7\)"),
        ("i3d_resnet50.pth", "i3d", "rgb", "do not fit this I3D: wrong shape: conv1.weight"),
        ("i3d_resnet50.pth", "i3d", "rgb",
         r"These are weights of I3D-ResNet-50, width 2, a network that --backbone does not offer: "
         r"use the run that trained it, or another file$"),
        ("resnet50.pth", "resnet50", None, "ResNet-50, width 2, a network that --backbone does no"),
        ("rgb_imagenet.pt", "resnet50", None,
         "These are weights of I3D on Inception-v1: --backbone i3d_inception$"),
        ("rgb_imagenet.pt", "vgg16", None,
         "C is 3 for RGB, 2 for each field of flow and 1 for audio"),
        ("text.pth", "resnet50", None, "(?<!--backbone)$"),
        ("flow_charades.pt", "i3d", "rgb", "Give a weight file of rgb$"),
        ("branches.pt", "resnet50", None,
         r"it has flow\.\* beside a backbone: expected a file of one backbone, or the folder of "
         "the run that the file is from, as --model RUN without --backbone$"),
        ("empty.pth", "i3d", None, "got no kernels"),
    ],
)  # fmt: skip
def test_other_files_are_refused_in_one_line(files, file, backbone, stream, message):
    options = NetworkOptions(model=files[file], backbone=backbone, stream=stream)
    with pytest.raises(UsageError, match=message) as error:
        load_feature_network(options)
    assert str(error.value).startswith(f"{files[file]}: ")
    assert "\n" not in str(error.value)
    assert "`skip`" not in str(error.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"clip_length": 8}, r"cannot process 8 images of 224×224 pixels .* 9 frames or more"),
        ({"size": 192, "clip_length": 16}, r"16 images of 192×192 .* sides of 193 pixels or more"),
    ],
)
def test_clips_that_are_too_small_are_refused(files, options, message):
    network = load_feature_network(
        NetworkOptions(model=files["rgb_imagenet.pt"], backbone="i3d", **options)
    )
    with pytest.raises(UsageError, match=message):
        check_sizes(network)

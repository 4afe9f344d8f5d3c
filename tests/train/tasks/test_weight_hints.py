"""Messages for weight files that do not fit the network of a recipe."""

from dataclasses import asdict

import pytest
import torch

from flowkit.errors import UsageError
from models.backbones.registry import CLIP_BACKBONES, build_backbone, get_backbone_class
from train.recipe.sections import Network
from train.tasks.networks import start_network
from train.tasks.weight_hints import describe_channels, suggest_network
from train.tasks.weight_search import find_weight_file


def make_shapes(backbone, **options):
    with torch.device("meta"):
        return build_backbone(backbone, **{"num_classes": 7, **options}).state_dict()


def rename_as_tsn(state):
    return {f"base_model.{name.replace('last_linear', 'fc')}": t for name, t in state.items()}


@pytest.mark.parametrize(
    ("weights", "network", "hint"),
    [
        (rename_as_tsn(make_shapes("bn_inception")), {},
         "these are weights of BN-Inception (TSN or TSM): --set network.backbone=bn_inception"),
        (make_shapes("resnet101"), {},
         "these are weights of ResNet-101 (torchvision or timm): --set network.depth=101"),
        (make_shapes("resnet18", width=4), {"backbone": "vgg16"},
         "these are weights of ResNet-18, width 4 (torchvision or timm): --set "
         "network.backbone=resnet --set network.depth=18 --set network.width=4"),
        (make_shapes("p3d", blocks=(3, 4, 6, 3)), {"backbone": "p3d"},
         "these are weights of P3D-63 (qijiezhao): --set network.blocks='[3, 4, 6, 3]'"),
        (make_shapes("p3d"), {},
         "these are weights of P3D-199 (qijiezhao), whose kernels are 3-D, but resnet50 processes "
         "single images: --set network.backbone=p3d --set data.clip='{length: 16}'"),
        (make_shapes("i3d"), {"backbone": "resnet"},
         "these are weights of I3D-ResNet-50 (torchvision's names), whose kernels are 3-D, but "
         "resnet50 processes single images: --set network.backbone=i3d --set "
         "data.clip='{length: 32}'"),
        (make_shapes("resnet50"), {"backbone": "p3d"},
         "these are weights of ResNet-50 (torchvision or timm), whose kernels are 2-D, but p3d "
         "processes clips: --set network.backbone=i3d, which inflates resnet50"),
        (make_shapes("resnet101"), {"backbone": "i3d"},
         "these are weights of ResNet-101 (torchvision or timm), whose kernels are 2-D, but i3d "
         "processes clips: only weights of resnet50 are inflated to i3d"),
        (make_shapes("resnet50", width=4), {"backbone": "i3d"},
         "these are weights of ResNet-50, width 4 (torchvision or timm), whose kernels are 2-D, "
         "but i3d processes clips: --set network.width=4 inflates them"),
        (make_shapes("resnet50", in_channels=10), {"backbone": "i3d"},
         "these are weights of ResNet-50 (torchvision or timm), whose kernels are 2-D, but i3d "
         "processes clips: only those for RGB are inflated, and these have 10 channels"),
        (make_shapes("resnet50", in_channels=10), {},
         "these are weights of ResNet-50 (torchvision or timm) for optical flow (10 channels: 5 "
         "fields), but the branch rgb has 3 channels: --weights flow=FILE"),
        (make_shapes("resnet50", in_channels=15), {},
         "these are weights of ResNet-50 (torchvision or timm) for 15 channels, such as 5 RGB "
         "differences, but the branch rgb has 3 channels"),
        ({"cls_token": torch.zeros(1), "pos_embed": torch.zeros(1)}, {},
         "these are weights of Vision Transformer, which recipes do not have: flowkit features "
         "--model FILE --backbone timm/vit_base_patch16_224, or its own name in timm, computes "
         "features with it"),
        ({"a": torch.zeros(1, 1, 3, 3, 3)}, {},
         "these are weights of an unknown network, whose kernels are 3-D"),
        ({"a": torch.zeros(1)}, {}, "these are weights of an unknown network"),
    ],
)  # fmt: skip
def test_hints(weights, network, hint):
    assert suggest_network(weights, asdict(Network(**network)), "rgb") == hint


@pytest.mark.parametrize("backbone", CLIP_BACKBONES)
def test_hints_for_clips_have_the_length_that_the_network_expects(backbone):
    hint = suggest_network(make_shapes(backbone), asdict(Network()), "rgb")
    length = get_backbone_class(backbone).rgb_input.frames
    assert f"--set network.backbone={backbone} " in hint
    assert hint.endswith(f"--set data.clip='{{length: {length}}}'")
    assert length > 1


@pytest.mark.parametrize(
    ("channels", "end"),
    [
        (20, " for optical flow (20 channels: 10 fields): --set data.flow_length=10"),
        (5, " for 5 channels, and only weights for RGB can start a flow branch of other channels"),
        (3, ""),
    ],
)
def test_hints_for_flow_of_other_channels(channels, end):
    hint = suggest_network(make_shapes("resnet50", in_channels=channels), asdict(Network()), "flow")
    assert hint == f"these are weights of ResNet-50 (torchvision or timm){end}"


@pytest.mark.parametrize(
    ("channels", "dims", "text"),
    [
        (3, 2, "RGB (3 channels)"),
        (10, 2, "optical flow (10 channels: 5 fields)"),
        (2, 2, "optical flow (2 channels: 1 field)"),
        (2, 3, "optical flow (2 channels)"),
        (10, 3, "10 channels"),
        (1, 2, "one channel, such as log-mel patches of sound"),
        (15, 2, "15 channels, such as 5 RGB differences"),
        (7, 2, "7 channels"),
    ],
)
def test_channels(channels, dims, text):
    assert describe_channels(channels, dims) == text


def test_a_file_of_clips_for_a_network_of_images_ends_in_one_line(begin, tmp_path):
    path = tmp_path / "p3d_rgb_199.checkpoint.pth.tar"
    torch.save({"state_dict": build_backbone("p3d", 7, width=4, blocks=(1, 1, 1, 1)).state_dict()},
               path)  # fmt: skip
    run = begin(network__weights=f"{{rgb: {path}}}")
    with pytest.raises(UsageError, match=r"network\.weights\.\w+: .*kernels are 3-D.*"
                       r"--set network\.backbone=p3d.* In detail: ") as error:  # fmt: skip
        start_network(run, next(iter(run.list_unfinished_phases())))
    assert "\n" not in str(error.value)


def test_one_backbone_for_both_branches(begin, tmp_path):
    torch.save(build_backbone("resnet18", 7, width=4).state_dict(), tmp_path / "w.pth")
    run = begin(network__weights=f"{{both: {tmp_path / 'w.pth'}}}")
    with pytest.raises(UsageError, match=r"weights\.both: .*--weights rgb=FILE"):
        start_network(run, next(iter(run.list_unfinished_phases())))


def test_public_names_are_found_by_their_beginning(tmp_path, monkeypatch):
    monkeypatch.setenv("FLOWKIT_DATA", str(tmp_path))
    path = tmp_path / "weights" / "p3d_rgb_199.checkpoint.pth.tar"
    path.parent.mkdir()
    path.write_bytes(b"")
    assert find_weight_file("p3d_rgb_199") == path

"""`flowkit weights` and what it prints."""

import json

import pytest
import torch
from click.testing import CliRunner

from flowkit.errors import UsageError
from models.backbones.registry import build_backbone
from models.networks.pyramid import PyramidNetwork
from models.weights.families import identify_family
from models.weights.pretrained import digest_weights
from train.commands.weights import weights as command
from train.recipe.recipe import read_draft
from train.tasks.backbones import make_backbone
from train.tasks.weight_description import describe_weights, format_description, make_json
from train.tasks.weight_recipes import list_starts
from train.tasks.weights import load_backbone_weights


def make_shapes(backbone, **options):
    with torch.device("meta"):
        return build_backbone(backbone, **{"num_classes": 7, **options}).state_dict()


@pytest.fixture
def keep(tmp_path):
    """``keep(weights, name)``: a weight file."""

    def write(content, name="weights.pth"):
        torch.save(content, tmp_path / name)
        return str(tmp_path / name)

    return write


def describe(path):
    description = describe_weights(path)
    return make_json(description), "\n".join(format_description(description))


def test_a_flow_file_of_tsn(keep):
    state = build_backbone("bn_inception", 5, in_channels=10, width=1 / 16).state_dict()
    renamed = {
        f"module.base_model.{n}"
        if "last" not in n
        else n.replace("last_linear", "module.new_fc"): t
        for n, t in state.items()
    }
    values, text = describe(
        keep({"state_dict": renamed, "best_prec1": 71.5, "arch": "BNInception"})
    )
    (network,) = values["networks"]
    assert values["tensors"] == len(state)
    parameters = build_backbone("bn_inception", 5, in_channels=10, width=1 / 16).parameters()
    assert values["parameters"] == sum(p.numel() for p in parameters)
    assert (network["backbone"], network["publisher"]) == ("bn_inception", "TSN or TSM")
    assert (network["classes"], network["channels"], network["stream"]) == (5, 10, "flow")
    assert network["options"] == {"width": 1 / 16} and network["recipes"] == []
    assert network["skipped"] == ["last_linear.weight", "last_linear.bias"]
    assert "optical flow (10 channels: 5 fields)" in text
    assert "flow bytes minus 128" in text and "recipes normalize it the same" in text


def test_the_digest_is_that_of_the_stored_features(keep):
    state = build_backbone("resnet18", 5, width=4).state_dict()
    assert describe(keep(state))[0]["digest"] == digest_weights(state)


@pytest.mark.parametrize(
    ("backbone", "options", "some", "none"),
    [
        ("resnet50", {}, {("kinetics_cma", "rgb"), ("kinetics_flow", "flow"),
                          ("kinetics_i3d", "rgb")}, {"kinetics_p3d_16", "ucf101_pyramid_vgg16"}),
        ("resnet50", {"in_channels": 10}, {("kinetics_cma", "flow")}, {"kinetics_i3d", "tsn_rgb"}),
        ("resnet50", {"in_channels": 20}, set(), {"kinetics_cma", "kinetics_flow"}),
        ("resnet152", {}, {("ucf101_resnet152", "rgb")}, {"kinetics_cma"}),
        ("p3d", {"in_channels": 2}, {("kinetics_p3d_cma_16", "flow")}, {"kinetics_cma"}),
        ("p3d", {"blocks": (3, 4, 6, 3)}, set(), {"kinetics_p3d_16"}),
        ("vgg16", {}, {("kinetics_audio_vgg16", "audio"), ("ucf101_pyramid_vgg16", "rgb")}, set()),
        ("resnet50", {"width": 4}, set(), {"kinetics_cma", "kinetics_i3d"}),
    ],
)  # fmt: skip
def test_recipes_that_can_start(backbone, options, some, none):
    starts = list_starts(identify_family(make_shapes(backbone, **options)))
    assert some <= {(start.recipe, start.branch) for start in starts}
    assert not none & {start.recipe for start in starts}
    assert bool(some) == bool(starts)


@pytest.mark.parametrize(
    ("backbone", "options", "recipe", "stream"),
    [
        ("resnet50", {}, "kinetics_cma", "rgb"),
        ("resnet50", {}, "kinetics_flow", "flow"),
        ("resnet50", {}, "kinetics_i3d", "rgb"),
        ("resnet50", {"in_channels": 10}, "kinetics_cma", "flow"),
    ],
)
def test_what_is_listed_really_loads(backbone, options, recipe, stream):
    """On the meta device, where loading compares names and shapes as always."""
    draft = read_draft(recipe)
    made = draft.complete()
    with torch.device("meta"):
        network = make_backbone(made, stream)
    state = make_shapes(backbone, **options)
    starts = {(s.recipe, s.branch) for s in list_starts(identify_family(state))}
    assert (recipe, stream) in starts
    loaded = load_backbone_weights(network, state, made, stream)
    assert loaded.skipped == ("fc.bias", "fc.weight")


def test_a_phase_with_both_branches(keep):
    state = {"to_rgb.res3_1.query.weight": torch.zeros(2)}
    for branch, channels in (("rgb", 3), ("flow", 10)):
        network = build_backbone("resnet18", 5, width=4, in_channels=channels)
        state |= {f"{branch}.{name}": tensor for name, tensor in network.state_dict().items()}
    values, text = describe(keep(state))
    assert [network["branch"] for network in values["networks"]] == ["rgb", "flow"]
    assert [network["channels"] for network in values["networks"]] == [3, 10]
    assert values["left_out"] == ["to_rgb.*"]
    assert "branch rgb:" in text and "not used" in text
    starts = list_starts(identify_family(make_shapes("resnet50")), has_both=True)
    assert ("ucf101_cma_transfer", "both") in {(start.recipe, start.branch) for start in starts}


def test_files_that_are_not_there():
    with pytest.raises(UsageError, match="no weights"):
        describe_weights("nowhere/weights.pt")


def test_a_phase_of_a_run_with_pyramid_attention(begin, keep):
    run = begin(streams="[rgb]", iterations=0, testing__controls="[]")
    folder = run.folder("rgb")
    folder.mkdir(parents=True, exist_ok=True)
    branch = PyramidNetwork(build_backbone("resnet18", 5, width=4), ("res3_1", "res4_1"), (32, 32))
    torch.save({f"rgb.{n}": t for n, t in branch.state_dict().items()}, folder / "weights.pt")
    values, text = describe(str(folder))
    assert values["run"].startswith("phase rgb of the run ")
    (network,) = values["networks"]
    assert (network["branch"], network["backbone"]) == ("rgb", "resnet18")
    assert any(part.startswith("attention") for part in values["left_out"])
    assert values["run"] in text


def test_a_network_of_feature_sets(keep):
    values, text = describe(
        keep({"parts.rgb.a": torch.zeros(2), "classifier.weight": torch.ones(2)})
    )
    assert values["networks"] == []
    assert "--weights sets=FILE" in text


def test_unknown_files(keep):
    state = build_backbone("resnet18", 5, width=4).state_dict()
    values, text = describe(keep({**state, "layer5.0.weight": torch.zeros(3)}))
    assert values["networks"][0]["is_exact"] is False
    assert "nearest        ResNet-18, width 4: " in text and "unexpected: layer5.0.weight" in text
    values, text = describe(keep({"cls_token": torch.zeros(1), "pos_embed": torch.zeros(1)}))
    assert values["networks"][0]["title"] == "Vision Transformer"
    assert "--backbone timm/vit_base_patch16_224" in text
    assert "network        unknown" in describe(keep({"a": torch.zeros(1)}))[1]


def test_the_command(keep):
    path = keep(build_backbone("resnet18", 5, width=4).state_dict())
    result = CliRunner().invoke(command, [path, path, "--json"])
    assert result.exit_code == 0
    first, second = map(json.loads, result.output.splitlines())
    assert first == second and first["networks"][0]["title"] == "ResNet-18, width 4"
    result = CliRunner().invoke(command, [path])
    assert result.output.splitlines()[0].startswith(path)
    result = CliRunner().invoke(command, [keep([1], "list.pth")])
    assert isinstance(result.exception, UsageError)
    assert "list.pth is not a weight file" in str(result.exception)

"""Which network makes features: from runs, and from weight files."""

from types import SimpleNamespace

import pytest
import torch

from flowkit.errors import UsageError
from models.backbones import vgg
from models.backbones.vgg import VGG16
from models.weights.pretrained import digest_weights
from train.features.network import NetworkOptions, digest_used_weights
from train.features.network_loading import choose_phase, load_feature_network
from train.recipe.recipe import format_recipe, read_recipe
from train.runs.run import RunError
from train.tasks.backbones import NETWORKS


def test_a_run_says_all(finished):
    network = load_feature_network(NetworkOptions(model=str(finished.path), stream="flow"))
    recipe = network.recipe
    assert (recipe.source, recipe.dimension, recipe.size) == ("flow", 32, 16)
    assert (recipe.positions, recipe.clip_length, recipe.crops) == (25, 5, "centre")
    assert network.path == finished.folder("flow") / "weights.pt"
    assert network.short_side == 24
    assert not network.backbone.training


def test_a_phase_is_the_same_as_its_weights(finished):
    """By which route weights come does not matter, nor does the last layer."""
    one = load_feature_network(NetworkOptions(model=str(finished.path), stream="rgb"))
    state = one.backbone.state_dict()
    plain = {n: t for n, t in state.items() if not n.startswith("fc.")}
    assert one.recipe.weights == digest_weights(plain)
    one.backbone.last_layer.weight.data.add_(1)
    assert digest_used_weights(one.backbone) == one.recipe.weights
    one.backbone.conv1.weight.data.add_(1)
    assert digest_used_weights(one.backbone) != one.recipe.weights
    assert load_feature_network(
        NetworkOptions(model=str(finished.path), stream="flow")
    ).recipe.weights != (one.recipe.weights)


@pytest.mark.parametrize(("channels", "stream", "length"), [(3, "rgb", 1), (10, "flow", 5)])
def test_a_file_says_what_it_looks_at(weight_file, channels, stream, length):
    wanted = NetworkOptions(
        model=str(weight_file(channels)), backbone="resnet18", size=32, positions=3
    )
    recipe = load_feature_network(wanted).recipe
    assert (recipe.source, recipe.clip_length, recipe.dimension) == (stream, length, 512)
    assert (recipe.size, recipe.positions, recipe.model) == (32, 3, "resnet18")


def test_vgg_listens(tmp_path, monkeypatch):
    monkeypatch.setattr(vgg, "HIDDEN", 8)
    with torch.device("meta"):
        shapes = VGG16(in_channels=1, num_classes=0).state_dict()
    path = tmp_path / "audio.pth"
    torch.save({name: torch.zeros(t.shape) for name, t in shapes.items()}, path)
    network = load_feature_network(NetworkOptions(model=str(path), backbone="vgg16"))
    recipe = network.recipe
    assert (recipe.source, recipe.positions, recipe.crops, recipe.size) == ("audio", 0, "whole", 0)
    assert (recipe.dimension, network.views) == (8, 1)
    with pytest.raises(UsageError, match="audio patches are not cropped"):
        load_feature_network(NetworkOptions(model=str(path), backbone="vgg16", crops="three"))


def test_weights_are_found_by_name_and_by_phase(weight_file, finished, tmp_path, monkeypatch):
    monkeypatch.setenv("FLOWKIT_DATA", str(tmp_path / "data"))
    (tmp_path / "data" / "weights").mkdir(parents=True)
    file = weight_file().rename(tmp_path / "data" / "weights" / "resnet18-f37072fd.pth")
    assert load_feature_network(NetworkOptions(model="resnet18", backbone="resnet18")).path == file
    # A thin network is none of the families' own.
    phase = str(finished.folder("flow"))
    with pytest.raises(UsageError, match=r"do not fit this ResNet"):
        load_feature_network(NetworkOptions(model=phase, backbone="resnet18"))


def test_all_names_of_networks_can_be_made():
    assert {"resnet152", "inception_resnet_v2", "i3d", "vgg16"} <= set(NETWORKS)


def test_bad_files(weight_file, tmp_path):
    file = str(weight_file())
    with pytest.raises(UsageError, match=r"is not a run folder.*got none"):
        load_feature_network(NetworkOptions(model=file))
    with pytest.raises(UsageError, match=r"fit this ResNet.*ResNet-18: --backbone resnet18$"):
        load_feature_network(NetworkOptions(model=file, backbone="resnet50"))
    with pytest.raises(UsageError, match=r"network of rgb \(3 channels\), but is given for flow"):
        load_feature_network(NetworkOptions(model=file, backbone="resnet18", stream="flow"))
    with pytest.raises(UsageError, match="has 7 input channels"):
        load_feature_network(NetworkOptions(model=str(weight_file(7)), backbone="resnet18"))
    with pytest.raises(UsageError, match="has 1 input channels"):
        load_feature_network(NetworkOptions(model=str(weight_file(1)), backbone="resnet18"))
    with pytest.raises(UsageError, match="3-D networks, not resnet18"):
        load_feature_network(NetworkOptions(model=file, backbone="resnet18", clip_length=4))
    with pytest.raises(UsageError, match="no weights 'nowhere'"):
        load_feature_network(NetworkOptions(model="nowhere", backbone="resnet18"))


def test_bad_runs(finished, begin, finish):
    path = str(finished.path)
    with pytest.raises(UsageError, match="networks of rgb and flow: choose one with --stream"):
        load_feature_network(NetworkOptions(model=path))
    with pytest.raises(UsageError, match="none of audio"):
        load_feature_network(NetworkOptions(model=path, stream="audio"))
    with pytest.raises(UsageError, match="no --backbone"):
        load_feature_network(NetworkOptions(model=path, stream="rgb", backbone="resnet18"))
    with pytest.raises(UsageError, match="expected no --split, got 1"):
        load_feature_network(NetworkOptions(model=path, stream="rgb", split=1))
    run = SimpleNamespace(path=path, recipe=SimpleNamespace(splits=(1, 2)))
    with pytest.raises(UsageError, match="expected --split of 1, 2, got none"):
        choose_phase(run, "rgb", None)
    started = begin("started", iterations=0, testing__controls="[]")
    with pytest.raises(RunError, match="phase rgb is not finished"):
        load_feature_network(NetworkOptions(model=str(started.path), stream="rgb"))
    crossed = finish(begin("crossed", network__cma=True, testing__controls="[]"))
    with pytest.raises(UsageError, match="attention blocks in its flow branch"):
        load_feature_network(NetworkOptions(model=str(crossed.path), stream="flow"))


def test_runs_on_features_make_none(finished):
    (finished.path / "recipe.yaml").write_text(format_recipe(read_recipe("motion8_clusters")))
    with pytest.raises(UsageError, match="was trained on features"):
        load_feature_network(NetworkOptions(model=str(finished.path)))


def test_a_plain_branch_of_a_run_with_iterations_will_do(begin, finish):
    run = finish(begin())
    assert run.recipe.iterations
    assert (
        load_feature_network(NetworkOptions(model=str(run.path), stream="flow")).recipe.source
        == "flow"
    )

"""The networks of phases: where their weights come from."""

import pytest
import torch

from flowkit.errors import UsageError
from models.backbones.resnet import ResNet
from models.weights.pretrained import cross_modality_init
from train.loop.session import StopCondition, train
from train.runs.phases import list_phases
from train.runs.run import RunError, Settings
from train.tasks.networks import load_phase_network, select_weights, start_network
from train.tasks.weight_search import find_weight_file

SETTINGS = Settings(threads=1, workers=0)


@pytest.fixture
def imagenet(tmp_path):
    """A file as torchvision's: 1000 classes, RGB, the tiny recipe's width."""
    torch.manual_seed(5)
    network, path = ResNet(18, width=4), tmp_path / "resnet18-tiny.pth"
    torch.save(network.state_dict(), path)
    return network, path


def phase_of(run, name):
    return {phase.name: phase for phase in list_phases(run.recipe)}[name]


def test_rgb_starts_from_a_file_and_flow_by_cross_modality_initialization(begin, imagenet):
    weights, path = imagenet
    run = begin(network__weights=f"{{rgb: {path}}}")
    said = []
    rgb = start_network(run, phase_of(run, "rgb"), said.append).rgb
    assert said == [f"rgb: 120 weights from {path} for rgb; skipped: fc.bias, fc.weight"]
    assert torch.equal(rgb.conv1.weight, weights.conv1.weight)
    assert rgb.fc.weight.shape == (2, 32)
    flow = start_network(run, phase_of(run, "flow")).flow
    assert torch.equal(flow.conv1.weight, cross_modality_init(weights.conv1.weight, 10))
    assert torch.equal(flow.layer4[1].conv2.weight, weights.layer4[1].conv2.weight)


def test_weights_are_found_by_name(begin, imagenet, monkeypatch, tmp_path):
    _, path = imagenet
    monkeypatch.setenv("FLOWKIT_DATA", str(tmp_path / "data"))
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    with pytest.raises(UsageError, match=r"no weights 'resnet18'.*weights='DEFAULT'"):
        find_weight_file("resnet18")
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    path.rename(folder / "resnet18-f37072fd.pth")
    assert find_weight_file("resnet18") == folder / "resnet18-f37072fd.pth"


def test_weights_of_another_depth_are_refused(begin, tmp_path):
    path = tmp_path / "w.pth"
    torch.save(ResNet(34, width=4).state_dict(), path)
    run = begin(network__weights=f"{{rgb: {path}}}")
    with pytest.raises(UsageError, match=r"weights\.rgb: .*w\.pth.* unexpected: layer1\.2"):
        start_network(run, phase_of(run, "rgb"))


def test_a_transfer_starts_from_a_finished_phase(begin, store):
    source = begin("source")
    train(source, store, SETTINGS, lambda text: None)
    folder = source.folder("iter_1")
    run = begin("target", iterations=0, testing__controls="[]", network__cma="true",
                network__weights=f"{{both: {folder}}}")  # fmt: skip
    given = load_phase_network(source, phase_of(source, "iter_1"), "both").state_dict()
    network = start_network(run, phase_of(run, "rgb")).state_dict()
    for name, tensor in network.items():
        if not name.startswith("to_flow."):  # still the identity, and in no file
            assert torch.equal(tensor, given[name]) != (".fc." in name), name
    assert not any("norm.weight" in n and t.any() for n, t in network.items() if "to_flow" in n)


def test_branches_of_two_runs_can_be_joined(begin, store):
    source = begin("source", iterations=0, testing__controls="[]")
    train(source, store, SETTINGS, lambda text: None)
    weights = {name: str(source.folder(name)) for name in ("rgb", "flow")}
    run = begin("target", network__weights=str(weights))
    for name in ("rgb", "flow"):
        network = start_network(run, phase_of(run, name))
        given = load_phase_network(source, phase_of(source, name), name)
        mine, theirs = (getattr(one, name).conv1.weight for one in (network, given))
        assert torch.equal(mine, theirs)


def test_an_iteration_needs_the_phase_before_it(begin):
    run = begin()
    with pytest.raises(RunError, match="phase flow is not finished"):
        start_network(run, phase_of(run, "iter_1"))
    with pytest.raises(RunError, match="phase iter_1 is not finished"):
        load_phase_network(run, phase_of(run, "iter_1"), "rgb")


def test_iter_1_begins_with_blocks_that_are_the_identity(begin, store):
    run = begin()
    train(run, store, SETTINGS, lambda text: None, StopCondition(5))  # flow is finished
    network = start_network(run, phase_of(run, "iter_1"))
    flow = load_phase_network(run, phase_of(run, "flow"), "flow")
    for name, tensor in flow.flow.state_dict().items():
        assert torch.equal(network.flow.state_dict()[name], tensor), name
    assert network.drop_identities() == 4
    kept = select_weights(network, phase_of(run, "iter_1"))
    assert not any(name.startswith("to_") for name in kept)

"""What the new networks start from: files of several publishers, and phases of finished runs."""

import shutil
import sys

import pytest
import torch
from torch import nn

from flowkit.errors import UsageError
from models.backbones.bn_inception import BNInception
from models.backbones.i3d_inception import InceptionI3D
from models.backbones.p3d import P3D199
from models.backbones.resnet import ResNet
from models.weights.pretrained import cross_modality_init, inflate_time, read_weights
from train.loop.session import train
from train.runs.phases import list_phases
from train.runs.run import RunError, Settings
from train.tasks.networks import load_phase_network, start_network
from train.tasks.weight_search import find_weight_file

SETTINGS = Settings(threads=1, workers=0)
ALONE = {"iterations": 0, "testing__controls": "[]"}
PYRAMID = {**ALONE, "network__pyramid": {"taps": ["res3_1", "res4_1"]}}
INCEPTION = {
    **ALONE,
    "network__backbone": "bn_inception",
    "network__pyramid": {"taps": ["inception_3b", "inception_5b"]},
    "data__size": 32,
}
I3D = {
    **ALONE,
    "network__backbone": "i3d",
    "network__stem": 8,
    "network__width": 2,
    "data__clip": "{length: 4}",
}
INCEPTION_I3D = {
    **ALONE,
    "network__backbone": "i3d_inception",
    "network__width": 4,
    "data__clip": "{length: 9}",
    "data__size": 193,
}
P3D = {
    **ALONE,
    "network__backbone": "p3d",
    "network__blocks": "[1, 1, 2, 1]",
    "data__clip": "{length: 4}",
}


@pytest.fixture
def keep(tmp_path):
    """``keep(weights, name)``: a weight file."""

    def write(weights, name="weights.pth"):
        torch.save(weights, tmp_path / name)
        return str(tmp_path / name)

    return write


def phase_of(run, name):
    return {phase.name: phase for phase in list_phases(run.recipe)}[name]


def assert_given(network, given, but=("fc.",)):
    """All weights of a network are those given, but those of its last layer are not."""
    own = network.state_dict()
    assert own.keys() == given.keys()
    for name, tensor in own.items():
        if name.startswith(but):
            assert tensor.shape != given[name].shape or not torch.equal(tensor, given[name]), name
        else:
            assert torch.equal(tensor, given[name]), name


def make_inception():
    torch.manual_seed(5)
    network = BNInception(num_classes=7, width=4 / 64)
    for module in network.modules():  # as if trained: no two layers alike
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean)
    return network


def test_a_trunk_with_attention_takes_a_file_of_other_classes(begin, keep):
    torch.manual_seed(5)
    given = ResNet(18, width=4, num_classes=7).state_dict()
    path, said = keep({"state_dict": {f"module.{n}": t for n, t in given.items()}}), []
    run = begin(**PYRAMID, network__weights=f"{{rgb: {path}}}")
    rgb = start_network(run, phase_of(run, "rgb"), said.append).rgb
    assert_given(rgb.trunk, given)
    assert said == [f"rgb: 120 weights from {path} for rgb; skipped: fc.bias, fc.weight"]
    flow = start_network(run, phase_of(run, "flow")).flow.trunk
    first = given["conv1.weight"]
    assert torch.equal(flow.conv1.weight, cross_modality_init(first, 10))
    assert_given(flow, {**given, "conv1.weight": flow.conv1.weight})


@pytest.mark.parametrize("publisher", ["Cadene", "TSN"])
def test_names_of_publishers(begin, keep, publisher):
    given = make_inception().state_dict()
    theirs = dict(given)
    if publisher == "TSN":
        theirs = {
            "base_model." + name.replace("last_linear", "fc"): t[None] if "_bn." in name else t
            for name, t in given.items()
            if "num_batches" not in name
        }
    run = begin(**INCEPTION, network__weights=f"{{rgb: {keep(theirs)}}}")
    said = []
    rgb = start_network(run, phase_of(run, "rgb"), said.append).rgb
    assert_given(rgb.trunk, given, ("last_linear.",))
    assert said[0].endswith("for rgb; skipped: last_linear.bias, last_linear.weight")
    flow = start_network(run, phase_of(run, "flow")).flow.trunk
    expected = cross_modality_init(given["conv1_7x7_s2.weight"], 10)
    assert torch.equal(flow.conv1_7x7_s2.weight, expected)
    assert_given(flow, {**given, "conv1_7x7_s2.weight": expected}, ("last_linear.",))


@pytest.fixture
def trained(begin, store):
    """Runs of one epoch."""

    def make(name, **changes):
        run = begin(name, training__epochs=1, **changes)
        assert train(run, store, SETTINGS, lambda text: None)
        return run

    return make


def test_a_finished_phase_with_attention_gives_its_trunk(begin, trained):
    source = trained("source", **PYRAMID, streams="[rgb]")
    folder = source.folder("rgb")
    given = load_phase_network(source, phase_of(source, "rgb"), "rgb").rgb.trunk.state_dict()
    run = begin(**{**PYRAMID, "network__pyramid": {"taps": ["res2_1", "res4_1"]}}, seed=3,
                network__weights=f"{{rgb: {folder}}}")  # fmt: skip
    said = []
    rgb = start_network(run, phase_of(run, "rgb"), said.append).rgb
    assert_given(rgb.trunk, given)
    assert said == [
        f"rgb: 120 weights from {folder} for rgb; skipped: fc.bias, fc.weight, attention.*"
    ]
    # Flow from RGB's phase, too, by cross-modality initialization.
    flow = start_network(run, phase_of(run, "flow")).flow.trunk
    expected = cross_modality_init(given["conv1.weight"], 10)
    assert_given(flow, {**given, "conv1.weight": expected})
    plain = begin("plain", **ALONE, seed=3, network__weights=f"{{rgb: {folder}}}")
    assert_given(start_network(plain, phase_of(plain, "rgb")).rgb, given)


def test_each_branch_of_a_phase_that_has_both(begin, trained):
    source = trained("source", iterations=1, testing__controls="[]")
    folder, said = source.folder("iter_1"), []
    given = load_phase_network(source, phase_of(source, "iter_1"), "both")
    run = begin(**PYRAMID, seed=3, network__weights=f"{{rgb: {folder}, flow: {folder}}}")
    for branch in ("rgb", "flow"):
        network = start_network(run, phase_of(run, branch), said.append)
        assert_given(getattr(network, branch).trunk, getattr(given, branch).state_dict())
    assert said[0].endswith("skipped: fc.bias, fc.weight, flow.*, to_rgb.*")


def test_clips_start_from_images_and_from_clips(begin, trained, keep):
    torch.manual_seed(5)
    images = ResNet(50, width=2, num_classes=7).state_dict()
    source = begin("source", **I3D, network__weights=f"{{rgb: {keep(images)}}}")
    for branch in ("rgb", "flow"):
        clips = getattr(start_network(source, phase_of(source, branch)), branch).state_dict()
        first = inflate_time(images["conv1.weight"], 5)
        if branch == "flow":
            first = cross_modality_init(first, 2)
        torch.testing.assert_close(clips["conv1.weight"], first)
        for name, tensor in images.items():
            if tensor.ndim == 4 and name != "conv1.weight":
                torch.testing.assert_close(clips[name].sum(2), tensor, msg=name)
    source = trained("again", **I3D, streams="[rgb]")
    given = read_weights(source.folder("rgb") / "weights.pt")
    given = {name.removeprefix("rgb."): tensor for name, tensor in given.items()}
    run = begin("run", **I3D, seed=3, network__weights=f"{{rgb: {source.folder('rgb')}}}")
    assert_given(start_network(run, phase_of(run, "rgb")).rgb, given)
    flow = start_network(run, phase_of(run, "flow")).flow
    expected = cross_modality_init(given["conv1.weight"], 2)
    assert_given(flow, {**given, "conv1.weight": expected})


def test_p3d_takes_a_file_for_each_branch(begin, keep):
    files, given = {}, {}
    for seed, (branch, channels) in enumerate((("rgb", 3), ("flow", 2))):
        torch.manual_seed(seed)
        network = P3D199(in_channels=channels, num_classes=7, width=4, blocks=(1, 1, 2, 1))
        given[branch] = network.state_dict()
        files[branch] = keep(given[branch], f"p3d_{branch}_199.checkpoint.pth")
    run = begin(**P3D, network__weights=str(files))
    for branch in ("rgb", "flow"):
        network = start_network(run, phase_of(run, branch))
        assert_given(getattr(network, branch), given[branch])


def test_i3d_takes_public_files_of_both_streams_or_of_rgb(begin, keep):
    files, given = {}, {}
    for seed, (branch, channels) in enumerate((("rgb", 3), ("flow", 2))):
        torch.manual_seed(seed)
        network = InceptionI3D(in_channels=channels, num_classes=7, width=4)
        given[branch] = network.state_dict()
        # The last layer is the first in public files.
        names = sorted(given[branch], key=lambda name: not name.startswith("logits."))
        files[branch] = keep({n: given[branch][n] for n in names}, f"{branch}_imagenet.pt")
    run = begin("both", **INCEPTION_I3D, network__weights=str(files))
    for branch in ("rgb", "flow"):
        network = start_network(run, phase_of(run, branch))
        assert_given(getattr(network, branch), given[branch], but=("logits.",))
    run = begin("one", **INCEPTION_I3D, network__weights=f"{{rgb: {files['rgb']}}}")
    first = "Conv3d_1a_7x7.conv3d.weight"
    expected = {**given["rgb"], first: cross_modality_init(given["rgb"][first], 2)}
    assert_given(start_network(run, phase_of(run, "flow")).flow, expected, but=("logits.",))
    exchanged = {"rgb": files["flow"], "flow": files["flow"]}
    run = begin("exchanged", **INCEPTION_I3D, network__weights=str(exchanged))
    message = (
        r"network.weights.rgb: .*Conv3d_1a_7x7.*\(4, 2, 7, 7, 7\) instead of \(4, 3, 7, 7, 7\)"
    )
    with pytest.raises(UsageError, match=message):
        start_network(run, phase_of(run, "rgb"))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: make_inception().state_dict(), "missing: conv1.weight.*unexpected"),
        (lambda: ResNet(18, width=6).state_dict(), r"conv1.weight \(6, 3, 7, 7\) instead of"),
        (lambda: ResNet(18, width=4, in_channels=5).state_dict(), r"\(4, 5, 7, 7\) instead of"),
        (lambda: {"epoch": 3}, "expected tensors by name, got dict"),
        (lambda: [1, 2], "expected tensors by name, got list"),
    ],
)
def test_files_of_something_else(begin, tmp_path, make, message):
    torch.save(make(), tmp_path / "other.pth")
    run = begin(**PYRAMID, network__weights=f"{{rgb: {tmp_path / 'other.pth'}}}")
    with pytest.raises(UsageError, match=rf"network\.weights\.rgb: .*other\.pth.*{message}"):
        start_network(run, phase_of(run, "rgb"))


def test_flow_of_other_fields_is_refused(begin, keep):
    given = ResNet(18, width=4, in_channels=20).state_dict()
    run = begin(**PYRAMID, network__weights=f"{{flow: {keep(given)}}}")
    with pytest.raises(
        UsageError, match=r"network\.weights\.flow: .*--set data\.flow_length=10\. In"
    ):
        start_network(run, phase_of(run, "flow"))


def test_weight_files_are_found_where_pytorch_keeps_its_own(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("TORCH_HOME", raising=False)
    for home in (tmp_path / "torch", tmp_path / "other"):
        file = home / "hub/checkpoints/own-1234.pth"
        file.parent.mkdir(parents=True)
        file.touch()
        assert find_weight_file("own") == file
        with monkeypatch.context() as patch:  # as before the import of PyTorch
            patch.delitem(sys.modules, "torch.hub")
            assert find_weight_file("own") == file
        monkeypatch.setenv("TORCH_HOME", str(tmp_path / "other"))


def test_files_that_are_not_there(tmp_path, monkeypatch):
    monkeypatch.setenv("FLOWKIT_DATA", str(tmp_path / "data"))
    absent = (tmp_path / "absent.pth", "runs/x/phases/rgb", tmp_path, "own.pt", "~no-such-user/a")
    for name in map(str, absent):
        with pytest.raises(
            UsageError, match=r"no weights .*expected an existing file, or the folder"
        ):
            find_weight_file(name)
    for name in ("resnet50", "a[b", "*"):
        with pytest.raises(UsageError, match=r"no weights .*looked for a file"):
            find_weight_file(name)


def test_a_finished_phase_whose_file_is_damaged(begin, trained):
    run = trained("run", **PYRAMID, streams="[rgb]")
    (run.folder("rgb") / "weights.pt").write_bytes(b"nonsense")
    with pytest.raises(RunError, match=r"cannot be read.*train phase rgb again"):
        load_phase_network(run, phase_of(run, "rgb"), "rgb")


def test_a_finished_phase_whose_file_is_of_another_network(begin, trained):
    run, other = (
        trained("run", **PYRAMID, streams="[rgb]"),
        trained("other", **I3D, streams="[rgb]"),
    )
    shutil.copy(other.folder("rgb") / "weights.pt", run.folder("rgb"))
    message = r"rgb/weights\.pt: the weights do not fit.*Remove this file and train phase rgb again"
    with pytest.raises(RunError, match=message):
        load_phase_network(run, phase_of(run, "rgb"), "rgb")

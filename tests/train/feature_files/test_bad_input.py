"""Bad input of `flowkit features --out`: exit code 2, and one line that says what to do."""

import json
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

from flowkit.cli import main
from models.backbones.i3d_inception import InceptionI3D
from models.backbones.resnet import ResNet
from tests.conftest import write_clip, write_store
from train.tasks.backbones import OPTIONS


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """Weight files of small networks, by name."""
    folder = tmp_path_factory.mktemp("weights")
    torch.manual_seed(0)
    files = {}
    for stream, channels in (("rgb", 3), ("flow", 2)):
        files[stream] = folder / f"{stream}_imagenet.pt"
        network = InceptionI3D(in_channels=channels, num_classes=4, width=8)
        torch.save(network.state_dict(), files[stream])
    files["resnet"] = folder / "resnet18.pth"
    torch.save(ResNet(18, in_channels=3, num_classes=2, width=8).state_dict(), files["resnet"])
    files["text"] = folder / "text.pt"
    files["text"].write_text("no weights")
    files["missing"] = folder / "missing.pt"
    return files


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    """A folder of one video, an empty folder, and stores, which no test changes; by name."""
    root = tmp_path_factory.mktemp("inputs")
    write_clip(root / "v" / "a.mp4", frames=20)
    (root / "empty").mkdir()
    return {
        "v": root / "v",
        "empty": root / "empty",
        "store": write_store(root / "store", ["a"]),
        "rgb_store": write_store(root / "rgb_store", ["a"], streams=("rgb",)),
        "step_store": write_store(root / "step_store", ["a"], step=2),
        "bare_store": write_store(root / "bare_store", ["a"], annotated=False),
    }


@pytest.fixture
def places(tmp_path, inputs, weights, monkeypatch):
    """Values for the templates of arguments; networks of `weights` are small in this process."""
    monkeypatch.setitem(OPTIONS, "i3d_inception", lambda settings: {"width": 8})
    monkeypatch.setitem(OPTIONS, "resnet", lambda settings: {"depth": settings.depth, "width": 8})
    paths = {**weights, **inputs, "out": tmp_path / "feats"}
    return {name: str(path) for name, path in paths.items()}


def run(places, line):
    arguments = [word.format(**places) for word in line.split()]
    return CliRunner().invoke(main, ["features", *arguments])


VIDEOS = "--videos {v} --out {out} "
RGB = VIDEOS + "--model i3d --weights rgb={rgb} "
BOTH = RGB + "--weights flow={flow} "
RESNET = VIDEOS + "--model resnet18 --weights rgb={resnet} "
STORE = "--store {store} --out {out} --model i3d --weights rgb={rgb} --weights flow={flow} "
NAME = "--store {store} --name x --model {rgb} --backbone i3d "

CASES = {
    # windows
    RGB + "--stride 0": "--stride 0: the number of frames from one window to the next must be at "
    "least 1",
    RGB + "--window -3": "--window -3: the number of frames in a window must be at least 1",
    RGB + "--window 0": "--window 0: the number of frames in a window must be at least 1",
    RGB + "--clip-stride 0": "--clip-stride 0: the number of frames from one frame of a window",
    RESNET + "--window 16": "--window 16: networks of images see one frame at a time, expected "
    "--window 1",
    # frames
    RGB + "--fps 0": "fps must be above 0 and at most 1000, got 0",
    RGB + "--fps -5": "fps must be above 0 and at most 1000, got -5",
    RGB + "--frame-rate 0": "--frame-rate must be above 0",
    RGB + "--frame-rate 25": "--frame-rate states the rate of folders of images",
    RGB + "--short-side 0": "resize side must lie in 1..65500",
    RGB + "--resize 12": "expected",
    BOTH + "--bound 0": "flow bound must be positive pixels below 1e+30, got 0",
    BOTH + "--preset fastest": "'fastest' is not one of",
    BOTH + "--method raft": "raft",
    BOTH + "--backend cuda9": "cuda9",
    BOTH + "--resize 9x9 --no-resize": "--resize, --short-side and --no-resize exclude one another",
    RGB + "--preset fast": "--preset is for flow, and no network reads flow; leave it out",
    RGB + "--bound 0": "--bound is for flow, and no network reads flow; leave it out",
    # out and name
    "--videos {v} --model i3d --weights rgb={rgb}": "expected either --out DIR, to write files, "
    "or --name NAME",
    NAME + "--out {out}": "expected either --out DIR, to write files, or --name NAME",
    NAME + "--backend auto": "--backend has an effect only with --out; leave it out",
    RGB + "--commit-seconds 300": "--commit-seconds has an effect only with --name; leave it out",
    "--name x --videos {v} --model {rgb} --backbone i3d": "--videos has an effect only with --out",
    NAME + "--placement covering": "--placement covering has an effect only with --out",
    NAME + "--fps 0": "--fps has an effect only with --out",
    NAME + "--separate": "--separate has an effect only with --out",
    NAME + "--convention thumos14": "--convention has an effect only with --out",
    NAME + "--subset train": "--subset has an effect only with --out",
    NAME + "--labels {text}": "--labels and its options have an effect only with --out",
    RGB + "--positions 4": "--positions has an effect only with --name",
    RGB + "--clip-length 4": "--clip-length has an effect only with --name",
    RGB + "--readers 0": "--readers has an effect only with --name",
    # videos
    "--out {out} --model i3d --weights rgb={rgb}": "name the videos by one of --videos DIR, "
    "--frames DIR, --dataset NAME and --store S; got none of them",
    RGB + "--frames {v}": "got --videos and --frames",
    "--videos {missing} --out {out} --model i3d --weights rgb={rgb}": "expected a folder with",
    "--videos {empty} --out {out} --model i3d --weights rgb={rgb}": "no videos below",
    RGB + "--subset val": "no subset 'val'",
    RGB + "--variant 1": "--variant and --catalog have an effect only with --dataset",
    # networks
    VIDEOS: "name a network: --model i3d with --weights rgb=FILE, or --model RUN",
    BOTH + "--weights rgb={rgb}": "--weights names two files of rgb; expected one for each stream",
    BOTH + "--weights {flow}": "--weights names two files of flow; expected one for each stream",
    VIDEOS + "--model i3d --weights flow={rgb}": "it is a network of rgb (3 channels), but is "
    "given for flow",
    VIDEOS + "--model i3d --weights rgb={flow}": "it is a network of flow (2 channels), but",
    VIDEOS + "--model i3d --weights rgb={resnet}": "it is a file of another network than i3d: "
    "expected the first convolution",
    VIDEOS + "--model resnet18 --weights rgb={rgb}": "it is a file of another network than "
    "resnet18: expected the first convolution conv1.weight",
    VIDEOS + "--model I4D --weights rgb={rgb}": "--model I4D: there is no such backbone; "
    "did you mean i3d?",
    VIDEOS + "--model i3d --weights rgb={text}": "text.pt",
    VIDEOS + "--model i3d --weights rgb={missing}": "missing.pt",
    VIDEOS + "--model i3d --weights audio={rgb}": "audio",
    VIDEOS + "--model i3d --weights depth={rgb}": "depth",
    VIDEOS + "--model i3d": "--model i3d names a backbone, which needs a weight file for each",
    RGB + "--backbone i3d": "leave out --backbone",
    RGB + "--split 1": "--split is for runs",
    # conventions
    RGB + "--convention thumos": "--convention thumos: there is no such convention; did you mean "
    "thumos14?",
    RESNET + "--convention thumos14": "--window 16, of --convention thumos14: networks of images "
    "see one frame at a time, expected a network of clips, or --window 1",
    # stores
    STORE + "--fps 25": "--fps has an effect only with videos, not with a store",
    STORE + "--preset fast": "--preset has an effect only with videos, not with a store",
    STORE + "--backend numba": "--backend has an effect only with videos, not with a store",
    STORE.replace("{store}", "{rgb_store}"): "has no flow, only rgb: extract it with --streams",
    STORE.replace("{store}", "{step_store}"): "has step 2; feature files need flow to the next",
    # annotations
    BOTH + "--annotations {out}.json": "--annotations writes the segments of the labels, and there",
    STORE.replace("{store}", "{bare_store}") + "--annotations {out}.json": "there are none: give",
    BOTH + "--annotation-split 1": "--annotation-split and --keep-subset-names are about",
    BOTH + "--keep-subset-names": "--annotation-split and --keep-subset-names are about",
    RGB + "--convention thumos14 --stride 0": "--stride 0: the number of frames",
    RGB + "--convention thumos14 --fps 0": "fps must be above 0 and at most 1000, got 0",
    # runs
    RGB + "--shard 2/2": "expected --shard i/n",
    RGB + "--workers 0 --address x": "--workers 0 works without Ray",
    RGB + "--size 9": "cannot process",
}  # fmt: skip


@pytest.mark.parametrize(("line", "message"), CASES.items(), ids=lambda text: text[:60])
def test_bad_input(places, line, message):
    result = run(places, line)
    assert result.exit_code == 2, (result.output, result.exception)
    assert message in " ".join(result.stderr.split())
    assert len(result.stderr.splitlines()) == 1 or "Usage:" in result.stderr  # click's own
    assert not Path(places["out"]).exists()


def test_the_arguments_are_good_without_the_bad_one(places):
    result = run(places, RESNET + "--size 32 --workers 0 --device cpu --stride 5")
    assert result.exit_code == 0, result.output
    assert f"features: {places['out']}" in result.output
    info = json.loads((Path(places["out"]) / "a.json").read_bytes())
    assert (info["rows"], info["recipe"]["windows"]["length"]) == (4, 1)


def test_a_run_in_which_every_video_fails(places, tmp_path):
    places["v"] = str(tmp_path / "v")
    (tmp_path / "v").mkdir()
    (tmp_path / "v" / "a.mp4").touch()
    result = run(places, RESNET + "--size 32 --workers 0 --device cpu")
    assert result.exit_code == 1
    assert "error: no video has features" in result.stderr
    assert run(places, RESNET + "--size 32 --workers 0 --device cpu --strict").exit_code == 4


def test_the_default_store_of_the_videos_does_not_matter(places, tmp_path, monkeypatch):
    """It has videos of another folder, which `flowkit extract` without --store would refuse."""
    monkeypatch.chdir(tmp_path)
    write_store(tmp_path / "stores" / "v", ["a"])
    done = run(places, "--videos {v} --model i3d --weights rgb={missing} --out {out}")
    assert done.exit_code == 2
    assert "missing.pt" in done.stderr
    assert "another folder" not in done.stderr

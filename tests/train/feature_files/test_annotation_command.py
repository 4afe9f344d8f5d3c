"""`flowkit features --labels FILE --annotations FILE`, and the loaders that read the folder."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result

import models
from flowkit.cli import main
from tests.flowkit.interchange.activitynet.localization_loaders import (
    load_actionformer_thumos,
    load_opentad_padding,
)

LABELS = """\
video,class,start,end,split
a/x 1.mp4,run,0.2,0.6,train
a/x 1.mp4,jump,0.8,30,train
b.mp4,run,0:00.1,0:01,test
bad.mp4,run,0,1,test
"""
SMALL = (
    "--model resnet18 --window 1 --stride 4 --short-side 32 --size 32 --workers 0 --out feats "
    "--videos videos --labels labels.csv"
)


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> Path:
    """Random weights of a ResNet-18."""
    path = tmp_path_factory.mktemp("weights") / "resnet18.pth"
    torch.save(models.build_backbone("resnet18", 2).state_dict(), path)
    return path


@pytest.fixture
def run(tmp_path, monkeypatch, make_clip, weights):
    """``run(options)``: the command in a folder with videos and labels."""
    monkeypatch.chdir(tmp_path)
    for name, frames in (("a/x 1.mp4", 40), ("b.mp4", 27)):
        make_clip(tmp_path / "videos" / name, frames)
    (tmp_path / "videos/bad.mp4").write_bytes(b"no video")
    (tmp_path / "labels.csv").write_text(LABELS)

    def run(options: str) -> Result:
        words = f"features {SMALL} {options}".split()
        return CliRunner().invoke(main, [*words, "--weights", f"rgb={weights}"])

    return run


def test_from_videos_and_labels_to_rows(run, tmp_path):
    result = run("--annotations feats/annotations.json")
    assert result.exit_code == 0, result.output
    assert result.stderr.splitlines()[-5:] == [
        "annotations.json: 2 videos (testing 1, training 1), 3 segments of 2 classes",
        "1 segment was cut, since it leaves its video: a%2Fx%201 (0.8 to 30 s)",
        "1 annotated video left out, since it has no features: bad.mp4",
        "ActionFormer: feat_stride: 4, num_frames: 1, default_fps: ~, file_prefix: ~, file_ext: "
        ".npy, input_dim: 512, num_classes: 2; train_split and val_split: of testing, training",
        "OpenTAD: ThumosPaddingDataset, feature_stride=4, sample_stride=1, offset_frames=0; "
        "subset_name: of testing, training",
    ]
    feats = tmp_path / "feats"
    path = feats / "annotations.json"
    options = {"stride": 4, "num_frames": 1, "num_classes": 2}
    (item,) = load_actionformer_thumos(feats, path, ["training"], **options)
    assert item.features.shape == (10, 512)
    # Seconds to frames of 1/25 s to rows of 4 frames, whose middle is half a frame in.
    expected = (np.array([[0.2, 0.6], [0.8, 1.6]]) * 25 - 0.5) / 4
    assert item.segments == pytest.approx(expected, abs=1e-4)
    info = json.loads((feats / "a%2Fx%201.json").read_bytes())
    middles = (np.array(info["start_seconds"]) + np.array(info["end_seconds"])) / 2
    inside = (middles >= 0.2) & (middles <= 0.6)
    rows = np.arange(10)
    assert inside.tolist() == ((rows >= expected[0, 0]) & (rows <= expected[0, 1])).tolist()
    (item,) = load_opentad_padding(feats, path, "testing", stride=4, offset_frames=0)
    # Frames 2 and 25, rounded down: 1 s / 1.08 s x 27 frames is 24.99….
    assert item.segments.tolist() == [[0.5, 6.0]]


def test_annotations_are_written_again_for_finished_features(run, tmp_path):
    assert run("").exit_code == 0
    assert not list(tmp_path.glob("feats/*.txt"))
    features = {path: path.stat().st_mtime_ns for path in tmp_path.glob("feats/*.npy")}
    assert run("--annotations other/a.json --keep-subset-names").exit_code == 0
    database = json.loads((tmp_path / "other/a.json").read_bytes())["database"]
    assert {entry["subset"] for entry in database.values()} == {"train", "test"}
    assert {path: path.stat().st_mtime_ns for path in tmp_path.glob("feats/*.npy")} == features


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--annotations feats/b.json", "feats/b.json is for the features of a video"),
        ("--annotations videos", "videos is a folder; name a file such as videos/annotations.json"),
        ("--annotations x.json --annotation-split 1", "no subset of split 1"),
        ("--annotation-split 1", "are about --annotations; give it too"),
        ("--keep-subset-names", "are about --annotations; give it too"),
    ],
)
def test_what_is_refused_before_anything_is_computed(run, tmp_path, options, message):
    result = run(options)
    assert result.exit_code == 2
    assert message in result.stderr
    assert not (tmp_path / "feats").exists()


def test_the_summary_is_printed_where_no_video_has_features(run, tmp_path):
    for path in tmp_path.glob("videos/**/*.mp4"):
        path.write_bytes(b"no video")
    result = run("--annotations feats/annotations.json")
    assert result.exit_code == 2
    assert "(3 not-a-video)" in result.stderr
    assert "no video has features" in result.stderr

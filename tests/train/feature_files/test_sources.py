"""The videos that `flowkit features --out` finds: datasets, labels, subsets and frame folders."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from click.testing import CliRunner

from flowkit.cli import main
from models.backbones.resnet import ResNet
from train.tasks.backbones import OPTIONS


@pytest.fixture
def run(tmp_path, monkeypatch):
    """``run(arguments …)``: compute RGB features with a small ResNet-18 in this process."""
    monkeypatch.setitem(OPTIONS, "resnet", lambda settings: {"depth": settings.depth, "width": 4})
    torch.manual_seed(0)
    weights = tmp_path / "resnet18.pth"
    torch.save(ResNet(18, num_classes=2, width=4).state_dict(), weights)

    def call(*arguments):
        common = ("--model", "resnet18", "--weights", f"rgb={weights}", "--size", 32, "--workers",
                  0, "--device", "cpu", "--out", tmp_path / "feats")  # fmt: skip
        return CliRunner().invoke(main, ["features", *map(str, (*common, *arguments))])

    return call


def read_infos(folder: Path):
    return {path.stem: json.loads(path.read_bytes()) for path in folder.glob("*.json")}


def test_labels_subsets_and_frame_rates(tmp_path, run):
    root = tmp_path / "frames"
    for name in ("a", "b", "c"):
        (root / name).mkdir(parents=True)
        for t in range(5):
            image = np.random.default_rng(t).integers(0, 255, (40, 40, 3), np.uint8)
            cv2.imwrite(str(root / name / f"{t:05d}.png"), image)
    labels = tmp_path / "labels.csv"
    labels.write_text(
        "video,label,subset,fps\na,run,train,10\nb,jump,val,5\nc,run,val,\nd,run,val,5\n"
    )
    arguments = ("--frames", root, "--labels", labels, "--frame-rate", 20)
    result = run(*arguments, "--subset", "val")
    assert result.exit_code == 0, result.output
    infos = read_infos(tmp_path / "feats")
    assert {name: info["frame_rate"] for name, info in infos.items()} == {"b": 5.0, "c": 20.0}
    assert {name: info["duration"] for name, info in infos.items()} == {"b": 1.0, "c": 0.25}
    assert "annotated, but missing on disk" in result.output
    result = run(*arguments, "--json")
    assert read_infos(tmp_path / "feats").keys() == {"a", "b", "c"}
    assert json.loads(result.stdout[result.stdout.index("{") :])["done_before"] == 2


def test_a_dataset_of_the_catalogue(tmp_path, make_clip, run):
    videos = tmp_path / "data" / "gestures"
    for name in ("1", "2"):
        make_clip(videos / "wave" / f"{name}.mp4", frames=6, width=48, height=40)
    catalog = tmp_path / "datasets.yaml"
    catalog.write_text(
        "gestures:\n"
        "  title: Gestures\n"
        "  format: folder\n"
        f"  videos: [{videos}]\n"
        "  subsets: [train]\n"
        "  recipe: {resize: {mode: none}, rgb: {}}\n"
    )
    result = run("--dataset", "gestures", "--catalog", catalog, "--json")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["computed"] == 2
    infos = read_infos(tmp_path / "feats")
    assert {name: (info["id"], info["frames"]) for name, info in infos.items()} == {
        "wave%2F1": ("wave/1.mp4", 6), "wave%2F2": ("wave/2.mp4", 6),
    }  # fmt: skip

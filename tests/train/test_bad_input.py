"""What does not go together: one line that says so, and no run that was begun."""

import re
from dataclasses import replace

import pytest
import torch
from click.testing import CliRunner

from flowkit.annotations.table import AnnotationTable, Label
from flowkit.cli import main
from flowkit.store import read_annotations, rebuild_index, write_annotations
from models.backbones.resnet import ResNet
from train.runs.run import Run

ALONE = {"iterations": "0", "testing.controls": "[]", "streams": "[rgb]", "training.epochs": "1"}
PYRAMID = {**ALONE, "network.pyramid": "{taps: [res3_1, res4_1]}"}
P3D = {
    **ALONE,
    "network.backbone": "p3d",
    "network.blocks": "[1, 1, 2, 1]",
    "data.clip": "{length: 4}",
}


@pytest.fixture
def train(tiny_changes, store, tmp_path):
    """``train(changes)`` by the command line; (exit code, all that it said)."""

    def call(changes, *options, path=None):
        pairs = {**tiny_changes, **changes}.items()
        words = [word for key, value in pairs for word in ("--set", f"{key}={value}")]
        fixed = ["--store", str(path or store.path), "--run", str(tmp_path / "run")]
        quick = ["--workers", "0", "--threads", "1", "--device", "cpu"]
        result = CliRunner().invoke(
            main, ["train", "motion8_cma", *fixed, *words, *quick, *options]
        )
        return result.exit_code, result.output

    return call


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"network.pyramid": "{taps: [res9_9]}"}, "no tap 'res9_9'; there are res2_0"),
        ({"network.pyramid": "{taps: [res4_1, features]}"},
         "cannot combine 'features' with other taps; there are .* or features alone"),
        ({"network.pyramid": "{taps: 3}"}, "network.pyramid.taps: input should be a valid tuple"),
        ({"network.backbone": "i3d"}, "processes clips: set data.clip.length"),
        ({"network.backbone": "vgg", **ALONE}, "should be 'resnet', 'vgg16'"),
        ({"network.backbone": "bn_inception"}, "bn_inception cannot process images of 16×16"),
        ({"network.backbone": "bn_inception", "data.size": "24"}, "sides are multiples"),
        ({"network.backbone": "inception_resnet_v2", "network.pyramid": "{taps: [block_a]}"},
         "inception_resnet_v2 cannot process images of 16×16 pixels: .*Change data.size"),
        ({"network.cma": "true", "streams": "[rgb, flow]", "network.positions": "[res9_9]"},
         "network.positions: there is no step res9_9 to insert attention after"),
        ({"network.cma": "true", "streams": "[rgb, flow]", "network.backbone": "vgg16"},
         "network.positions: no step is named to insert attention after"),
        ({**P3D, "data.clip": "{length: 5}"}, "p3d cannot process clips of 5 frames.*2, 4, "),
        ({**P3D, "network.backbone": "i3d"}, "i3d cannot process clips of 4 frames.*of 8 frames"),
        ({**P3D, "network.backbone": "i3d_inception", "data.clip": "{length: 16}"},
         "i3d_inception cannot process clips of 16 frames of 16×16.*sides of 193 pixels or more"),
        ({**ALONE, "network.backbone": "i3d_inception"}, "processes clips: set data.clip.length"),
        ({"data.clip": "{length: 4}"}, "set network.backbone to i3d or i3d_inception or p3d"),
        ({"training.only": "[layer9]"}, "no part 'layer9'; its parts are dropout, conv1"),
        ({"training.only": "[dropout]"}, "phase rgb trains no weights of the network"),
        ({"labels": "many", "classes": "3"}, "the recipe is for 3 classes, .* has 2"),
        ({"labels": "many", "data.window": "1"}, "needs labels with times; none of the 8"),
        ({"data.short_side": "30"}, "shorter side is 30 pixels, .* has 24; extract"),
        ({"network.weights": "{rgb: /nowhere/absent.pth}"}, "no weights '/nowhere/absent.pth'"),
        ({"subsets.test": "tset"}, "tset"),
    ],
)  # fmt: skip
def test_what_does_not_go_together(train, tmp_path, changes, message):
    code, said = train({**ALONE, **changes})
    assert code == 2
    assert said.startswith("error: ") and said.count("\n") == 1, said
    assert_says(said, message)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("streams", "given", "ignored"),
    [
        ("[rgb]", ("flow=vgg16",), "flow"),
        ("[flow]", ("rgb=/nowhere/rgb.pth",), None),  # flow starts from the weights of RGB
        ("[flow]", ("rgb=resnet50", "flow=/nowhere/flow.pth"), "rgb"),
        ("[flow]", ("both=/nowhere/both.pth",), None),
    ],
)
def test_weights_that_no_branch_starts_from_are_refused(train, streams, given, ignored):
    words = [word for weights in given for word in ("--weights", weights)]
    code, said = train({**ALONE, "streams": streams}, *words)
    assert code == 2
    assert_says(said, f"--weights {ignored}=FILE has no effect" if ignored else "/nowhere/")


def assert_says(said, message):
    assert re.search(message, said), said


def test_weights_of_another_network_can_be_replaced_by_the_same_command(train, tmp_path):
    files = {}
    for width in (4, 6):
        files[width] = tmp_path / f"resnet18 {width}.pth"
        torch.save(ResNet(18, width=width).state_dict(), files[width])
    code, said = train(PYRAMID, "--weights", f"rgb={files[6]}")
    assert code == 2
    assert_says(said, r"^error: recipe: network.weights.rgb: .*18 6.pth: .*wrong shape: conv1")
    assert not (tmp_path / "run").exists()
    code, said = train(PYRAMID, "--weights", f"rgb={files[4]}")
    assert code == 0
    assert_says(said, "120 weights from .*; skipped: fc.bias, fc.weight")
    assert Run(tmp_path / "run").is_finished()


def test_more_segments_than_frames_share_them(train, make_store, tmp_path):
    short = make_store([f"v{n:02}" for n in range(12)], tmp_path / "short", frames=2)
    code, said = train({**PYRAMID, "streams": "[rgb, flow]", "data.num_segments": "7"}, path=short)
    assert code == 0, said


def test_many_labels_outside_of_the_classes(train, store, tmp_path):
    table = read_annotations(store.path)
    classes = (*table.classes, "sit")
    rows = tuple(replace(row, labels=(*row.labels, Label("sit"))) for row in table.annotations)
    write_annotations(store.path, AnnotationTable(classes, rows))
    rebuild_index(store.path)
    code, said = train({**ALONE, "labels": "many"})
    assert code == 2
    assert_says(
        said, r"^error: .*'video 01' has class 2, the recipe 2 classes \(0 … 1\)\. Set classes"
    )
    assert not (tmp_path / "run").exists()


def test_a_label_that_is_not_in_its_video(train, store, tmp_path):
    table = read_annotations(store.path)
    rows = tuple(
        replace(row, labels=tuple(replace(label, start=0.0, end=9.0) for label in row.labels))
        for row in table.annotations
    )
    write_annotations(store.path, replace(table, annotations=rows))
    rebuild_index(store.path)
    code, said = train({**ALONE, "labels": "many", "data.window": "0.2"})
    assert code == 1
    assert_says(said, "^error: .*end at most 2 s after the video; 8 of 8 videos")
    assert not (tmp_path / "run").exists()

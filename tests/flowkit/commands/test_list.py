"""`flowkit list`: which videos, in which order, and what is said of them."""

import json
import math
import operator
import shutil
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flowkit.annotations.table import Annotation, AnnotationTable, Label
from flowkit.cli import main
from flowkit.recipe import FlowRecipe, LogMelRecipe, RGBRecipe, StoreRecipe
from flowkit.store import (
    Fingerprint,
    Motion,
    ShardWriter,
    VideoMeta,
    create_or_open,
    rebuild_index,
    write_annotations,
)
from flowkit.store.conditions import Condition
from flowkit.store.video_list import VideoList

GOLDEN = Path(__file__).parents[2] / "golden"
VIDEOS = {
    "a": (4, 25.0, None, Motion(0.5, 2.0)),
    "b c/ü": (9, 30.0, 0.5, Motion(0.05, 0.1)),
    "d\n": (4, 10.0, 3.0, None),
    "e": (5, 25.0, None, Motion(0.5, 1.0)),
}
"""Frames, rate, duration and motion by id."""
KEYS = ["id", "classes", "subsets", "frames", "fps", "duration", "width", "height", "motion",
        "p95", "warnings"]  # fmt: skip
PYTHON_OPERATORS = {
    "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge,
    "=": operator.eq, "!=": operator.ne,
}  # fmt: skip


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("list") / "S"
    recipe = StoreRecipe(rgb=RGBRecipe(), flow=FlowRecipe(), audio=LogMelRecipe())
    create_or_open(root, recipe)
    writer = ShardWriter(root, recipe=recipe)
    for id, (frames, fps, duration, motion) in VIDEOS.items():
        writer.begin(id)
        for _ in range(frames):
            writer.append(rgb=b"x")
        writer.end(VideoMeta(
            id=id, source="v", fingerprint=Fingerprint(1, 1, "0" * 32), fps=fps, width=40 + frames,
            streams=("rgb",) if motion is None else ("rgb", "flow"), frames=frames, height=30,
            duration=duration, motion=motion, warnings=("cut",) if id == "a" else (),
        ))  # fmt: skip
    writer.close()
    annotations = (
        Annotation("a", (Label("run"), Label("brush hair"), Label("run")), ("train", "x")),
        Annotation("b c/ü", (Label("run"),), ("val",)),
        Annotation("e", tuple(Label(name) for name in ("run", "p", "q", "r", "s")), ("train",)),
    )
    classes = ("run", "brush hair", "p", "q", "r", "s")
    write_annotations(root, AnnotationTable(classes, annotations))
    rebuild_index(root)
    return root


def run(*arguments, exit_code=0):
    result = CliRunner().invoke(main, ["list", *map(str, arguments)])
    assert result.exit_code == exit_code, result.output
    return result


def list_ids(root, *options):
    return [video["id"] for video in json.loads(run(root, *options, "--json").stdout)]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ([], ["a", "b c/ü", "d\n", "e"]),
        (["--where", "motion<0.1"], ["b c/ü"]),
        (["--where", "motion!=0.5"], ["b c/ü"]),  # unknown motion meets no condition
        (["--where", "p95>=1 and frames=4"], ["a"]),
        (["--where", "duration>0.18"], ["b c/ü", "d\n", "e"]),  # 4 frames at 25 fps are 0.16 s
        (["--where", "warnings>0"], ["a"]),
        (["--where", "id>a and id!='e'"], ["b c/ü", "d\n"]),
        (["--where", "class='brush hair'"], ["a"]),
        (["--where", "class!=run"], ["d\n"]),
        (["--where", "subset!=val"], ["a", "d\n", "e"]),
        (["--class", "run"], ["a", "b c/ü", "e"]),
        (["--class", "run", "--subset", "train"], ["a", "e"]),
        (["--subset", "val"], ["b c/ü"]),
        (["--sort", "motion"], ["b c/ü", "a", "e", "d\n"]),
        (["--sort", "motion", "--descending"], ["a", "e", "b c/ü", "d\n"]),
        (["--sort", "frames", "--limit", "3"], ["a", "d\n", "e"]),
        (["--sort", "duration", "--descending"], ["d\n", "b c/ü", "e", "a"]),
        (["--sort", "fps"], ["d\n", "a", "e", "b c/ü"]),
        (["--descending", "--limit", "1"], ["e"]),
        (["--where", "frames>100"], []),
    ],
)
def test_videos_that_meet_conditions_in_order(root, options, expected):
    assert list_ids(root, *options) == expected


def test_json_has_everything(root):
    first, second, third, _ = json.loads(run(root, "--json").stdout)
    assert list(first) == KEYS
    assert first == {
        "id": "a", "classes": ["run", "brush hair"], "subsets": ["train", "x"], "frames": 4,
        "fps": 25.0, "duration": 0.16, "width": 44, "height": 30, "motion": 0.5, "p95": 2.0,
        "warnings": 1,
    }  # fmt: skip
    assert second["duration"] == 0.5
    assert (third["motion"], third["p95"], third["classes"]) == (None, None, [])


def test_the_table_has_a_line_for_each_video(root):
    result = run(root, "--sort", "motion")
    head, *lines = result.stdout.splitlines()
    assert head.split() == ["frames", "fps", "seconds", "size", "motion", "p95", "warnings",
                            "subset", "class", "id"]  # fmt: skip
    assert lines[0].split() == ["9", "30", "0.50", "49x30", "0.050", "0.100", "0", "val", "run",
                                "b", "c/ü"]  # fmt: skip
    assert lines[2].split()[-5:] == ["run,", "p,", "q", "+2", "e"]
    assert lines[3].split() == ["4", "10", "3.00", "44x30", "-", "-", "0", "-", "-", r"d\n"]
    assert len({line.index(id) for line, id in zip(lines[:2], ("b c", "a"), strict=True)}) <= 2
    assert result.stderr == "4 of 4 videos; the motion of 1 is unknown\n"
    assert run(root, "--limit", 2).stderr == "2 of 4 videos\n"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--where", "class=rum"], "no class 'rum' in the store; did you mean 'run'?"),
        (["--class", "zzz"], "no class 'zzz' in the store; there are run, brush hair, p, q, r, s"),
        (["--subset", "tain"], "no subset 'tain' in the store; did you mean 'train'?"),
        (["--where", "length<3"], "no column 'length'"),
        (["--where", "id='\udcff'"], "expected UTF-8"),
    ],
)
def test_unknown_names_are_errors(root, options, message):
    result = run(root, *options, exit_code=2)
    assert message in result.stderr and not result.stdout


def test_stores_of_older_versions_and_empty_ones(tmp_path):
    shutil.copytree(GOLDEN / "store", tmp_path / "store")
    videos = json.loads(run(tmp_path / "store", "--json", "--sort", "motion").stdout)
    assert [video["motion"] for video in videos] == [None] * 8
    assert {video["duration"] for video in videos} == {9 / 25}
    assert "the motion of 8 is unknown" in run(tmp_path / "store", "--where", "motion<1").stderr
    create_or_open(tmp_path / "empty", StoreRecipe(rgb=RGBRecipe()))
    assert "expected an index, found none" in run(tmp_path / "empty", exit_code=1).stderr
    rebuild_index(tmp_path / "empty")
    assert run(tmp_path / "empty", "--json").stdout == "[]\n"
    assert run(tmp_path / "empty", "--sort", "fps").stderr == "0 of 0 videos\n"
    assert "expected a store" in run(tmp_path, exit_code=1).stderr


@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.sampled_from(["frames", "fps", "duration", "motion"]),
    st.sampled_from(sorted(PYTHON_OPERATORS)),
    st.sampled_from([0.05, 0.16, 0.5, 4, 5, 25, 99]),
)
def test_comparisons_are_those_of_python(root, column, sign, value):
    videos = VideoList(root)
    rows = videos.select([Condition(column, sign, float(value))])
    described = videos.describe(np.arange(4))
    compare = PYTHON_OPERATORS[sign]
    assert rows.tolist() == [
        row
        for row, video in enumerate(described)
        if video[column] is not None and compare(video[column], value)
    ]
    assert all(math.isnan(v) == (d["motion"] is None) for v, d in zip(
        videos.read_numbers("motion"), described, strict=True
    ))  # fmt: skip

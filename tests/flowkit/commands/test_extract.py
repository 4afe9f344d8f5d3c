"""`flowkit extract` as typed: what it takes, prints, and exits with."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import pytest
from click.testing import CliRunner

from flowkit.cli import main
from flowkit.store import Store
from flowkit.store.split import split_store


@pytest.fixture
def flowkit(tmp_path, monkeypatch):
    """``flowkit("extract", …)`` in an empty folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("FLOWKIT_DATA", raising=False)

    def run(*arguments):
        return CliRunner().invoke(main, [str(argument) for argument in arguments])

    return run


SMALL = ("--size", "32x32", "--workers", "0")


def test_plain_files(flowkit, tmp_path, make_clip):
    make_clip(tmp_path / "a.mp4")
    make_clip(tmp_path / "b.avi")
    result = flowkit("extract", "a.mp4", "b.avi", "--store", "out", *SMALL)
    assert result.exit_code == 0, result.output
    assert "2  videos extracted" in result.stdout
    assert list(Store(tmp_path / "out")) == ["a.mp4", "b.avi"]


def test_a_folder_of_classes_and_one_subset_of_it(flowkit, tmp_path, make_clip):
    make_clip(tmp_path / "v" / "train" / "run" / "1.mp4")
    make_clip(tmp_path / "v" / "val" / "run" / "2.mp4")
    result = flowkit("extract", "--videos", "v", "--subset", "val", *SMALL)
    assert result.exit_code == 0, result.output
    assert list(Store(tmp_path / "stores" / "v")) == ["val/run/2.mp4"]
    wrong = flowkit("extract", "--videos", "v", "--subset", "tset", *SMALL)
    assert wrong.exit_code == 2
    assert "the annotations have train, val" in wrong.stderr


def test_the_same_command_again_keeps_the_subsets_of_flowkit_split(flowkit, tmp_path, make_clip):
    for number in range(4):
        make_clip(tmp_path / "v" / "train" / "run" / f"{number}.mp4")
    arguments = ("extract", "--videos", "v", "--streams", "rgb", *SMALL)
    assert flowkit(*arguments).exit_code == 0
    root = tmp_path / "stores" / "v"
    split_store(root, {"train": 0.5, "test": 0.5}, overwrite=True)
    again = flowkit(*arguments)
    assert Store(root).subsets() == {"test": 2, "train": 2}
    assert "the subsets that `flowkit split` made are kept" in again.stderr


def test_the_default_store_is_of_one_folder(flowkit, tmp_path, make_clip):
    """Two folders of one name would make one store, whose labels are of one of them."""
    make_clip(tmp_path / "files" / "1.mp4")
    (tmp_path / "a/v/run").mkdir(parents=True)
    (tmp_path / "a/v/run/1.mp4").symlink_to(tmp_path / "files/1.mp4")
    (tmp_path / "links").symlink_to(tmp_path / "a")
    shutil.copytree(tmp_path / "a", tmp_path / "b", symlinks=True)
    options = ("--streams", "rgb", *SMALL)
    for folder in ("a/v", "links/v"):  # the second is the same folder
        assert flowkit("extract", "--videos", folder, *options).exit_code == 0
    wrong = flowkit("extract", "--videos", "b/v", *options)
    assert wrong.exit_code == 2
    assert "stores/v has videos of another folder, such as" in wrong.stderr
    assert "a/v/run/1.mp4; name a store for those of b/v with --store" in wrong.stderr
    chosen = flowkit("extract", "--videos", "b/v", "--store", "stores/v", *options)
    assert chosen.exit_code == 0, chosen.output


def test_a_dataset_of_the_catalogue(flowkit, tmp_path, make_clip):
    root = tmp_path / "data" / "motion8"
    make_clip(root / "videos" / "left" / "train_00000.mp4")
    (root / "annotations").mkdir()
    (root / "annotations" / "train.csv").write_text(
        "id,label\nleft/train_00000.mp4,left\nup/train_00002.mp4,up\n"
    )
    result = flowkit("extract", "--dataset", "motion8", "--json", *SMALL)
    assert result.exit_code == 0, result.output
    summary = json.loads(result.stdout)
    assert summary["extracted"] == 1
    assert summary["missing"] == ["up/train_00002.mp4"]
    store = Store(tmp_path / "stores" / "motion8")
    assert store.header.dataset == "motion8"
    assert [label.name for label in store["left/train_00000.mp4"].labels] == ["left"]


CATALOG = """
loud:
  title: Loud
  format: folder
  videos: [loud]
  subsets: [train]
  homepage: here
  obtain: from here
  licence: none
  expected_videos: 2
  bytes_per_video: 1000
  recipe:
    resize: {mode: exact, width: 32, height: 32}
    rgb: {}
    flow: {}
"""


@pytest.mark.parametrize(
    ("entry", "typed", "streams"),
    [
        ("", (), ("rgb", "flow")),
        ("    audio: {}\n", (), ("rgb", "flow", "audio")),
        ("    audio: {}\n", ("--no-audio",), ("rgb", "flow")),
        ("    audio: {}\n", ("--streams", "rgb"), ("rgb",)),
        ("", ("--audio",), ("rgb", "flow", "audio")),
        ("", ("--streams", "rgb", "--audio"), ("rgb", "audio")),
        ("", ("--streams", "audio"), ("audio",)),
    ],
)
def test_audio_is_on_where_the_catalogue_says_so(
    flowkit, tmp_path, make_clip, entry, typed, streams
):
    (tmp_path / "datasets.yaml").write_text(CATALOG + entry)
    make_clip(tmp_path / "data" / "loud" / "train" / "x" / "a.mp4", frames=3, sound=True)
    make_clip(tmp_path / "data" / "loud" / "train" / "x" / "b.mp4", frames=3)
    result = flowkit("extract", "--dataset", "loud", "--workers", "0", *typed)
    assert result.exit_code == 0, result.output
    store = Store(tmp_path / "stores" / "loud")
    assert [video.streams for video in map(store.__getitem__, store)] == [streams] * 2
    if "audio" in streams:
        assert [len(store[id].audio()) for id in store] == [2, 0]


def test_strict_and_retry_failed(flowkit, tmp_path, make_clip):
    make_clip(tmp_path / "a.mp4")
    (tmp_path / "b.mp4").write_bytes(b"")
    command = ("extract", "a.mp4", "b.mp4", "--store", "S", *SMALL)
    assert flowkit(*command).exit_code == 0
    strict = flowkit(*command, "--strict")
    assert strict.exit_code == 4
    assert "quarantined" in strict.stdout
    retried = json.loads(flowkit(*command, "--retry-failed", "--json").stdout)
    assert [failure["kind"] for failure in retried["failed"]] == ["empty"]
    make_clip(tmp_path / "b.mp4")
    assert flowkit(*command, "--strict").exit_code == 0


def test_an_unreadable_file_leaves_the_others_alone(flowkit, tmp_path, make_clip):
    make_clip(tmp_path / "a.mp4")
    unreadable = "x" * 300 + ".mp4"  # root reads files of any mode, but none of this name
    result = flowkit("extract", "a.mp4", unreadable, "--store", "S", "--json", *SMALL)
    assert result.exit_code == 0, result.output
    summary = json.loads(result.stdout)
    assert summary["extracted"] == 1
    assert [failure["kind"] for failure in summary["failed"]] == ["unreadable"]


def test_a_file_without_read_permission_is_no_wrong_command(
    flowkit, tmp_path, make_clip, monkeypatch
):
    make_clip(tmp_path / "a.mp4")
    monkeypatch.setattr(os, "access", lambda *arguments, **keywords: False)
    result = flowkit("extract", "a.mp4", "--store", "S", *SMALL)
    assert result.exit_code == 0, result.output


def test_parts_of_a_batch_job_make_one_store(flowkit, tmp_path, make_clip):
    for i in range(6):
        make_clip(tmp_path / "v" / "c" / f"{i}.mp4", seed=i)
    for i in range(3):
        result = flowkit("extract", "--videos", "v", "--store", "S", "--shard", f"{i}/3", *SMALL)
        assert result.exit_code == 0, result.output
    assert len(Store(tmp_path / "S")) == 6


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--dataset", "kinetcs"), "did you mean"),
        (("--dataset", "ucf101"), "FLOWKIT_DATA"),
        ((), "name what to extract"),
        (("--dataset", "ucf101", "--videos", "v"), "got several"),
        (("a.mp4",), "need --store"),
        (("gone.mp4", "--store", "S"), "no such file"),
        (("--videos", "gone"), "--videos gone: expected a folder with videos, but there is none"),
        (("a.mp4", "--store", "S", "--streams", "rgb,depth"), "streams are rgb, flow, audio"),
        (("a.mp4", "--store", "S", "--shard", "8/8"), "from 0 to n−1"),
        (("a.mp4", "--store", "S", "--size", "big"), "expected a size"),
        (("a.mp4", "--store", "S", "--backend", "numab"), "did you mean 'numba'"),
        (("a.mp4", "--store", "S", "--variant", "600"), "only with --dataset"),
        (("a.mp4", "--store", "S", "--fps", "1e9"), "at most 1000"),
        (("a.mp4", "--store", "S", "--address", "x:1", "--workers", "0"), "works without Ray"),
        (("a.mp4", "--store", "v"), "expected a store or an empty folder"),
    ],
)
def test_a_wrong_command_says_what_to_do_and_makes_no_store(
    flowkit, tmp_path, make_clip, arguments, message
):
    make_clip(tmp_path / "a.mp4")
    make_clip(tmp_path / "v" / "c" / "1.mp4")
    result = flowkit("extract", *arguments)
    assert result.exit_code in (1, 2)
    assert message in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "S").exists()


def test_ctrl_c_commits_and_says_how_to_go_on(tmp_path, make_clip):
    for i in range(4):
        make_clip(tmp_path / f"{i}.mp4", frames=100, width=256, height=192, seed=i)
    command = [sys.executable, "-m", "flowkit", "extract", *map(str, tmp_path.glob("*.mp4"))]
    command += ["--store", str(tmp_path / "S"), "--workers", "0", "--size", "128x128"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        deadline = time.monotonic() + 60
        while not list(tmp_path.glob("S/frames/*.part")) and time.monotonic() < deadline:
            time.sleep(0.05)
        os.kill(process.pid, signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "run the same command again to continue" in err
    assert "videos extracted" in out
    assert 1 <= len(Store(tmp_path / "S")) < 4


@pytest.mark.parametrize("option", ["--videos", "--frames"])
def test_a_folder_without_videos_makes_no_store(flowkit, tmp_path, option):
    (tmp_path / "empty" / "class").mkdir(parents=True)
    result = flowkit("extract", option, "empty", "--store", "S", *SMALL)
    assert result.exit_code == 2
    assert "no videos below empty" in result.stderr
    assert not (tmp_path / "S").exists()


def test_where_not_one_video_can_be_extracted_it_exits_with_1(flowkit, tmp_path, make_clip):
    (tmp_path / "bad.mp4").write_text("I am no video")
    for _ in range(2):  # also where nothing is tried, since it failed before
        result = flowkit("extract", "bad.mp4", "--store", "S", *SMALL)
        assert result.exit_code == 1
        assert "no video could be extracted: 1 failed (1 not-a-video)" in result.stderr
        assert "flowkit status S --failures" in result.stderr
    strict = flowkit("extract", "bad.mp4", "--store", "S", "--strict", *SMALL)
    assert strict.exit_code == 4
    assert "flowkit status S --failures" in strict.stderr
    make_clip(tmp_path / "good.mp4")
    assert flowkit("extract", "bad.mp4", "good.mp4", "--store", "S", *SMALL).exit_code == 0
    (tmp_path / "worse.mp4").write_text("nor am I")
    command = ("extract", "bad.mp4", "good.mp4", "worse.mp4", "--store", "S", *SMALL)
    assert flowkit(*command).exit_code == 1  # the only one that was to be extracted
    assert flowkit(*command).exit_code == 0  # there is none


def test_the_preset_is_named_by_status_and_another_is_refused(flowkit, tmp_path, make_clip):
    make_clip(tmp_path / "a.mp4")
    command = ("extract", "a.mp4", "--store", "out", *SMALL)
    first = flowkit(*command, "--preset", "fast")
    assert first.exit_code == 0, first.output
    assert "TV-L1 fast, ±20 px" in flowkit("status", "out").stdout
    assert flowkit(*command).exit_code == 0  # the store knows its preset
    refused = flowkit(*command, "--preset", "paper")
    assert refused.exit_code == 1
    assert "flow.tvl1.scale_step: 0.5 ≠ 0.8" in refused.stderr


def test_help_says_what_each_preset_is_for(flowkit):
    text = " ".join(flowkit("extract", "--help").stdout.split())
    assert "--preset [paper|accurate|fast] Optical-flow preset: paper (as in the papers" in text


def test_a_store_of_one_preset_refuses_another_and_says_the_difference(
    flowkit, tmp_path, make_clip
):
    make_clip(tmp_path / "a.mp4", frames=3)
    first = flowkit("extract", "a.mp4", "--store", "out", "--preset", "fast", *SMALL)
    assert first.exit_code == 0, first.output
    make_clip(tmp_path / "b.mp4", frames=3)
    refused = flowkit("extract", "b.mp4", "--store", "out", "--preset", "paper", *SMALL)
    assert refused.exit_code == 1
    assert "warps" in refused.stderr
    assert "median_side" in refused.stderr
    assert list(Store(tmp_path / "out")) == ["a.mp4"]
    assert flowkit("extract", "b.mp4", "--store", "out", *SMALL).exit_code == 0  # as it was chosen
    assert list(Store(tmp_path / "out")) == ["a.mp4", "b.mp4"]


def test_upscale_has_a_former_name(flowkit, tmp_path, make_clip):
    make_clip(tmp_path / "a.mp4", frames=2, width=64, height=48)
    for name in ("--upscale", "--upsize"):
        result = flowkit(
            "extract", "a.mp4", "--store", name, "--short-side", "60", name, "--workers", "0"
        )
        assert result.exit_code == 0, result.output
        assert Store(tmp_path / name)["a.mp4"].height == 60
    assert "--upsize" not in flowkit("extract", "--help").stdout


def test_pixels_that_are_not_square_are_counted(flowkit, tmp_path, make_clip, shared_data):
    make_clip(tmp_path / "square.mp4")
    clip = shared_data / "clips" / "demo.mp4"
    command = ("extract", clip, "square.mp4", "--short-side", "24", "--fps", "1", "--workers", "0")
    result = flowkit(*command, "--streams", "rgb", "--store", "S", "--square-pixels")
    assert result.exit_code == 0, result.output
    assert "1  extracted videos with non-square pixels" in result.stdout
    assert "not square but" not in result.stdout
    video = Store(tmp_path / "S")["demo.mp4"]
    assert (video.width, video.height) == (40, 24)
    assert "short side 24, square pixels" in flowkit("status", "S").stdout
    kept = flowkit(*command, "--streams", "rgb", "--store", "T")
    assert "1  extracted videos with non-square pixels" in kept.stdout
    assert "demo.mp4: its pixels are not square but 64:51 and stay so" in kept.stdout
    assert json.loads(flowkit(*command, "--store", "U", "--json").stdout)["non_square"] == 1

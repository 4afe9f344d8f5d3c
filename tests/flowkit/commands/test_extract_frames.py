"""`flowkit extract --frames`, folders of images as files, and `--from-store` as typed."""

import json

import cv2
import numpy as np
import pytest
import simplejpeg
from click.testing import CliRunner

from flowkit.cli import main
from flowkit.store import Store

SMALL = ("--size", "32x32", "--workers", "0")


@pytest.fixture
def flowkit(tmp_path, monkeypatch):
    """``flowkit("extract", …)`` in an empty folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("FLOWKIT_DATA", raising=False)

    def run(*arguments):
        return CliRunner().invoke(main, [str(argument) for argument in arguments])

    return run


def write_frames(folder, count=4, seed=0, extension=".png"):
    folder.mkdir(parents=True)
    coarse = np.random.default_rng(seed).integers(0, 256, (5, 6, 3), np.uint8)
    picture = cv2.resize(coarse, (48, 40))
    for t in range(count):
        cv2.imwrite(str(folder / f"{t + 1:05}{extension}"), np.roll(picture, t, 1))
    return folder


def test_frames(flowkit, tmp_path, make_clip):
    write_frames(tmp_path / "v" / "train" / "run" / "a")
    write_frames(tmp_path / "v" / "test" / "jump" / "b", seed=1)
    make_clip(tmp_path / "v" / "test" / "jump" / "c.mp4")
    command = ("--frame-rate", "12", "--store", "S", "--json", *SMALL)
    result = flowkit("extract", "--frames", "v", *command)
    assert result.exit_code == 0, result.output
    summary = json.loads(result.stdout)
    assert (summary["extracted"], summary["warned"]) == (2, [])
    store = Store(tmp_path / "S")
    assert list(store) == ["test/jump/b", "train/run/a"]
    assert store["train/run/a"].fps == 12
    assert [label.name for label in store["test/jump/b"].labels] == ["jump"]
    assert store.subsets() == {"test": 1, "train": 1}
    # --videos finds the file, too.
    summary = json.loads(flowkit("extract", "--videos", "v", *command).stdout)
    assert (summary["extracted"], summary["done_before"]) == (1, 2)
    assert flowkit("preview", "S", "train/run/a").exit_code == 0
    assert "3 with 17 frames" in flowkit("status", "S").stdout
    assert flowkit("verify", "S", "--deep").exit_code == 0


def test_a_folder_as_a_file(flowkit, tmp_path):
    write_frames(tmp_path / "one" / "v.1", count=11)
    result = flowkit("extract", "one/v.1", "--store", "S", *SMALL)
    assert result.exit_code == 0, result.output
    assert "25 frames per second are assumed" in " ".join(result.stdout.split())
    assert Store(tmp_path / "S")["v.1"].num_frames == 11
    for option in ("--videos", "--frames"):
        result = flowkit("extract", option, "one/v.1", "--store", "T", *SMALL)
        assert result.exit_code == 2
        assert "holds the images of one video" in result.stderr
        assert "a store can be made of this video alone: flowkit extract" in result.stderr
        assert not (tmp_path / "T").exists()


def test_a_dataset_of_frame_folders(flowkit, tmp_path):
    """Jester and Something-Something are distributed as folders of JPEGs."""
    data = tmp_path / "data" / "motion8"
    for number in (7, 8):
        write_frames(data / "videos" / str(number), seed=number, extension=".jpg")
    (data / "annotations").mkdir()
    (data / "annotations" / "train.csv").write_text("id,label\n7,left\n8,up\n9,up\n")
    (tmp_path / "datasets.yaml").write_text(
        "gestures:\n"
        "  title: Gestures\n"
        "  format: motion8\n"
        "  videos: [motion8/videos]\n"
        "  annotations: [motion8/annotations]\n"
        "  subsets: [train]\n"
        "  recipe:\n"
        "    resize: {mode: none}\n"
        "    rgb: {keep: true}\n"
        "    flow: {}\n"
    )
    result = flowkit(
        "extract", "--dataset", "gestures", "--frame-rate", 12, "--json", "--workers", 0
    )
    assert result.exit_code == 0, result.output
    summary = json.loads(result.stdout)
    assert (summary["extracted"], summary["missing"]) == (2, ["9"])
    video = Store(tmp_path / "stores" / "gestures")["8"]
    assert [label.name for label in video.labels] == ["up"]
    assert video.rgb_bytes(2) == (data / "videos" / "8" / "00003.jpg").read_bytes()
    assert "or the bytes of frame folders" in flowkit("status", "stores/gestures").stdout


def test_keep_jpegs(flowkit, tmp_path):
    folder = write_frames(tmp_path / "v", extension=".jpg")
    picture = np.zeros((40, 48, 3), np.uint8)
    (folder / "00005.jpg").write_bytes(simplejpeg.encode_jpeg(picture, 99))
    common = ("extract", "v", "--workers", 0, "--no-resize", "--frame-rate", 9)
    assert flowkit(*common, "--store", "S", "--keep-jpegs").exit_code == 0
    assert flowkit(*common, "--store", "T").exit_code == 0
    kept, encoded = (Store(tmp_path / name)["v"] for name in "ST")
    files = [path.read_bytes() for path in sorted(folder.iterdir())]
    assert [kept.rgb_bytes(t) == files[t] for t in range(5)] == [True] * 4 + [False]
    assert [encoded.rgb_bytes(t) == files[t] for t in range(5)] == [False] * 5
    assert [kept.flow_bytes(t) == encoded.flow_bytes(t) for t in range(4)] == [True] * 4
    refused = flowkit(*common, "--store", "T", "--keep-jpegs")
    assert refused.exit_code == 1
    assert "rgb.keep: False ≠ True" in refused.stderr


def test_from_store(flowkit, tmp_path, make_store):
    make_store(streams=("rgb",), root=tmp_path / "S")
    command = ("extract", "--from-store", "S", "--preset", "fast", "--workers", 0)
    result = flowkit(*command, "--subset", "test", "--json")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["extracted"] == 1
    result = flowkit(*command, "--streams", "flow", "--store", "S")
    assert result.exit_code == 0, result.output
    assert "2  videos extracted" in result.stdout
    assert "1  videos done before" in result.stdout
    assert "TV-L1 fast from the stored RGB" in flowkit("status", "S").stdout
    assert flowkit("verify", "S", "--deep").exit_code == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--store", "T"), "leave out --store"),
        (("--streams", "rgb,flow"), "expected --streams flow, got rgb,flow"),
        (("--audio",), "expected --streams flow, got flow,audio"),
        (("--videos", "v"), "got several of them"),
        (("--update",), "--update and --frame-rate have no effect"),
        (("--subset", "tset"), "the annotations have test, train"),
    ],
)
def test_from_store_with_other_options(flowkit, tmp_path, make_store, arguments, said):
    make_store(streams=("rgb",), root=tmp_path / "S")
    (tmp_path / "v").mkdir()
    result = flowkit("extract", "--from-store", "S", *arguments)
    assert result.exit_code == 2, result.output
    assert said in result.stderr
    assert Store(tmp_path / "S").recipe.flow is None


def test_from_no_store(flowkit, tmp_path):
    result = flowkit("extract", "--from-store", "nowhere")
    assert result.exit_code == 1
    assert "found no store.json" in result.stderr

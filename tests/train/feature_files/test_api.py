"""Features from Python: `train.compute_features` writes a folder, `train.FeatureFiles` reads it."""

import json

import numpy as np
import pytest
from click.testing import CliRunner

import train
from flowkit.errors import CorruptError, RecipeError, UsageError
from flowkit.recipe import Resize, RGBRecipe, StoreRecipe
from flowkit.store import Store, create_or_open, rebuild_index
from tests.train.feature_files.conftest import read_files
from train.commands.features import features
from train.feature_files.request import apply_convention, choose_windows, describe_unused_settings
from train.feature_files.request_options import RequestOptions
from train.features import weight_checks

SETTINGS = {"size": (40, 32), "crop_size": 32, "preset": "fast", "batch": 4, "device": "cpu",
            "workers": 0, "progress": False}  # fmt: skip


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """Weight files of a ResNet-18 of RGB, and one of single flow fields."""
    import torch

    folder, files = tmp_path_factory.mktemp("weights"), {}
    for stream, channels in {"rgb": 3, "flow": 2}.items():
        torch.manual_seed(channels)
        network = weight_checks.make_feature_backbone("resnet18", in_channels=channels)
        files[stream] = folder / f"{stream}.pth"
        torch.save(network.state_dict(), files[stream])
    return files


@pytest.fixture(scope="module")
def videos(tmp_path_factory, make_clip):
    folder = tmp_path_factory.mktemp("videos")
    for number, name in enumerate(["a.mp4", "b.mp4"]):
        make_clip(folder / name, 5 + 2 * number, seed=number)
    return folder


@pytest.fixture(scope="module")
def feats(tmp_path_factory, videos, weights):
    """Features of every 2nd frame of both streams."""
    out = tmp_path_factory.mktemp("out") / "feats"
    summary = train.compute_features(
        out, videos, model="resnet18", weights=weights, stride=2, **SETTINGS
    )
    assert (summary.computed, summary.rows) == (2, 7)
    return out


def test_the_files_are_those_of_the_command(tmp_path, feats, videos, weights):
    done = CliRunner().invoke(
        features,
        ["--videos", str(videos), "--out", str(tmp_path / "out"), "--model", "resnet18",
         "--weights", f"rgb={weights['rgb']}", "--weights", f"flow={weights['flow']}", "--stride",
         "2", "--resize", "40x32", "--size", "32", "--preset", "fast", "--batch", "4", "--device",
         "cpu", "--workers", "0"],
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    assert read_files(tmp_path / "out") == read_files(feats)


def test_features_are_read_by_id(feats):
    files = train.FeatureFiles(feats)
    assert (files.ids, list(files), len(files)) == (["a.mp4", "b.mp4"],) * 2 + (2,)
    assert files.streams == ("rgb", "flow")
    assert "a.mp4" in files and "c.mp4" not in files
    rows = files["b.mp4"]
    assert (rows.shape, rows.dtype) == ((4, 1024), np.float32)
    assert isinstance(rows, np.memmap) and not rows.flags.writeable
    assert np.array_equal(rows, np.load(feats / "b.npy"))
    assert np.array_equal(files.read("b.mp4", "flow", check=True), rows[:, 512:])
    assert files.read_info("b.mp4")["frames"] == 7
    expected = [[0, 0.04], [0.08, 0.12], [0.16, 0.2], [0.24, 0.28]]
    np.testing.assert_allclose(files.read_times("b.mp4"), expected)


def test_separate_files_are_read_side_by_side(tmp_path, feats, videos, weights):
    train.compute_features(
        tmp_path / "out", videos, model="resnet18", weights=weights, stride=2, separate=True,
        **SETTINGS,
    )  # fmt: skip
    files, expected = train.FeatureFiles(tmp_path / "out"), train.FeatureFiles(feats)
    assert (tmp_path / "out" / "a.flow.npy").exists()
    assert np.array_equal(files["a.mp4"], expected["a.mp4"])
    flow = files.read("a.mp4", "flow")
    assert isinstance(flow, np.memmap)
    assert np.array_equal(flow, expected.read("a.mp4", "flow"))


def test_what_is_not_there_is_said(tmp_path, feats):
    files = train.FeatureFiles(feats)
    with pytest.raises(
        UsageError, match=r"no features of 'c\.mp4'; it has those of a\.mp4, b\.mp4"
    ):
        files["c.mp4"]
    with pytest.raises(UsageError, match="no features of audio, only rgb, flow"):
        files.read("a.mp4", "audio")
    with pytest.raises(UsageError, match="no folder of feature files"):
        train.FeatureFiles(tmp_path)


def copy_folder(feats, tmp_path):
    import shutil

    return shutil.copytree(feats, tmp_path / "copy")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda f: f.joinpath("a.npy").unlink(), r"a\.npy is missing: compute the features again"),
        (lambda f: f.joinpath("a.npy").write_bytes(b""), r"a\.npy is damaged"),
        (
            lambda f: f.joinpath("a.npy").write_bytes(f.joinpath("a.npy").read_bytes()[:-9]),
            r"a\.npy is damaged",
        ),
        (
            lambda f: np.save(f / "a.npy", np.zeros((2, 1024), np.float32)),
            r"expected float32 \(3, 1024\), as the JSON file says, got float32 \(2, 1024\)",
        ),
        (lambda f: f.joinpath("a.json").write_text("{"), r"a\.json is damaged"),
    ],
    ids=["missing", "empty", "short", "shape", "json"],
)
def test_damaged_files_are_errors(tmp_path, feats, damage, message):
    folder = copy_folder(feats, tmp_path)
    damage(folder)
    with pytest.raises(CorruptError, match=message):
        train.FeatureFiles(folder)["a.mp4"]


def test_a_changed_value_is_found_when_it_is_asked_for(tmp_path, feats):
    folder = copy_folder(feats, tmp_path)
    content = bytearray((folder / "a.npy").read_bytes())
    content[-1] ^= 1
    (folder / "a.npy").write_bytes(content)
    files = train.FeatureFiles(folder)
    assert files["a.mp4"].shape == (3, 1024)
    with pytest.raises(CorruptError, match="its values do not have the digest"):
        files.read("a.mp4", check=True)
    files.read("b.mp4", check=True)


def test_other_json_files_of_the_folder_are_not_read(tmp_path, feats):
    folder = copy_folder(feats, tmp_path)
    (folder / "annotations.json").write_text(json.dumps({"database": {}}))
    (folder / "list.json").write_text("[1]")
    assert train.FeatureFiles(folder).ids == ["a.mp4", "b.mp4"]


def test_the_videos_of_a_store_and_one_stream(tmp_path, make_store, weights):
    root = make_store(["a", "b"], frames=6, width=40, height=32)
    options = {"model": "resnet18", "device": "cpu", "workers": 0, "progress": False,
               "crop_size": 32}  # fmt: skip
    summary = train.compute_features(
        tmp_path / "out", store=root, weights=weights["flow"], stride=3, **options
    )
    assert summary.computed == 2
    files = train.FeatureFiles(tmp_path / "out")
    assert (files.streams, files["a"].shape) == (("flow",), (2, 512))
    assert files.read_info("a")["recipe"]["source"] == "store"
    with pytest.raises(RecipeError, match="--stride was 3 and is now 2"):
        train.compute_features(
            tmp_path / "out", store=root, weights=weights["flow"], stride=2, **options
        )
    for setting in ({"fps": 5}, {"frame_rate": 5}, {"backend": "numba"}, {"bound": 0.0}):
        words = f"{next(iter(setting))} has an effect only with videos, not with a store"
        with pytest.raises(UsageError, match=words):
            train.compute_features(
                tmp_path / "x", store=root, weights=weights, **setting, **options
            )
    train.compute_features(  # as if they were not given
        tmp_path / "out", store=root, weights=weights["flow"], stride=3, fps=None, keep_size=False,
        **options,
    )  # fmt: skip
    assert Store(root).recipe.features == {}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "expected either videos or store="),
        ({"videos": "x", "store": "y"}, "expected either videos or store="),
        ({"videos": [], "model": "resnet18"}, "videos is empty"),
        ({"store": "y", "labels": "l.csv"}, "labels choose videos of a folder"),
        ({"videos": "v", "stide": 4}, "compute_features has no setting 'stide'"),
        ({"videos": "v", "size": 256}, r"size is \(width, height\) in pixels.*; got 256"),
        ({"videos": "v", "size": (256,)}, r"size is \(width, height\) in pixels"),
    ],
)
def test_wrong_arguments(tmp_path, arguments, message):
    with pytest.raises(UsageError, match=message):
        train.compute_features(tmp_path / "out", **{"model": "resnet18", **arguments})
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"preset": "fastt"}, "unknown flow preset 'fastt'; did you mean 'fast'"),
        (
            {"size": (9, 9), "keep_size": True},
            "^size, short_side and keep_size exclude one another",
        ),
        ({"square_pixels": True, "size": (9, 9)}, "only with short_side or keep_size"),
    ],
)
def test_messages_call_settings_as_python_does(tmp_path, videos, weights, settings, message):
    with pytest.raises(UsageError, match=message):
        train.compute_features(
            tmp_path / "out", videos, model="resnet18", weights=weights, workers=0, progress=False,
            **settings,
        )  # fmt: skip


def test_a_convention_gives_what_is_not_given(tmp_path):
    options = RequestOptions(out=tmp_path, convention="thumos14", stride=0, separate=False)
    applied = apply_convention(options)
    assert (applied.window, applied.stride, applied.resize) == (16, 0, "340x256")
    assert applied.separate is False
    with pytest.raises(UsageError, match="--stride 0"):  # not that of the convention instead
        choose_windows(applied, has_clips=True)
    stored = apply_convention(RequestOptions(convention="thumos14", store=tmp_path))
    assert (stored.fps, stored.resize, stored.stride) == (None, None, 4)
    kept = apply_convention(RequestOptions(convention="thumos14", short_side=128))
    assert (kept.short_side, kept.resize) == (128, None)


def test_what_a_store_does_not_take_from_a_convention_is_said(tmp_path):
    size, convention = Resize(mode="exact", width=340, height=256), "activitynet"
    for fps, resize, missing in (
        (None, size, "without 25 frames/s of --convention"),
        (25.0, Resize(mode="none"), "without frames of 340x256 pixels of --convention"),
        (None, Resize(mode="none"), "without 25 frames/s and frames of 340x256 pixels"),
        (25.0, size, None),
    ):
        store = tmp_path / f"{fps} {resize.mode}"
        create_or_open(store, StoreRecipe(fps=fps, resize=resize, rgb=RGBRecipe()))
        rebuild_index(store)
        note = describe_unused_settings(RequestOptions(convention=convention, store=store))
        assert note is None if missing is None else missing in str(note)
    assert describe_unused_settings(RequestOptions(store=tmp_path)) is None
    assert describe_unused_settings(RequestOptions(convention="activitynet")) is None

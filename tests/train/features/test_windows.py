"""Features of windows in a store: the rows of feature files, as a stream."""

from dataclasses import replace

import numpy as np
import pytest
from click.testing import CliRunner
from rich.console import Console

from flowkit.datasets.feature_sets import FeatureSetDataset
from flowkit.errors import RecipeError, UsageError
from flowkit.extraction.stored_flow import locate_stored_videos
from flowkit.recipe import FeatureRecipe, StoreRecipe
from flowkit.store import Store, read_header
from flowkit.store.integrity.verify import verify
from flowkit.store.status import describe_features
from train.commands.features import features
from train.feature_files import FileOptions, FileRequest, extract_feature_files
from train.feature_files.folder import FeatureFolder
from train.feature_files.windows import WindowSampling
from train.features import NetworkOptions, Options, extract_features

QUIET = Console(quiet=True)
HERE = Options(workers=0, device="cpu", batch=8)
CLIPS = {"network__backbone": "p3d", "network__blocks": "[1, 1, 1, 1]", "network__width": 4,
         "data__clip": "{length: 4, stride: 2}", "iterations": 0,
         "testing__controls": "[]"}  # fmt: skip


@pytest.fixture
def clips(begin, finish):
    """A finished run of 3-D networks of both streams."""
    return str(finish(begin("clips", **CLIPS)).path)


def run(store, options, name="x", **changes):
    return extract_features(store, name, options, replace(HERE, **changes), QUIET)


def compute_files(store, out, options, windows):
    """Compute feature files of the same windows, and return their arrays by id."""
    request = FileRequest(
        out=out,
        networks={options.stream: replace(options, window_stride=None)},
        windows=windows,
        frames=Store(store).recipe,
        store=store,
    )
    here = FileOptions(workers=0, device="cpu", batch=8)
    extract_feature_files(locate_stored_videos(store), request, here, QUIET)
    folder = FeatureFolder(out)
    return {id: np.load(out / f"{folder.name_files(id)}.npy") for id in Store(store).ids}


@pytest.mark.parametrize(
    ("stream", "length", "step", "stride"),
    [("rgb", 4, 1, 3), ("flow", 4, 2, 1), ("flow", 6, 1, 6)],
)
def test_windows_of_clips_are_the_rows_of_feature_files(
    make_store, clips, tmp_path, stream, length, step, stride
):
    store = make_store([f"v{n}" for n in range(4)], root=tmp_path / "s", frames=5)
    options = NetworkOptions(
        model=clips, stream=stream, clip_length=length, clip_stride=step, crops="centre",
        window_stride=stride,
    )  # fmt: skip
    windows = WindowSampling(length=length, step=step, stride=stride)
    expected = compute_files(store, tmp_path / "out", options, windows)
    summary = run(store, options)
    opened = Store(store)
    for id in opened.ids:
        video = opened[id]
        np.testing.assert_allclose(video.features("x"), expected[id], rtol=2**-10, atol=1e-4)
        starts = video.vectors("features/x", "position")
        assert starts.tolist() == windows.list_starts(video.num_frames).tolist()
    assert summary.rows == sum(map(len, expected.values()))
    assert summary.padded == [
        id for id in opened.ids if windows.is_too_short(opened[id].num_frames)
    ]


def test_windows_of_images_start_at_each_strideth_frame(make_store, finished, tmp_path):
    store = make_store(["a", "b"], root=tmp_path / "s", frames=9)
    options = NetworkOptions(
        model=str(finished.path), stream="flow", crops="centre", window_stride=4
    )
    expected = compute_files(store, tmp_path / "out", options, WindowSampling(length=1, stride=4))
    run(store, options, batch=2)  # several batches a video
    opened = Store(store)
    for id in opened.ids:
        np.testing.assert_allclose(opened[id].features("x"), expected[id], rtol=2**-9, atol=1e-4)
    assert opened[opened.ids[0]].vectors("features/x", "position").tolist() == [0, 4, 8]


def test_streams_of_rgb_and_flow_have_equal_rows_of_every_crop(make_store, clips, tmp_path):
    store = make_store(["a"], root=tmp_path / "s", frames=6)
    for stream in ("rgb", "flow"):
        run(store, NetworkOptions(model=clips, stream=stream, crops="three", clip_stride=1,
                                  window_stride=2), stream)  # fmt: skip
    for video in map(Store(store).__getitem__, ["a"]):
        rows = {
            column: [video.vectors(f"features/{stream}", column).tolist() for stream in
                     ("rgb", "flow")]
            for column in ("position", "view")
        }  # fmt: skip
        assert rows["position"][0] == rows["position"][1] == [0] * 3 + [2] * 3
        assert rows["view"][0] == rows["view"][1] == [*range(3)] * 2


def test_sets_of_windows_are_read_and_described(make_store, clips, tmp_path):
    store = make_store(["a", "b", "c"], root=tmp_path / "s", frames=8)
    options = NetworkOptions(model=clips, stream="rgb", crops="centre", window_stride=2)
    run(store, options)
    dataset = FeatureSetDataset(store, "test", {"rgb": "x"})
    assert [len(dataset[k]["rgb"]) for k in range(len(dataset))] == [
        len(Store(store)[id].features("x")) for id in Store(store).subset("test")
    ]
    shown = describe_features(Store(store).recipe.features["x"])
    assert shown.endswith("windows of 4 every 2 frames, centre")
    with pytest.raises(RecipeError, match=r"features\.x\.window_stride: 2 ≠ 3"):
        run(store, replace(options, window_stride=3))
    with pytest.raises(RecipeError, match=r"features\.x\.window"):
        run(store, replace(options, window_stride=None, positions=0))
    assert run(store, options).done_before == 3
    assert not verify(store, deep=True).problems


def test_videos_shorter_than_a_window_are_left_out_if_the_run_is_strict(
    make_store, clips, tmp_path
):
    store = make_store(["a", "b"], root=tmp_path / "s", frames=5)
    options = NetworkOptions(
        model=clips, stream="flow", crops="centre", clip_length=6, clip_stride=1, window_stride=6
    )
    summary = run(store, options, strict=True)
    assert (summary.computed, summary.padded, summary.without_features) == (1, [], 1)
    assert [(lack.id, lack.kind) for lack in summary.lacking] == [("a", "shorter-than-window")]
    assert "it has 4 flow fields, and a window needs more" in summary.lacking[0].reason
    assert run(store, options).padded == ["a"]


def test_windows_need_flow_to_the_next_frame(make_store, clips, tmp_path):
    store = make_store(["a"], root=tmp_path / "s", step=2)
    options = NetworkOptions(model=clips, stream="flow", window_stride=2)
    with pytest.raises(UsageError, match=r"has step 2; windows need flow to the next frame"):
        run(store, options)
    assert not read_header(store).recipe.features


def test_recipes_without_windows_are_written_as_before():
    values = {"source": "rgb", "model": "net", "weights": "ab", "dimension": 2, "positions": 0}
    written = StoreRecipe(features={"x": FeatureRecipe(**values)}).to_dict()["features"]["x"]
    assert not {"window", "window_stride"} & written.keys()
    recipe = StoreRecipe(features={"x": FeatureRecipe(**values, window=16, window_stride=4)})
    assert recipe.to_dict()["features"]["x"]["window_stride"] == 4
    assert StoreRecipe.from_dict(recipe.to_dict()) == recipe


@pytest.mark.parametrize(
    "wrong", [{"window": 4}, {"window_stride": 4}, {"window": -1, "window_stride": 1},
              {"window": 4, "window_stride": 4, "positions": 3}],
)  # fmt: skip
def test_recipes_of_half_a_window_are_refused(wrong):
    values = {"source": "rgb", "model": "net", "weights": "ab", "dimension": 2, "positions": 0}
    with pytest.raises(UsageError, match="window"):
        FeatureRecipe(**(values | wrong))


def invoke(store, *arguments):
    return CliRunner().invoke(
        features, ["--store", str(store), "--name", "x", "--workers", "0", "--device", "cpu",
                   *map(str, arguments)],
    )  # fmt: skip


def test_the_command_stores_windows(store, weight_file, clips):
    weights = weight_file()
    done = invoke(store.path, "--model", "resnet18", "--weights", f"rgb={weights}", "--size", 32,
                  "--window", 1, "--stride", 4, "--limit", 1)  # fmt: skip
    assert done.exit_code == 0, done.output
    recipe = read_header(store.path).recipe.features["x"]
    assert (recipe.positions, recipe.window, recipe.window_stride) == (0, 1, 4)
    assert recipe.crops == "centre"
    done = CliRunner().invoke(
        features,
        ["--store", str(store.path), "--name", "y", "--workers", "0", "--model", clips, "--stream",
         "flow", "--window", "12", "--clip-stride", "1", "--limit", "1", "--crops", "three"],
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    assert "shorter than a window (the last image is repeated)" in done.output
    recipe = read_header(store.path).recipe.features["y"]
    assert (recipe.clip_length, recipe.window, recipe.window_stride) == (12, 12, 12)
    assert recipe.crops == "three"


def test_windows_have_the_frame_stride_of_the_network(store, clips):
    done = invoke(store.path, "--model", clips, "--stream", "rgb", "--window", 4, "--limit", 1)
    assert done.exit_code == 0, done.output
    recipe = read_header(store.path).recipe.features["x"]
    assert (recipe.clip_length, recipe.clip_stride) == (4, 2)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--stride", 0], "--stride 0: the number of frames"),
        (["--window", 0], "--window 0: the number of frames"),
        (["--window", 4, "--placement", "centred"], "in a store, windows lie inside the video"),
        (["--window", 4, "--positions", 3], "give either --positions, which are evenly spaced, or"),
        (["--window", 4, "--clip-length", 4], "--clip-length and --window both"),
        (["--stride", 4, "--clip-length", 4], "--clip-length has no effect with --stride, where"),
        (["--window", 4, "--last-frame", "drop"], "--last-frame has an effect only with --out"),
    ],
)
def test_options_that_do_not_fit_windows_are_refused(store, clips, arguments, message):
    done = invoke(store.path, "--model", clips, "--stream", "rgb", *arguments)
    assert done.exit_code != 0
    assert message in str(done.exception)
    assert not read_header(store.path).recipe.features


def test_a_stream_has_the_features_of_one_network(store, weight_file):
    done = invoke(store.path, "--model", "resnet18", "--weights", f"rgb={weight_file()}",
                  "--weights", f"flow={weight_file(channels=10)}", "--stride", 4)  # fmt: skip
    assert "--name stores the features of one network" in str(done.exception)

"""The frames beside the attention weights of feature sets."""

from types import SimpleNamespace

import numpy as np
import pytest

from flowkit.recipe import FeatureRecipe, LogMelRecipe
from flowkit.store import Video
from train.flash_mnist.store import DATASET
from train.report.figures import FIGURES, Source
from train.report.figures.drawing import NotApplicable
from train.report.figures.weights import (
    MAX_COLUMNS,
    choose_columns,
    list_feature_frames,
    render_frames,
)


@pytest.mark.parametrize(
    ("source", "times", "fps", "expected"),
    [
        ("rgb", None, 5.0, [0, 2, 4, 9]),
        ("audio", None, 2.0, [0, 3, 7, 9]),  # patch 2 begins after 1.92 s
        ("audio", [0, 1, 1.91, 1.93, 3, 4, 5, 6, 7, 8], 0.0, [0, 2, 4, 9]),
        ("audio", [0, 2.5, -0.5, 1.9, 3, 4, 5, 6, 7, 8], 0.0, [0, 0, 4, 9]),  # wrong timestamps
        ("audio", None, 0.0, []),
    ],
)
def test_the_frame_of_a_patch_of_audio_is_that_of_its_time(source, times, fps, expected):
    made = FeatureRecipe(source=source, model="net", weights="a", dimension=3, positions=0)
    video = SimpleNamespace(
        streams=("rgb", "features/x"), fps=fps, num_frames=10,
        vectors=lambda stream, column: np.array([0, 2, 4, 20], np.int32),
        read_stored_times=lambda: times,
        times=lambda: np.arange(10) / fps if times is None else np.array(times),
    )  # fmt: skip
    recipe = SimpleNamespace(features={"x": made}, audio=LogMelRecipe())
    store = type("OneVideo", (), {"recipe": recipe, "__getitem__": lambda self, row: video})()
    assert list_feature_frames(store, 0, "x") == expected


def test_many_features_are_shown_by_some_of_them(make_kind, videos, monkeypatch):
    weights = np.arange(3000, dtype=np.float32)[None]
    _, images, shown = choose_columns("a", list(range(3000)), weights)
    assert shown.shape == (1, MAX_COLUMNS) and images == shown[0].tolist()
    assert choose_columns("a", [], weights)[1] == []
    monkeypatch.setattr("train.report.figures.weights.MAX_COLUMNS", 2)
    (drawing, *_) = FIGURES["weights"](Source(run=make_kind("CATNet"), store=videos))
    assert drawing.figure.get_size_inches()[0] < 2
    assert "At most 2 evenly spaced features of a video are shown" in drawing.caption


def test_only_frames_that_are_shown_are_decoded(make_kind, videos, monkeypatch):
    read, decoded = Video.rgb, []
    monkeypatch.setattr("train.report.figures.weights.MAX_COLUMNS", 2)
    monkeypatch.setattr(Video, "rgb", lambda video, t: decoded.append(t) or read(video, t))
    shown = (videos.index.id(int(videos.subset("test")[0])),)
    FIGURES["weights"](Source(run=make_kind("CATNet"), store=videos, videos=shown))
    assert len(decoded) == 4  # two of each of two modalities, which have four features


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"seed": 0}'])
def test_damaged_facts_of_flash_mnist_give_no_frames(monkeypatch, tmp_path, content):
    monkeypatch.setattr("train.report.figures.weights.read_digits", lambda folder, split: None)
    (tmp_path / "S.json").write_text(content)
    assert render_frames(SimpleNamespace(path=tmp_path / "S"), "train/0000/000") == []


def test_missing_digits_of_flash_mnist_are_named(monkeypatch, tmp_path):
    """A store may have been built with --data."""
    monkeypatch.setenv("FLOWKIT_DATA", str(tmp_path))
    computed = {"look": [("v", [], np.ones((1, 5), np.float32))]}
    monkeypatch.setattr("train.report.figures.weights.compute_weights", lambda source: computed)
    store = SimpleNamespace(location="S", header=SimpleNamespace(dataset=DATASET))
    with pytest.raises(
        NotApplicable, match=rf"S\.json and the digits of MNIST in {tmp_path}/mnist"
    ):
        FIGURES["heaviest"](Source(run=None, store=store))

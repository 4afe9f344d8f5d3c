"""Classification of a video file by runs of all kinds of networks."""

import json
import shutil
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from flowkit.errors import UsageError
from flowkit.interchange.export import export
from flowkit.interchange.imports import import_folders
from flowkit.recipe import FeatureRecipe
from flowkit.store import Store, create_or_open, read_annotations, rebuild_index, write_annotations
from train.evaluation.predict import (
    Prediction,
    choose_scoring,
    combine_scores,
    draw_prediction,
    predict_video,
)
from train.loop.checkpoint import write_tensors
from train.loop.session import train
from train.recipe.recipe import change_recipe
from train.runs.phases import list_phases
from train.runs.run import Run, RunError, Settings, create_run
from train.tasks.registry import find_task

SETTINGS = Settings(threads=1, workers=0)
ALONE = {"iterations": 0, "testing__controls": "[]", "training__epochs": 1}
KINDS = {
    "frames together": {
        "network__pyramid": {"taps": ["res3_1", "res4_1"]},
        "testing__segments": 40,
        "testing__crops": "three",
    },
    "clips": {
        "network__backbone": "p3d",
        "network__blocks": "[1, 1, 2, 1]",
        "data__clip": "{length: 4}",
        "data__size": 24,
    },
    "inflated clips, many labels": {
        "network__backbone": "i3d",
        "network__stem": 8,
        "network__width": 2,
        "data__clip": "{length: 4}",
        "labels": "many",
        "testing__views": "max",
    },
    "clips of RGB in [-1, 1]": {
        "network__backbone": "i3d_inception",
        "network__width": 2,
        "data__clip": "{length: 9}",
        "data__size": 193,
        "testing__segments": 1,
        "testing__crops": "centre",
    },
    "frames together, many labels": {
        "network__pyramid": {"taps": ["features"]},
        "labels": "many",
        "testing__over": "softmax",
    },
}


@pytest.fixture(scope="module")
def video(make_clip, tmp_path_factory):
    return make_clip(tmp_path_factory.mktemp("videos") / "a.mp4", frames=7, width=32, height=24)


@pytest.mark.parametrize("kind", KINDS)
def test_a_video_by_each_kind_of_network(begin, store, video, kind):
    run = begin(**ALONE, **KINDS[kind])
    assert train(run, store, SETTINGS, lambda text: None)
    prediction = predict_video(run, video, SETTINGS, "numba")
    chances = prediction.probabilities
    assert ((chances > 0) & (chances < 1)).all()
    if run.recipe.labels == "one":
        assert chances.sum() == pytest.approx(1, abs=1e-5)
    else:
        assert abs(chances.sum() - 1) > 1e-3
    draw_prediction(prediction, "a")


def test_many_labels_are_sigmoids_of_the_mean_of_both_streams(begin, store):
    run = begin(**ALONE, **KINDS["frames together"], labels="many")
    scores = {
        "rgb": (np.array([1.0, -2.0], np.float32), np.array([0.7, 0.1], np.float32)),
        "flow": (np.array([3.0, 0.0], np.float32), np.array([0.9, 0.5], np.float32)),
    }
    chances = combine_scores(run, choose_scoring(run), scores)
    np.testing.assert_allclose(chances, 1 / (1 + np.exp([-2.0, 1.0])), rtol=1e-6)
    run.recipe = change_recipe(run.recipe, {"testing.over": "softmax"})
    np.testing.assert_allclose(
        combine_scores(run, choose_scoring(run), scores), [0.8, 0.3], rtol=1e-6
    )


def test_a_store_may_have_features_beside_what_the_run_looks_at(tiny, store, tmp_path, video):
    net = FeatureRecipe(source="rgb", model="net", weights="ab", dimension=2, positions=0)
    create_or_open(store.path, replace(store.recipe, features={"net": net}))
    store = Store(store.path)
    run = create_run(tmp_path / "run", tiny(**ALONE, **KINDS["frames together"]), store)
    assert train(run, store, SETTINGS, lambda text: None)
    assert predict_video(run, video, SETTINGS, "numba").probabilities.sum() == pytest.approx(1)


@pytest.mark.parametrize("stream", ["rgb", "flow"])
def test_a_run_on_a_store_of_one_stream(tiny, make_store, tmp_path, video, stream):
    store = Store(make_store([f"v{n}" for n in range(12)], tmp_path / stream, streams=(stream,)))
    changes = {**ALONE, **KINDS["frames together"], "streams": f"[{stream}]"}
    run = create_run(tmp_path / "run", tiny(**changes), store)
    assert train(run, store, SETTINGS, lambda text: None)
    prediction = predict_video(run, video, SETTINGS, "numba")
    assert prediction.probabilities.sum() == pytest.approx(1, abs=1e-5)
    assert len(prediction.frames) == (3 if stream == "rgb" else 0)
    assert len(prediction.flows) == (3 if stream == "flow" else 0)
    draw_prediction(prediction, "a")


@pytest.mark.parametrize("stream", ["rgb", "flow"])
def test_a_run_on_imported_flow(tiny, store, tmp_path, video, stream):
    """A network of RGB needs no flow, and imported flow cannot be computed for another network."""
    export(store, tmp_path / "folders", "denseflow")
    import_folders(tmp_path / "folders", tmp_path / "imported")
    table = read_annotations(store.path)
    assert table is not None
    write_annotations(tmp_path / "imported", table)
    rebuild_index(tmp_path / "imported")
    imported = Store(tmp_path / "imported")
    changes = {**ALONE, **KINDS["frames together"], "streams": f"[{stream}]"}
    run = create_run(tmp_path / "run", tiny(**changes), imported)
    assert train(run, imported, SETTINGS, lambda text: None)
    if stream == "flow":
        with pytest.raises(RunError, match="was trained on imported flow, and nothing records"):
            predict_video(run, video, SETTINGS)
        return
    prediction = predict_video(run, video, SETTINGS)
    assert prediction.probabilities.sum() == pytest.approx(1, abs=1e-5)
    assert (len(prediction.frames), len(prediction.flows)) == (3, 0)


def test_a_first_ctrl_c_interrupts_the_prediction(begin, store, video, monkeypatch):
    """Extraction catches it, and returns what it has done so far."""
    run = begin(**ALONE, **KINDS["frames together"])
    assert train(run, store, SETTINGS, lambda text: None)
    stopped = SimpleNamespace(interrupted=True, failed=[])
    monkeypatch.setattr("train.evaluation.predict.extract", lambda *words, **options: stopped)
    with pytest.raises(KeyboardInterrupt):
        predict_video(run, video, SETTINGS, "numba")


def test_names_with_dollar_signs_are_no_formulas(tmp_path):
    image = np.zeros((4, 4, 3), np.uint8)
    names = ("a$x_$", "b$_$", "c")
    drawn = draw_prediction(
        Prediction(names, np.array([0.2, 0.5, 0.3], np.float32), [image], []), "a$x_$.mp4"
    )
    drawn.savefig(tmp_path / "a.png")
    shown = [label.get_text() for label in drawn.axes[-1].get_yticklabels()]
    assert shown == ["a$x_$", "c", "b$_$"]


def test_images_for_a_run_on_a_store_with_a_frame_rate(tiny, store, tmp_path):
    run = create_run(tmp_path / "run", tiny(**ALONE, **KINDS["frames together"]), store)
    facts = json.loads((run.path / "run.json").read_text())
    facts["store_recipe"]["fps"] = 10.0
    (run.path / "run.json").write_text(json.dumps(facts))
    run = Run(run.path)
    for phase in list_phases(run.recipe):
        network = find_task(run.recipe).build_network(phase)
        run.folder(phase.name).mkdir(parents=True)
        write_tensors(run.folder(phase.name) / "weights.pt", network.state_dict())
    (tmp_path / "images").mkdir()
    for t in range(1, 9):
        Image.new("RGB", (32, 24), (20 * t, 0, 0)).save(tmp_path / f"images/{t:05}.jpg")
    with pytest.raises(UsageError, match="--frame-rate"):
        predict_video(run, tmp_path / "images", SETTINGS, "numba")
    prediction = predict_video(run, tmp_path / "images", SETTINGS, "numba", frame_rate=20)
    assert prediction.probabilities.sum() == pytest.approx(1, abs=1e-5)


def test_a_folder_of_several_videos_is_refused(begin, store, video, tmp_path):
    for name in ("a.mp4", "b.mp4"):
        shutil.copy(video, tmp_path / name)
    run = begin(**ALONE, **KINDS["frames together"])
    assert train(run, store, SETTINGS, lambda text: None)
    with pytest.raises(UsageError, match=r"expected one video, found 2 \(a.mp4, b.mp4\); name one"):
        predict_video(run, tmp_path, SETTINGS, "numba")

"""Training on feature sets: from a store of features to scores, and what goes wrong before."""

import json
import math
import re
from dataclasses import replace
from typing import get_args

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from flowkit.annotations.table import Annotation, AnnotationTable, Label
from flowkit.cli import main
from flowkit.errors import StoreError, UsageError
from flowkit.recipe import FeatureRecipe, Resize, StoreRecipe
from flowkit.store import Store, read_annotations, rebuild_index, write_annotations
from flowkit.store.format.header import create_or_open
from flowkit.store.format.schema import Fingerprint, VideoMeta
from flowkit.store.writer import ShardWriter
from models.weights.pretrained import read_weights
from train.api import predict
from train.evaluation.evaluate import evaluate
from train.evaluation.predict import predict_stored, predict_video
from train.evaluation.scores import load_scores
from train.loop.losses import measure_loss, weigh_classes
from train.loop.session import StopCondition, train
from train.recipe.recipe import change_recipe, read_recipe
from train.recipe.set_section import ATTENTION_METHODS, Method
from train.report.figures.drawing import Source
from train.report.figures.weights import (
    choose_features,
    compute_weights,
    draw_heaviest,
    draw_weights,
)
from train.runs.phases import list_phases
from train.runs.run import Run, RunError, Settings, create_run
from train.tasks.registry import find_task
from train.tasks.sets import FeatureSetTask
from train.web.attention_kind import find_kind

SETTINGS = Settings(threads=1, workers=0)
DIMENSIONS = {"look": 6, "sound": 3}
TINY = {
    "dataset": "tiny",
    "classes": "2",
    "sets.streams": "{look: look}",
    "sets.dimensions": "6",
    "sets.units": "4",
    "sets.dropout": "0.2",
    "training.batch": "8",
    "training.epochs": "3",
    "training.rate": "0.05",
}
BOTH = {
    "sets.streams": "{look: look, sound: sound}",
    "sets.dimensions": "{look: 6, sound: 3}",
    "sets.may_be_empty": "[sound]",
    "sets.sample": "{look: 3, sound: 2}",
}


def silent(text):
    pass


def describe(id, number, name, rows):
    mark = Fingerprint(size=number, mtime_ns=number, digest=f"{number:032x}")
    return VideoMeta(
        id=id, source=f"videos/{number}.mp4", fingerprint=mark, streams=(f"features/{name}",),
        frames=rows, fps=0, width=0, height=0,
    )  # fmt: skip


def write_features(root, videos=24, weights="aa", dimension=6, silent_from=20, splits=False):
    """Sets of 5 vectors, one of which tells the class; sounds of 1 to 3, none from a video on."""
    made = {
        "look": FeatureRecipe(
            source="synthetic", model="net", weights=weights, dimension=dimension, positions=5
        ),
        "sound": FeatureRecipe(source="audio", model="ear", weights="bb", dimension=3, positions=0),
    }
    if splits:
        made = {f"look_{n}": replace(made["look"], weights=f"a{n}") for n in (1, 2)}
    recipe = StoreRecipe(resize=Resize(mode="none"), features=made)
    create_or_open(root, recipe, "tiny")
    rng = np.random.default_rng(1)
    for name, own in made.items():
        writer = ShardWriter(root, f"features/{name}", recipe=recipe, dimension=own.dimension)
        for number in range(videos):
            rows = 5 if name != "sound" else 0 if number >= silent_from else 1 + number % 3
            vectors = rng.normal(0, 0.3, (rows, own.dimension)).astype(np.float32)
            if name != "sound":
                vectors[number % 5, number % 2] += 4
            writer.begin(f"v{number:02}")
            writer.append_rows(vectors, np.arange(rows), np.zeros(rows, np.int16))
            writer.end(describe(f"v{number:02}", number, name, rows))
        writer.close()
    parts = [("train",) if n % 3 else ("test",) for n in range(videos)]
    if splits:
        parts = [("train1", "test2") if n % 4 < 2 else ("test1", "train2") for n in range(videos)]
    rows = tuple(
        Annotation(f"v{n:02}", (Label(("even", "odd")[n % 2]),), parts[n]) for n in range(videos)
    )
    write_annotations(root, AnnotationTable(("even", "odd"), rows))
    rebuild_index(root)
    return Store(root)


@pytest.fixture
def features(tmp_path):
    return write_features(tmp_path / "features")


def make_recipe(**changes):
    own = {key.replace("__", "."): str(value) for key, value in changes.items()}
    return change_recipe(read_recipe("flash_mnist_clusters"), {**TINY, **own})


def begin(path, store, changes=(), **more):
    recipe = change_recipe(make_recipe(**more), dict(changes))
    find_task(recipe).check(store)
    return create_run(path, recipe, store)


def weights_of(run):
    return read_weights(run.folder("sets") / "weights.pt")


def test_a_run_learns_and_is_evaluated(features, tmp_path):
    run = begin(tmp_path / "run", features, training__epochs=30)
    assert train(run, features, SETTINGS, silent)
    results = evaluate(run, features, SETTINGS)
    assert results == {"sets": {"top1": 1.0, "top5": 1.0, "mean_class": 1.0, "n": 8}}
    scores = load_scores(run.path / "scores" / "sets.npz")
    assert scores.ids == tuple(features.index.id(int(row)) for row in features.subset("test"))
    lines = (run.folder("sets") / "steps.jsonl").read_text().splitlines()
    assert len(lines) == 60  # 16 videos, batches of 8
    assert all(math.isfinite(json.loads(line)["loss"]) for line in lines)
    assert (
        find_task(run.recipe).count_costs()["network"]["parameters"]
        == 4 * 6 + 2 * 4 + 2 * (4 * 6) + 2
    )


@pytest.mark.parametrize("optimizer", ["sgd", "rmsprop", "adam"])
def test_a_run_stopped_after_any_step_ends_with_the_same_bits(features, tmp_path, optimizer):
    changes = {**BOTH, "training.optimizer": optimizer, "training.balance": "true"}
    whole = begin(tmp_path / "whole", features, changes)
    assert train(whole, features, SETTINGS, silent)
    broken = begin(tmp_path / "broken", features, changes)
    sessions = 0
    while not train(broken, features, SETTINGS, silent, StopCondition(1)):
        sessions += 1
    assert sessions == 6  # 16 videos in batches of 8, 3 epochs
    a, b = weights_of(whole), weights_of(broken)
    assert a.keys() == b.keys()
    for name in a:
        assert torch.equal(a[name], b[name]) or a[name].isnan().all(), name
    first, second = ((run.folder("sets") / "steps.jsonl").read_text() for run in (whole, broken))
    assert first == second


def test_the_training_sets_mean_stands_for_no_sound_and_goes_with_the_weights(features, tmp_path):
    run = begin(tmp_path / "run", features, BOTH)
    assert train(run, features, SETTINGS, silent)
    vectors = [
        features[int(row)].features("sound").astype(np.float64) for row in features.subset("train")
    ]
    mean = np.concatenate(vectors).mean(0)
    np.testing.assert_allclose(weights_of(run)["mean.sound"], mean, atol=1e-4)
    assert weights_of(run)["mean.look"].isnan().all()
    assert evaluate(run, features, SETTINGS)["sets"]["n"] == 8


def test_a_run_starts_from_another_of_other_classes_but_for_the_classifier(features, tmp_path):
    before = begin(tmp_path / "before", features, seed=5)
    assert train(before, features, SETTINGS, silent)
    said = []
    run = begin(
        tmp_path / "run", features, sets__weights=before.folder("sets"), training__rate=1e-12
    )
    assert train(run, features, SETTINGS, said.append)
    assert "4 weights from" not in said[0] and "skipped: classifier.bias" in said[0]
    old, new = weights_of(before), weights_of(run)
    part = [name for name in old if name.startswith("parts.")]
    assert part
    for name in part:
        torch.testing.assert_close(new[name], old[name], atol=1e-6, rtol=0)
    assert not torch.allclose(new["classifier.weight"], old["classifier.weight"], atol=1e-3)


@pytest.mark.parametrize("method", get_args(Method))
@pytest.mark.parametrize("labels", ["one", "many"])
def test_every_method_trains_and_is_evaluated(features, tmp_path, method, labels):
    changes = {**BOTH, "sets.method": method, "labels": labels, "training.epochs": "1"}
    run = begin(tmp_path / "run", features, changes)
    assert train(run, features, SETTINGS, silent)
    [(name, row)] = evaluate(run, features, SETTINGS).items()
    assert (name, row["n"]) == ("sets", 8)
    # The figures and the page of flowkit view show attention where the modules have it.
    network = FeatureSetTask(run.recipe).build_network(list_phases(run.recipe)[0])
    assert hasattr(network.parts["look"], "attention") == (method in ATTENTION_METHODS)
    assert (find_kind(run).name == "sets") == (method in ATTENTION_METHODS)


def test_many_modalities_are_scored_as_their_sets_are_alone(features, tmp_path):
    """What stands in a batch beside a video changes its scores by rounding alone."""
    run = begin(tmp_path / "run", features, BOTH)
    assert train(run, features, SETTINGS, silent)
    evaluate(run, features, SETTINGS)
    scores = load_scores(run.path / "scores" / "sets.npz")
    [phase] = list_phases(run.recipe)
    task = FeatureSetTask(run.recipe)
    network = task.load_finished_network(run, phase)
    dataset = task.open_dataset(features, phase, "test")
    for index in range(8):
        with torch.no_grad():
            batch = dataset.batch([index])
            given = task.train_scores(network, batch, phase, torch.device("cpu"))["sets"]
        np.testing.assert_allclose(scores.logits[index], given[0], atol=1e-5)


def test_splits_have_features_of_their_own(tmp_path):
    store = write_features(tmp_path / "features", splits=True)
    run = begin(
        tmp_path / "run", store, splits="[1, 2]", sets__streams="{look: 'look_{split}'}",
        subsets="{train: 'train{split}', validate: 'test{split}', test: 'test{split}'}",
    )  # fmt: skip
    assert [phase.name for phase in run.list_unfinished_phases()] == [
        "split_1/sets",
        "split_2/sets",
    ]
    assert train(run, store, SETTINGS, silent)
    results = evaluate(run, store, SETTINGS)
    assert set(results) == {"split_1/sets", "split_2/sets", "mean/sets"}
    assert results["mean/sets"]["n"] == 24


def test_balance_weighs_classes_by_how_rare_they_are():
    labels = torch.tensor([0] * 6 + [2] * 2)
    weights = weigh_classes(labels, 4)
    torch.testing.assert_close(weights, torch.tensor([8 / 12, 0.0, 2.0, 0.0]))
    assert weights[labels].mean() == 1
    scores = torch.randn(8, 4)
    each = torch.nn.functional.cross_entropy(scores, labels, reduction="none")
    expected = (each[:6].mean() + each[6:].mean()) / 2  # classes count alike
    torch.testing.assert_close(measure_loss("one", scores, labels, weights), expected)


# --- what goes wrong ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"sets.streams": "{look: lok}"},
            "no features 'lok' for the modality look; it has look, sound",
        ),
        ({"sets.dimensions": "7"}, "have 6 dimensions, but .* expects 7 for look.*dimensions=6"),
        ({"sets.made_with": "{look: cc}"}, "by net with the weights aa, .* expects the weights cc"),
        ({"sets.streams": "{look: look, sound: sound}"}, "have 6 dim|dimensions"),
        ({**BOTH, "sets.may_be_empty": "[]"}, "empty"),
        (
            {**BOTH, "sets.may_be_empty": "[smell]"},
            "no modality 'smell'; valid names are look, sound",
        ),
        (
            {**BOTH, "sets.units": "{look: 3}"},
            "sets.units: expected a number of at least 1 for each of",
        ),
        ({"sets.units": "0"}, "sets.units: expected a number of at least 1"),
        ({"sets.streams": "{label: look}"}, "'label' cannot be a modality's name"),
        ({"sets.streams": "{a.b: look}"}, "'a.b' cannot be a modality's name"),
        ({"sets.streams": "{}"}, "expected one modality or more"),
        ({"sets.method": "flatten"}, "sets.sample: sets.method flatten"),
        ({"sets.method": "cluster"}, "sets.method"),
        ({"data.size": "16"}, "data is for images"),
        ({"network.width": "16"}, "network is for images"),
        ({"streams": "[flow]"}, "streams is for images and audio: leave it out with sets"),
        ({"phases": "{rgb: {epochs: 3}}"}, "no phase 'rgb'"),
        ({"training.only": "[fc]"}, "training.only is for backbones"),
        ({"training.groups": "tsn"}, "expected plain for feature sets"),
        ({"training.optimizer": "adamw"}, "training.optimizer"),
        ({"labels": "many", "training.balance": "true"}, "balance"),
        ({"sets.weights": "/nowhere/a"}, "no weights '/nowhere/a'"),
        ({"subsets.test": "tset"}, "tset"),
        ({"classes": "1"}, "classes"),
    ],
)
def test_what_does_not_go_together_leaves_no_run(features, tmp_path, changes, message):
    words = [w for key, value in {**TINY, **changes}.items() for w in ("--set", f"{key}={value}")]
    fixed = ["--store", str(features.path), "--run", str(tmp_path / "run"), "--device", "cpu"]
    result = CliRunner().invoke(main, ["train", "flash_mnist_clusters", *fixed, *words])
    assert result.exit_code != 0
    assert result.stderr.startswith("error: ") and result.stderr.count("\n") == 1, result.output
    assert re.search(message, result.stderr), result.output
    assert not (tmp_path / "run").exists()


def test_weights_of_another_network_are_refused(features, tmp_path):
    before = begin(tmp_path / "before", features, sets__units=3)
    assert train(before, features, SETTINGS, silent)
    with pytest.raises(UsageError, match=r"sets.weights.*wrong shape"):
        begin(tmp_path / "run", features, sets__weights=before.folder("sets"))


def test_features_of_other_weights_are_refused_naming_both(features, tmp_path):
    run = begin(tmp_path / "run", features)
    assert not train(run, features, SETTINGS, silent, StopCondition(1))
    other = write_features(tmp_path / "other", weights="dd")
    with pytest.raises(RunError, match=r"features/look .*weights: aa → dd"):
        train(run, other, SETTINGS, silent)
    assert train(run, features, SETTINGS, silent)
    with pytest.raises(RunError, match=r"features/look .*weights: aa → dd"):
        evaluate(run, other, SETTINGS)
    wide = write_features(tmp_path / "wide", dimension=8)
    with pytest.raises(RunError, match="dimension: 6 → 8"):
        evaluate(run, wide, SETTINGS)
    same = write_features(tmp_path / "same", videos=12)
    assert evaluate(run, same, SETTINGS)["sets"]["n"] == 4


def test_a_store_without_the_features_says_how_to_get_them(features, tmp_path, make_store):
    run = begin(tmp_path / "run", features)
    assert train(run, features, SETTINGS, silent)
    bare = make_store([f"v{n:02}" for n in range(6)], tmp_path / "bare")
    table = read_annotations(features.path)
    write_annotations(bare, replace(table, annotations=table.annotations[:6]))
    rebuild_index(bare)
    with pytest.raises(RunError, match=r"no features 'look'.*flowkit features --name look"):
        evaluate(run, Store(bare), SETTINGS)


# --- commands and figures -----------------------------------------------------------------------


def call(*words):
    result = CliRunner().invoke(main, [str(word) for word in words], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def test_commands_from_end_to_end(features, tmp_path):
    for name, units in (("run", "4"), ("other", "2")):
        values = {**TINY, **BOTH, "sets.units": units}
        words = [w for key, value in values.items() for w in ("--set", f"{key}={value}")]
        fixed = ["--store", features.path, "--run", tmp_path / name, "--device", "cpu"]
        call("train", "flash_mnist_clusters", *fixed, *words)
        said = call("evaluate", tmp_path / name, "--store", features.path, "--device", "cpu")
        # Not the paper's settings, so its 87.1 is not shown.
        assert "sets" in said and "classifier" in said and "87.10" not in said
    assert Run(tmp_path / "run").facts["sessions"][0]["workers"] == 0
    drawn = ["iterations", "parameters", "gains", "accuracies", "weights", "epochs"]
    said = call("report", tmp_path / "run", *drawn, "--store", features.path, "--against",
                tmp_path / "other", "--beside", tmp_path / "other")  # fmt: skip
    names = {path.name for path in (tmp_path / "run" / "figures").iterdir()}
    assert names == {
        "iterations.md", "parameters.md", "gains.png", "accuracies.png", "weights_look.png",
        "weights_sound.png", "epochs.png",
    }  # fmt: skip
    assert "| all " in said and "| network " in said
    heaviest = ["report", str(tmp_path / "run"), "heaviest", "--store", str(features.path)]
    refused = CliRunner().invoke(main, heaviest)
    assert refused.exit_code == 2 and "has no frames of the videos to show" in refused.output
    out = tmp_path / "p.png"
    top = json.loads(
        call("predict", tmp_path / "run", "v03", "--store", features.path, "-o", out, "--json")
    )
    scores = load_scores(tmp_path / "run" / "scores" / "sets.npz")
    expected = scores.softmax[scores.ids.index("v03")]
    assert [top["even"], top["odd"]] == pytest.approx(expected.tolist(), abs=1e-5)
    assert out.read_bytes()[:4] == b"\x89PNG"
    plain = tmp_path / "plain"
    said = call("predict", tmp_path / "run", "v03", "--store", features.path, "-o", plain)
    assert said.splitlines()[-1] == f"{plain}.png"
    assert (tmp_path / "plain.png").read_bytes()[:4] == b"\x89PNG"


def test_predict_needs_the_features_of_the_video_alone(tmp_path):
    """Another video of its subset may lack them, and the video may be in no subset."""
    store = write_features(tmp_path / "features", silent_from=99)
    run = begin(tmp_path / "run", store, training__epochs=1)
    assert train(run, store, SETTINGS, silent)
    expected = predict_stored(run, store, "v03", SETTINGS).probabilities
    mark = describe("lonely", 99, "sound", 1)  # a video of v03's subset, with sound alone
    writer = ShardWriter(store.path, "features/sound", recipe=store.recipe, dimension=3)
    writer.begin("lonely")
    writer.append_rows(np.ones((1, 3), np.float32), [0], [0])
    writer.end(mark)
    writer.close()
    parts = {f"v{n:02}": ("train",) if n % 3 else ("test",) for n in range(24) if n != 5}
    rows = [Annotation(id, (Label("even"),), part) for id, part in parts.items()]
    rows += [Annotation("lonely", (Label("even"),), ("test",)), Annotation("v05", (), ())]
    rows.sort(key=lambda row: row.id)
    write_annotations(store.path, AnnotationTable(("even", "odd"), tuple(rows)))
    rebuild_index(store.path)
    store = Store(store.path)
    np.testing.assert_allclose(
        predict_stored(run, store, "v03", SETTINGS).probabilities, expected, rtol=1e-5
    )
    assert predict_stored(run, store, "v05", SETTINGS).probabilities.sum() == pytest.approx(1)
    with pytest.raises(StoreError, match="video 'lonely' has no features/look: compute them"):
        predict_stored(run, store, "lonely", SETTINGS)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["v03"], "was trained on features, which a video file does not have: extract them"),
        (["v03", "--store", "S", "--backend", "auto"], "--backend has an effect only with a video"),
        (["v03", "-o", "{tmp}/x.mp4"], "x.mp4: .mp4 is no kind of image that can be written; exp"),
        (["v03", "-o", "{tmp}/no/x.png"], "there is no folder {tmp}/no; create it first"),
        (["v03", "-o", "{tmp}"], "-o {tmp} is a folder; name an image file in it"),
    ],
)
def test_what_predict_refuses_before_it_computes(features, tmp_path, words, message):
    begin(tmp_path / "run", features)
    words = [word.format(tmp=tmp_path) for word in words]
    result = CliRunner().invoke(main, ["predict", str(tmp_path / "run"), *words])
    assert result.exit_code in (1, 2)
    assert message.format(tmp=tmp_path) in " ".join(result.output.split())


def test_what_cannot_be_classified(features, tmp_path):
    run = begin(tmp_path / "run", features)
    with pytest.raises(UsageError, match="backend has an effect only with a video file"):
        predict(run, "v03", store=features, backend="numba")
    with pytest.raises(RunError, match=r"trained on features.*--store S"):
        predict_video(run, tmp_path / "a.mp4", SETTINGS)
    with pytest.raises(UsageError, match="has no video 'v99'"):
        predict_stored(run, features, "v99", SETTINGS)
    with pytest.raises(RunError, match="not finished"):
        predict_stored(run, features, "v03", SETTINGS)


def test_pictures_are_the_frames_that_features_are_of(make_store, tmp_path):
    ids = [f"v{number:02}" for number in range(12)]
    root = make_store(ids, tmp_path / "both", frames=9)
    made = FeatureRecipe(source="rgb", model="net", weights="aa", dimension=6, positions=3)
    recipe = replace(Store(root).recipe, features={"look": made})
    create_or_open(root, recipe, "tiny")
    writer = ShardWriter(root, "features/look", recipe=recipe, dimension=6)
    for number, id in enumerate(ids):
        writer.begin(id)
        writer.append_rows(np.eye(3, 6, dtype=np.float32), [1, 4, 7], [0, 0, 0])
        writer.end(describe(id, number, "look", 3))
    writer.close()
    rebuild_index(root)
    store = Store(root)
    run = begin(tmp_path / "run", store, training__epochs=1)
    assert train(run, store, SETTINGS, silent)
    source = Source(run=run, store=store, videos=("v03",))
    [(name, pictures, weights)] = compute_weights(source)["look"]
    assert (name, weights.shape) == ("v03", (4, 3))
    np.testing.assert_allclose(weights.sum(1), 1, atol=1e-6)
    for picture, t in zip(pictures, (1, 4, 7), strict=True):
        np.testing.assert_array_equal(picture, store[store.find("v03")].rgb(t))
    assert [drawing.name for drawing in draw_heaviest(source)] == ["heaviest_look"]
    assert [drawing.name for drawing in draw_weights(source)] == ["weights_look"]


def test_places_of_highest_middle_and_lowest_weight():
    total = np.array([5, 1, 9, 3, 7, 2, 8, 4, 6, 0, 10, 11], np.float32)
    places = choose_features(total)
    assert [total[place] for column, place in places if column < 3] == [11, 10, 9]
    assert [total[place] for column, place in places if 3 <= column < 7] == [7, 6, 5, 4]
    assert [total[place] for column, place in places if column >= 7] == [3, 2, 1, 0]
    few = choose_features(np.array([1.0, 2.0], np.float32))
    assert sorted(place for _, place in few) == [0, 1]
    four = choose_features(np.array([4.0, 3.0, 2.0, 1.0], np.float32))
    assert sorted(four) == [(0, 0), (1, 1), (2, 2), (10, 3)]  # the lowest one is not in the middle
    eight = choose_features(-np.arange(8, dtype=np.float32))
    assert [place for column, place in eight if 3 <= column < 7] == [3]

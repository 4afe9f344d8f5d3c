"""Training on feature sets: from a store of features to scores, and what goes wrong before."""

import json
import math

import numpy as np
import pytest
import torch

from flowkit.annotations.table import Annotation, AnnotationTable, Label
from flowkit.recipe import FeatureRecipe, Resize
from flowkit.recipe import Recipe as StoreRecipe
from flowkit.store import Store
from flowkit.store.header import create_or_open
from flowkit.store.index import rebuild_index, write_annotations
from flowkit.store.schema import Fingerprint, VideoMeta
from flowkit.store.writer import ShardWriter
from models.pretrained import read_weights
from train.evaluate import count_costs, evaluate
from train.recipe import change_recipe, read_recipe
from train.run import Settings, create_run
from train.scores import load_scores
from train.session import check_start, train

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


def write_features(root, videos=24, weights="aa", dimension=6, silent_from=20):
    """Sets of 5 vectors, one of which tells the class; sounds of 1 to 3, none from a video on."""
    made = {
        "look": FeatureRecipe(
            source="synthetic", model="net", weights=weights, dimension=dimension, positions=5
        ),
        "sound": FeatureRecipe(source="audio", model="ear", weights="bb", dimension=3, positions=0),
    }
    recipe = StoreRecipe(resize=Resize(mode="none"), features=made)
    create_or_open(root, recipe, "tiny")
    rng = np.random.default_rng(1)
    for name, own in made.items():
        writer = ShardWriter(root, f"features/{name}", recipe=recipe, dimension=own.dimension)
        for number in range(videos):
            rows = 5 if name == "look" else 0 if number >= silent_from else 1 + number % 3
            vectors = rng.normal(0, 0.3, (rows, own.dimension)).astype(np.float32)
            if name == "look":
                vectors[number % 5, number % 2] += 4
            writer.begin(f"v{number:02}")
            writer.append_rows(vectors, np.arange(rows), np.zeros(rows, np.int16))
            writer.end(
                VideoMeta(
                    id=f"v{number:02}",
                    source=f"{number}.mp4",
                    fingerprint=Fingerprint(size=number, mtime_ns=number, digest=f"{number:032x}"),
                    streams=(f"features/{name}",),
                    frames=rows,
                    fps=0,
                    width=0,
                    height=0,
                )
            )
        writer.close()
    rows = tuple(
        Annotation(f"v{n:02}", (Label(("even", "odd")[n % 2]),), ("train" if n % 3 else "test",))
        for n in range(videos)
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
    check_start(recipe, store)
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
    assert count_costs(run.recipe)["network"]["parameters"] == 4 * 6 + 2 * 4 + 2 * (4 * 6) + 2


@pytest.mark.parametrize("optimizer", ["sgd", "rmsprop", "adam"])
def test_a_run_stopped_after_any_step_ends_with_the_same_bits(features, tmp_path, optimizer):
    changes = {**BOTH, "training.optimizer": optimizer, "training.balance": "true"}
    whole = begin(tmp_path / "whole", features, changes)
    assert train(whole, features, SETTINGS, silent)
    broken = begin(tmp_path / "broken", features, changes)
    sessions = 0
    while not train(broken, features, SETTINGS, silent, steps=1):
        sessions += 1
    assert sessions == 5
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

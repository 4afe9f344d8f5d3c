import dataclasses

import pytest

from flowkit.store import Store
from flowkit.store.split import split_store
from train.evaluation.cautions import FEW, list_cautions
from train.evaluation.scores import list_metrics
from train.recipe.recipe import read_recipe


@pytest.mark.parametrize(
    ("videos", "note"),
    [
        (2, "2 test videos: each of them counts 50 percentage"),
        (80, "80 test videos: each of them counts 1.25 percentage"),
        (FEW, None),
        (5000, None),
    ],
)
def test_few_test_videos(begin, store, videos, note):
    notes = list(list_cautions(begin(), store, {"rgb": {"n": videos}, "flow": {"n": videos}}))
    assert [text.startswith(note) for text in notes] == ([True] if note else [])


def test_a_store_that_was_divided_again(begin, store):
    """Videos that were trained on may be test videos now."""
    run, results = begin(), {"rgb": {"n": FEW}}
    assert list(list_cautions(run, store, results)) == []
    split_store(store.path, {"train": 0.5, "test": 0.5}, seed=1, overwrite=True)
    divided = Store(store.path)
    assert set(divided.subset("test")) & set(store.subset("train"))
    (note,) = list_cautions(run, divided, results)
    assert "another split" in note
    del run.facts["training_videos"]  # a run of an older version
    assert list(list_cautions(run, divided, results)) == []


def test_a_store_without_the_training_subset(begin, store):
    run = begin()
    split_store(store.path, {"test": 1}, overwrite=True)
    (note,) = list_cautions(run, Store(store.path), {"rgb": {"n": FEW}})
    assert "another split" in note


def test_top_5_is_for_more_than_five_classes():
    recipe = read_recipe("motion8_cma")
    assert "top5" in list_metrics(dataclasses.replace(recipe, classes=6))
    assert list(list_metrics(dataclasses.replace(recipe, classes=5))) == ["top1", "mean_class"]

"""Values of a recipe that are left to the store."""

import numpy as np
import pytest
import yaml

from flowkit.errors import UsageError
from train.recipe.recipe import list_recipes, read_draft

GENERAL = [name for name in list_recipes() if not read_draft(name).is_complete]


@pytest.mark.parametrize("name", GENERAL)
def test_the_quick_variant_is_valid_and_leaves_the_rest_to_the_store(name):
    draft = read_draft(name)
    quick = draft.make_quick()
    assert quick.store_keys.keys() == draft.store_keys.keys()
    assert quick.optional_weights == {}
    assert quick.values["training"]["epochs"] < draft.values["training"]["epochs"]
    assert quick.values["reported"] == {}


def test_a_recipe_without_a_quick_variant():
    with pytest.raises(UsageError, match="kinetics_cma: the recipe has no section quick"):
        read_draft("kinetics_cma").make_quick()


def test_python_values_are_taken_as_they_are():
    changes = {
        "data.jitter": "[256, 320]", "training.steps": (1, 2), "training.clip": None,
        "training.rate": 1e-05, "training.epochs": "30",
        "title": "'a: b'", "seed": np.int64(3), "training.weight_decay": np.float64(1e-06),
    }  # fmt: skip
    recipe = read_draft("kinetics_cma").change(changes).complete()
    assert recipe.training.steps == (1, 2) and recipe.training.clip is None
    assert recipe.training.rate == 1e-05 and recipe.training.epochs == 30
    assert (recipe.title, recipe.seed) == ("a: b", 3)
    assert type(recipe.training.weight_decay) is float
    with pytest.raises(UsageError, match=r"network.weights.rgb: input should be a .*, got None"):
        read_draft("kinetics_cma").change({"network.weights": {"rgb": None}})


@pytest.mark.parametrize(("key", "text"), [("training.steps", "[30,60"), ("title", "a: b: c")])
def test_text_that_is_not_yaml(key, text):
    with pytest.raises(UsageError, match=f"{key}: .* is not valid YAML") as error:
        read_draft("kinetics_cma").change({key: text})
    assert "\n" not in str(error.value)


def test_stated_values_replace_those_of_the_store():
    draft = read_draft("clusters").change({"sets.streams.rgb": "tsn", "classes": "3"})
    assert draft.values["sets"]["streams"] == {"rgb": "tsn"}
    assert not {"sets.streams", "classes"} & draft.store_keys.keys()
    again = draft.change({"classes": "from store"})
    assert "classes" in again.store_keys


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("training.clip", "from store", "training.clip cannot come from the store.*training.batch"),
        ("classes", "from store, at most 3", "classes: expected 'from store', without a limit"),
        ("data.size", "from the store", "data.size: expected 'from store' or 'from store, at most"),
        ("classes", "From stor", "classes: expected 'from store', got 'From stor'"),
        ("data.size", "store", "data.size: input should be a valid integer"),
        ("quick", 3, "quick: expected values by dotted key, got 3"),
    ],
)
def test_wrong_words(tmp_path, key, value, message):
    path = tmp_path / "own.yaml"
    *sections, last = key.split(".")
    content = {"extends": "two_stream", sections[0] if sections else last: value}
    if sections:
        content = {"extends": "two_stream", sections[0]: {last: value}}
    path.write_text(yaml.safe_dump(content))
    with pytest.raises(UsageError, match=message):
        read_draft(path)


def test_found_values_complete_a_recipe():
    draft = read_draft("audio")
    found = {
        "dataset": "mine", "classes": 3, "labels": "one", "training.batch": 4,
        "training.rate": 0.01,
        "subsets": {"train": "a", "validate": "b", "test": "c"},
    }  # fmt: skip
    with pytest.raises(UsageError, match=r"takes network\.weights\.audio from the store"):
        draft.complete(found)
    scratch = draft.complete({**found, "network.weights.audio": None})
    assert (scratch.classes, scratch.network.weights) == (3, {})
    trained = draft.complete({**found, "network.weights.audio": "vgg16"})
    assert trained.network.weights == {"audio": "vgg16"}
    assert trained.subsets.validate == "b"

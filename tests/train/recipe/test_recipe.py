from dataclasses import fields

import pytest
import yaml

from flowkit.errors import UsageError
from train.recipe.recipe import (
    AudioRecipe,
    FeatureSetRecipe,
    ImageRecipe,
    change_recipe,
    format_recipe,
    list_recipes,
    read_draft,
    read_recipe,
)  # fmt: skip
from train.runs.phases import list_phases, list_scorings
from train.tasks.backbones import make_backbone

CMA = "kinetics_cma"


@pytest.mark.parametrize("name", list_recipes())
def test_every_recipe_reads_and_is_read_back(name, tmp_path):
    draft = read_draft(name)
    path = tmp_path / "recipe.yaml"
    path.write_text(format_recipe(draft))
    again = read_draft(path)
    assert (again.values, again.quick) == (draft.values, draft.quick)
    recipe = draft.make_example()
    names = {phase.name for phase in list_phases(recipe)}
    scored = {name for scoring in list_scorings(recipe) for name in scoring.phases.values()}
    assert scored == names


def test_the_defaults_are_the_papers():
    recipe = read_recipe(CMA)
    data, training, testing = recipe.data, recipe.training, recipe.testing
    assert (data.num_segments, data.flow_length, data.size) == (3, 5, 224)
    assert (training.epochs, training.batch, training.rate) == (30, 128, 0.01)
    assert (training.momentum, training.weight_decay, training.schedule) == (0.9, 5e-4, "plateau")
    assert recipe.network.dropout == 0.7
    assert (testing.segments, testing.crops) == (25, "ten")


def test_a_wrong_key_names_the_nearest(tmp_path):
    path = tmp_path / "r.yaml"
    for place, key, near in [
        ((), "iteration", "iterations"),
        (("training",), "epoch", "epochs"),
        (("network",), "widht", "width"),
        (("subsets",), "valid", "validate"),
    ]:
        content = yaml.safe_load(format_recipe(read_recipe(CMA)))
        inner = content
        for name in place:
            inner = inner[name]
        inner[key] = 1
        path.write_text(yaml.safe_dump(content))
        with pytest.raises(UsageError, match=rf"unknown key .*{key}.*did you mean '{near}'"):
            read_recipe(path)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"training.rate": "fast"}, "training.rate.*'fast'"),
        ({"training.epochs": "0"}, "training.epochs.*greater than or equal to 1"),
        ({"streams": "[]"}, "expected rgb, flow or both"),
        ({"streams": "[flow]"}, "need both streams"),
        ({"splits": "[1, 2]"}, "splits need '{split}'"),
        ({"phases": "{rbg: {epochs: 3}}"}, "no phase 'rbg'; did you mean 'rgb'"),
        ({"phases.rgb": "{epoch: 3}"}, "unknown key 'epoch'; did you mean 'epochs'"),
        ({"training": "3"}, "training"),
        ({"trainig.epochs": "3"}, "no key 'trainig'.*did you mean 'training'"),
        (
            {"training.epochs.x": "3"},
            "training.epochs is a value without keys, so there is no 'training.epochs.x'",
        ),
        ({"data.clip.length": "3"}, r"data.clip is not set, so .*data.clip=\{length: …"),
        ({"network.depth": "51"}, "network.depth"),
        ({"network.dropout": "{rgb: 0.5}"}, "expected a number, or one for each of rgb, flow"),
        ({"network.weights": "{audio: vgg16}"}, "weights.audio is only for streams: .audio."),
        ({"testing.fusion": "{iter_3: [1, 2]}"}, "testing.fusion"),
    ],
)
def test_wrong_values_say_what_is_wrong(changes, reason):
    with pytest.raises(UsageError, match=reason):
        change_recipe(read_recipe(CMA), changes)


def test_a_single_branch_has_a_dropout_of_its_own():
    changes = {"iterations": "0", "testing.controls": "[]", "network.weights": "{}"}
    changes |= {"streams": "[flow]", "network.dropout": "{flow: 0.5}"}
    recipe = change_recipe(read_recipe(CMA), changes)
    assert make_backbone(recipe, "flow").dropout.p == 0.5
    assert make_backbone(recipe, "rgb").dropout.p == 0


def test_files_that_are_no_recipes(tmp_path):
    with pytest.raises(UsageError, match="no recipe 'kinetics_cm'; did you mean 'kinetics_cma'"):
        read_recipe("kinetics_cm")
    with pytest.raises(UsageError) as mistyped:
        read_recipe("two_streem")
    assert str(mistyped.value) == "no recipe 'two_streem'; did you mean 'two_stream'?"
    with pytest.raises(UsageError, match="cannot read"):
        read_recipe(tmp_path / "absent.yaml")
    path = tmp_path / "r.yaml"
    for text, reason in (("- 1", "keys and values"), ("title: a", "missing"), ("a: [", "cannot")):
        path.write_text(text)
        with pytest.raises(UsageError, match=reason):
            read_recipe(path)
    path.write_text("title: a\ntitle: b")
    with pytest.raises(UsageError, match="twice"):
        read_recipe(path)


def test_a_phase_has_its_own_training():
    recipe = change_recipe(
        read_recipe(CMA),
        {"phases": "{flow: {epochs: 60}, iterations: {rate: 0.002}, iter_2: {epochs: 7}}"},
    )
    assert recipe.get_training("rgb") == recipe.training
    assert recipe.get_training("flow").epochs == 60
    assert recipe.get_training("iter_1").rate == 0.002
    assert (recipe.get_training("iter_2").epochs, recipe.get_training("iter_2").rate) == (7, 0.002)


def test_splits_name_their_subsets():
    recipe = read_recipe("ucf101_cma_transfer").for_split(2)
    assert (recipe.subsets.train, recipe.subsets.test) == ("train2", "test2")


@pytest.mark.parametrize(
    ("name", "kind", "absent"),
    [
        (CMA, ImageRecipe, {"sets"}),
        ("kinetics_audio_vgg16", AudioRecipe, {"sets", "iterations"}),
        (
            "flash_mnist_clusters",
            FeatureSetRecipe,
            {"streams", "iterations", "data", "network"},
        ),
    ],
)
def test_each_kind_has_its_own_fields_and_files_have_all_keys(name, kind, absent):
    recipe = read_recipe(name)
    assert type(recipe) is kind
    keys = yaml.safe_load(format_recipe(recipe)).keys()
    assert keys - {field.name for field in fields(recipe)} == absent


def test_changes_can_make_a_recipe_of_another_kind():
    changes = {"iterations": "0", "testing.controls": "[]", "streams": "[audio]"}
    changes |= {"network": "{backbone: vgg16}", "phases": "{}"}
    assert type(change_recipe(read_recipe(CMA), changes)) is AudioRecipe

"""The results of a paper belong to its settings: property tests over all recipes and keys."""

import json
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flowkit.errors import UsageError
from train.recipe.recipe import (
    change_recipe,
    drop_reported,
    keep_testing_rows,
    list_recipes,
    read_draft,
    read_recipe,
)
from train.recipe.reported import OWN_ROW, name_source
from train.recipe.sections import Training

DRAFTS = {name: read_draft(name) for name in list_recipes()}
WITH_RESULTS = [name for name, draft in DRAFTS.items() if draft.values["reported"]]
RGB, RANDOM = "kinetics_clusters_rgb", settings(
    max_examples=200, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True
)  # fmt: skip
# What decides nothing, as the docstring of train/recipe/reported.py says.
FREE = ("title", "paper", "needs", "choices", "seed", "testing.controls", "sets.made_with",
        "network.weights", "sets.weights")  # fmt: skip

CHANGES = [
    *(("sets.units", units) for units in (1, 8, 32, 128)),
    *(("sets.shifting", shifting) for shifting in (True, False)),
    *(("training.epochs", epochs) for epochs in (3, 30)),
]


def list_leaves(values, prefix=""):
    """The dotted keys of a recipe, and their values; lists and empty mappings are values."""
    for key, value in values.items():
        path = f"{prefix}{key}"
        if path in ("reported", "rows", "choices"):
            continue
        if isinstance(value, dict) and value and path != "network.weights":
            yield from list_leaves(value, f"{path}.")
        else:
            yield path, value


LEAVES = [(name, key) for name in WITH_RESULTS for key, _ in list_leaves(DRAFTS[name].values)]


def list_others(key, value):
    """Values that a key could be set to instead, of which some are invalid."""
    numbers = [1, 2, 3, 5, 7, 12, 16, 31, 0.25, 0.31, 8e-4, 2000]
    texts = {
        "network.backbone": ["vgg16", "bn_inception", "resnet"], "data.crops": ["random"],
        "testing.crops": ["centre", "ten", "three"], "testing.over": ["softmax"],
        "testing.views": ["max"], "training.schedule": ["constant", "plateau"],
        "training.optimizer": ["adam", "sgd"], "training.groups": ["tsn", "plain"],
        "sets.method": ["average", "catnet", "bilstm"], "sets.weighting": ["average", "fc2"],
        "sets.aggregation": ["summation"], "sets.takes": ["transformed"], "labels": ["many"],
        "network.pyramid.fusion": ["sum", "maximum"], "network.pyramid.energy": ["share"],
        "network.rgb_from": ["rgb"],
    }  # fmt: skip
    if key in texts:
        return texts[key]
    if isinstance(value, bool):
        return [not value]
    if isinstance(value, int | float):
        return [number for number in numbers if number != value]
    if isinstance(value, str):
        return [f"{value}_other", f"first 50% of {value}"]
    return [None, [], {}, [1], ["rgb"], ["flow"], [1, 2], [224, 256], {"rgb": 0.5, "flow": 0.25},
            {"length": 8}, {"odd": [1, 2]}, {"rgb": {"epochs": 3}}, 0.5, 3]  # fmt: skip


def find_settings(draft):
    """Every value of a recipe, except what the rule leaves free, as text."""
    flat = {k: v for k, v in list_leaves(draft.values) if k not in FREE}
    streams = (draft.values["sets"] or {"streams": {}})["streams"]
    ranges = {f"sets.{name}": streams for name in ("units", "sample", "test", "dimensions")}
    ranges["network.dropout"] = draft.values["streams"]
    for key, names in ranges.items():  # one number stands for all of them
        if key in flat:
            flat |= {f"{key}.{name}": flat[key] for name in names}
            del flat[key]
    return json.dumps(flat, sort_keys=True)


def list_allowed(draft):
    """The results of each row by its settings, found without the code that is tested."""
    allowed = {find_settings(draft): draft.values["reported"]}
    for row in draft.values["rows"].values():
        changed = draft.set_values({**row["set"], "reported": {}})
        allowed[find_settings(changed)] = row["reported"]
    return allowed


ALLOWED = {}


@given(st.sampled_from(LEAVES), st.data())
@RANDOM
def test_no_reported_value_survives_a_change_that_leaves_its_row(leaf, data):
    name, key = leaf
    draft = DRAFTS[name]
    value = dict(list_leaves(draft.values))[key]
    other = data.draw(st.sampled_from(list_others(key, value)))
    try:
        changed = draft.set_values({key: other})
    except UsageError:
        return
    allowed = ALLOWED.setdefault(name, list_allowed(draft))
    expected = allowed.get(find_settings(changed), {})
    if key in FREE:
        is_same_start = key != "network.weights" or {*(other or ())} == {*value}
        if key == "sets.weights":
            is_same_start = bool(value) == bool(other)
        expected = draft.values["reported"] if is_same_start else {}
    assert changed.values["reported"] == expected


@pytest.mark.parametrize("name", ["kinetics_cma", RGB, "ucf101_pyramid_inception_resnet_v2"])
def test_every_key_is_covered(name):
    """A value can be found that leaves the recipe, for most keys: the property is not empty."""
    left = 0
    for key, value in list_leaves(DRAFTS[name].values):
        for other in list_others(key, value):
            try:
                changed = DRAFTS[name].set_values({key: other})
            except UsageError:
                continue
            left += changed.values["reported"] == {}
            break
    assert left > 25


@given(st.lists(st.sampled_from(CHANGES), max_size=6))
@RANDOM
def test_results_depend_on_the_values_and_not_on_the_way_to_them(changes):
    one_by_one = DRAFTS[RGB]
    for key, value in changes:
        one_by_one = one_by_one.set_values({key: value})
    at_once = DRAFTS[RGB].set_values(dict(changes))
    assert one_by_one.values["reported"] == at_once.values["reported"]
    assert one_by_one.values["paper"] == at_once.values["paper"]
    final = {"sets.units": 128, "sets.shifting": True, "training.epochs": 30, **dict(changes)}
    if final["training.epochs"] == 3:
        assert at_once.values["reported"] == {}
    elif (final["sets.units"], final["sets.shifting"]) == (128, True):
        assert at_once.values["reported"] == DRAFTS[RGB].values["reported"]
        assert OWN_ROW not in at_once.values["rows"]
    else:
        assert len(at_once.values["reported"]["sets"]) == 1


@pytest.mark.parametrize(
    ("name", "changes", "kept"),
    [
        ("kinetics_cma", {"seed": 3}, True),
        ("kinetics_cma", {"title": "mine"}, True),
        ("kinetics_cma", {"network.weights.rgb": "folder/resnet50-other.pth"}, True),
        ("kinetics_cma", {"network.weights": {}}, False),
        ("kinetics_cma", {"network.weights.flow": "flow.pth"}, False),
        ("kinetics_cma", {"testing.controls": ["uniform"]}, True),
        ("kinetics_cma", {"testing.segments": 10}, False),
        ("kinetics_cma", {"dataset": "mine"}, False),
        ("kinetics_cma", {"classes": 10}, False),
        ("kinetics_cma", {"network.dropout": {"rgb": 0.7, "flow": 0.7}}, True),
        ("kinetics_cma", {"phases": {"flow": {"epochs": 3}}}, False),
        ("ucf101_i3d", {"splits": [1]}, False),
        (RGB, {"sets.units": 128}, True),
        (RGB, {"sets.streams": {"rgb": "other_features"}}, False),
        ("ucf101_catnet", {"sets.weights": "elsewhere/weights.pt"}, True),
        ("ucf101_catnet", {"sets.weights": ""}, False),
    ],
)
def test_what_decides(name, changes, kept):
    reported = DRAFTS[name].set_values(changes).values["reported"]
    assert reported == (DRAFTS[name].values["reported"] if kept else {})


def test_a_row_is_taken_with_its_results_and_left_by_another_change():
    draft = DRAFTS[RGB].take_row("N=32, no shifting")
    assert draft.values["reported"] == {"sets": (73.6,)}
    assert draft.values["paper"] == "Attention Clusters, Table 2 (N=32, no shifting)"
    assert draft.values["sets"]["units"] == 32
    assert draft.set_values({"seed": 1}).values["reported"] == {"sets": (73.6,)}
    left = draft.set_values({"training.epochs": 2})
    assert left.values["reported"] == {}
    assert left.values["paper"] == DRAFTS[RGB].values["paper"]
    other = draft.set_values({"sets.units": 64})
    assert other.values["reported"] == {"sets": (73.2,)}
    own = other.set_values({"sets.units": 128, "sets.shifting": True})
    assert own.values["reported"] == DRAFTS[RGB].values["reported"]
    assert OWN_ROW not in own.values["rows"]


def test_a_run_knows_the_rows_that_differ_in_test_settings():
    recipe = read_recipe("ucf101_pyramid_inception_resnet_v2")
    kept = keep_testing_rows(recipe)
    assert list(kept.rows) == ["30 frames in testing"]
    changed = change_recipe(kept, {"testing.segments": "30"})
    assert changed.reported["mean/fusion"] == (95.5,)
    assert change_recipe(changed, {"testing.segments": "25"}).reported == recipe.reported
    assert change_recipe(kept, {"testing.segments": "10"}).reported == {}
    assert change_recipe(drop_reported(kept), {"testing.segments": "30"}).reported == {}


def test_a_run_without_rows_loses_its_results_and_finds_them_again():
    old = replace(read_recipe("kinetics_cma"), rows={}, choices={})  # as earlier versions wrote it
    changed = change_recipe(old, {"testing.crops": "centre"})
    assert changed.reported == {}
    assert change_recipe(changed, {"testing.crops": "ten"}).reported == old.reported


def test_recipes_that_differ_in_texts_alone_are_equal():
    recipe = read_recipe("kinetics_cma")
    assert recipe == replace(recipe, title="", paper="", needs="", reported={}, rows={}, choices={})
    assert recipe != replace(recipe, seed=1)


def test_a_draft_whose_weights_are_not_here_has_no_results(tmp_path):
    path = tmp_path / "own.yaml"
    path.write_text(
        "extends: kinetics_cma\nnetwork: {weights: {rgb: resnet50 or random}}\n"
        "reported: {iter_1/rgb: [50.0]}\n"
    )
    draft = read_draft(path)
    key = "network.weights.rgb"
    assert draft.complete({key: "resnet50"}).reported
    assert draft.complete({key: None}).reported == {}


def test_results_without_a_paper_keep_having_none(tmp_path):
    path = tmp_path / "own.yaml"
    path.write_text("extends: kinetics_cma\npaper: ''\nreported: {iter_1/rgb: [50.0]}\n")
    values = read_draft(path).set_values({"seed": 1}).values
    assert (values["reported"], values["paper"]) == ({"iter_1/rgb": (50.0,)}, "")


def test_stated_results_are_kept_and_rows_cannot_be_set():
    own = DRAFTS[RGB].change({"training.epochs": "2", "reported": "{sets: [50.0]}"})
    assert (own.values["reported"], own.values["rows"]) == ({"sets": (50.0,)}, {})
    with pytest.raises(UsageError, match=r"rows belong to the file of a recipe.*--row"):
        DRAFTS[RGB].change({"rows.N=1.table": "3"})


@pytest.mark.parametrize(
    ("paper", "table", "expected"),
    [
        ("Attention Clusters, Table 1 (FC1)", "2", "Attention Clusters, Table 2 (a)"),
        ("Chi, Tian 2019, Tables 2 and 4", "1 and 4", "Chi, Tian 2019, Tables 1 and 4 (a)"),
        ("Chi, Tian 2019, the schedule of Table 1", "", "Chi, Tian 2019 (a)"),
        ("Du 2018, Tables 1(e)", "Fig. 3(b)", "Du 2018, Fig. 3(b) (a)"),
        ("Du 2018, Fig. 3", "2(a)", "Du 2018, Table 2(a) (a)"),
        ("A. Clusters, §5.2", "5", "A. Clusters, Table 5 (a)"),
        ("", "5", "Table 5 (a)"),
        ("", "", "a"),
    ],
)
def test_the_source_of_a_row(paper, table, expected):
    assert name_source(paper, table, "a") == expected


def test_every_setting_of_a_phase_decides():
    """A new key of the section training is covered by the rule without a change."""
    base = DRAFTS["kinetics_cma"].values["training"]
    assert base.keys() == set(Training.__dataclass_fields__)

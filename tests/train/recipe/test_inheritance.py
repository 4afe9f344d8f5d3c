"""Recipes that build on others with ``extends``."""

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from flowkit.errors import UsageError
from train.recipe.inheritance import merge
from train.recipe.recipe import read_draft, read_recipe

MAPPINGS = st.recursive(
    st.dictionaries(st.sampled_from("abc"), st.integers() | st.lists(st.integers()), max_size=3),
    lambda inner: st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
)


@pytest.fixture
def write(tmp_path):
    """``write("name", key=…)``: a recipe file."""

    def make(name, **content):
        path = tmp_path / f"{name}.yaml"
        path.write_text(yaml.safe_dump(content), encoding="utf-8")
        return path

    return make


@given(MAPPINGS)
def test_merging_nothing_changes_nothing_and_merging_again_neither(mapping):
    assert merge(mapping, {}) == mapping
    assert merge({}, mapping) == mapping
    assert merge(mapping, mapping) == mapping


@given(MAPPINGS, MAPPINGS)
def test_stated_values_win(inherited, changes):
    merged = merge(inherited, changes)
    assert merged.keys() == inherited.keys() | changes.keys()
    assert all(merged[k] == v for k, v in changes.items() if not isinstance(v, dict))
    assert all(merged[k] == v for k, v in inherited.items() if k not in changes)


@given(MAPPINGS)
def test_null_removes_what_is_inherited(mapping):
    assert merge(mapping, dict.fromkeys(mapping)) == {}
    assert merge({}, {"a": {"b": None}}) == {"a": {}}


def test_mappings_merge_and_other_values_replace(write):
    write("base", extends="kinetics_cma", title="a", network={"depth": 18}, training={"epochs": 3})
    own = write("own", extends="base.yaml", classes=7, network={"dropout": 0.1, "weights": None})
    recipe = read_recipe(own)
    assert (recipe.title, recipe.classes, recipe.iterations) == ("a", 7, 3)
    network = recipe.network
    assert (network.depth, network.dropout, network.weights) == (18, 0.1, {})
    assert recipe.training.epochs == 3
    assert recipe.training.batch == 128


def test_the_results_of_a_paper_are_not_inherited(write):
    assert read_recipe("kinetics_cma").reported
    assert read_recipe(write("own", extends="kinetics_cma")).reported == {}


def test_own_recipes_leave_to_the_store_what_the_extended_one_does(write):
    draft = read_draft(write("own", extends="two_stream", data={"size": 96}, classes=3))
    assert "data.size" not in draft.store_keys
    assert "classes" not in draft.store_keys
    assert draft.store_keys["training.batch"] == 32
    assert "data.short_side" in draft.store_keys
    with pytest.raises(UsageError, match=r"takes dataset, .*from the store; give its name"):
        draft.complete()


def test_circles_and_unknown_names(write):
    a = write("a", extends="b.yaml")
    write("b", extends="c.yaml")
    write("c", extends="a.yaml")
    with pytest.raises(UsageError, match="in a circle: a extends b extends c extends a"):
        read_draft(a)
    with pytest.raises(UsageError, match="in a circle: d extends d"):
        read_draft(write("d", extends="d.yaml"))
    with pytest.raises(UsageError, match=r"extends: no recipe 'two_strem'; did you mean 'two_str"):
        read_draft(write("e", extends="two_strem"))
    with pytest.raises(UsageError, match=r"cannot read the recipe .*absent\.yaml"):
        read_draft(write("f", extends="absent.yaml"))
    with pytest.raises(UsageError, match="extends: expected the name of one recipe, got"):
        read_draft(write("g", extends=["cma", "i3d"]))

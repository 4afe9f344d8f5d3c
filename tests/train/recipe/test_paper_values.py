"""Every recipe of a paper has the values that it had before recipes could extend others.

golden/resolved.json has the values that most recipes share ("common"), and for each recipe those
that differ. A key that a later version adds is not in it, and is not compared.
"""

import json
from pathlib import Path

import pytest

from train.recipe.recipe import list_recipes, list_values, read_draft, read_recipe

GOLDEN = json.loads((Path(__file__).parent / "golden/resolved.json").read_text(encoding="utf-8"))
SECTIONS = ("subsets", "data", "network", "training", "testing", "sets", "pyramid", "clip")


def flatten(values, prefix=""):
    """The values by dotted key; mappings that are no sections are values."""
    flat = {}
    for key, value in values.items():
        if key in SECTIONS and isinstance(value, dict):
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return json.loads(json.dumps(flat))


@pytest.mark.parametrize("name", GOLDEN["recipes"])
def test_a_paper_recipe_has_the_values_that_it_had(name):
    differing = GOLDEN["recipes"][name]
    values = flatten(list_values(read_recipe(name)))
    expected = {
        key: differing.get(key, GOLDEN["common"].get(key))
        for key in values
        if key in differing or key in GOLDEN["common"]
    }
    assert {key: values[key] for key in expected} == expected
    assert differing.keys() <= values.keys()


def test_other_recipes_are_general():
    complete = {name for name in list_recipes() if read_draft(name).is_complete}
    assert complete == set(GOLDEN["recipes"])

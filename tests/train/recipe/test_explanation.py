import re
from itertools import pairwise

import pytest
from click.testing import CliRunner

from train.commands.recipes import recipes
from train.recipe.explanation import explain_recipe
from train.recipe.recipe import list_recipes, read_draft


@pytest.mark.parametrize("name", list_recipes())
def test_an_explained_recipe_is_read_back(name, tmp_path):
    draft = read_draft(name)
    path = tmp_path / "explained.yaml"
    path.write_text(explain_recipe(draft), encoding="utf-8")
    again = read_draft(path)
    assert (again.values, again.quick) == (draft.values, draft.quick)


@pytest.mark.parametrize(
    "name", ["motion8_catnet", "kinetics_audio_vgg16", "charades_pyramid", "audio"]
)
def test_each_setting_has_a_text_above_it(name):
    lines = explain_recipe(read_draft(name)).partition("\nquick:")[0].splitlines()
    settings, section = 0, ""
    for above, line in pairwise(lines):
        section = line if re.match("[a-z]", line) else section
        # What is inside these is no setting.
        inside = section in ("reported:", "choices:", "rows:") and line != section
        if re.match(r"( {2})*[a-z_]+:", line) and not inside:
            settings += 1
            assert above.lstrip().startswith("#"), line
    assert settings > 30


def test_the_command_explains_one_recipe():
    result = CliRunner().invoke(recipes, ["motion8_clusters", "--explain"])
    assert result.exit_code == 0
    text = "  # For method clusters: number of attention units (N).\n"
    assert f"  {text}    units: " not in result.output
    assert f"{text}  units: " in result.output
    refused = CliRunner().invoke(recipes, ["--explain"])
    assert refused.exit_code == 2
    assert "--explain needs the NAME of a recipe" in refused.output

"""The rows of all recipes: each has settings and results of its own, and builds its network."""

from dataclasses import replace

import pytest
import torch
import yaml
from click.testing import CliRunner

from flowkit.cli import main
from flowkit.errors import UsageError
from train.recipe.recipe import (
    FeatureSetRecipe,
    format_recipe,
    list_recipes,
    read_draft,
    read_recipe,
)
from train.recipe.reported import OWN_ROW, list_differences
from train.runs.phases import list_phases, list_scorings
from train.tasks.networks import check_networks
from train.tasks.registry import find_task

WITH_ROWS = [name for name in list_recipes() if read_draft(name).values["rows"]]


@pytest.mark.parametrize("name", WITH_ROWS)
def test_rows_differ_from_the_recipe_and_from_each_other(name):
    draft = read_draft(name)
    taken = {row: draft.take_row(row).values for row in draft.values["rows"]}
    for row, values in taken.items():
        assert list_differences(draft.values, values), row
        # All rows as they differ from this one: it alone is equal to it.
        equal = [other for other, own in values["rows"].items() if not own["set"]]
        assert equal == [row]
        assert values["rows"].keys() == {OWN_ROW, *draft.values["rows"]}
        # --set with the same values is the same row.
        same = draft.set_values(draft.values["rows"][row]["set"]).values
        assert (same["reported"], same["paper"]) == (values["reported"], values["paper"])


@pytest.mark.parametrize("name", WITH_ROWS)
def test_reported_scores_are_those_that_the_row_is_tested_for(name):
    draft = read_draft(name)
    for row in draft.values["rows"]:
        recipe = draft.take_row(row).complete()
        scores = set()
        for scoring in list_scorings(recipe):
            branches = [*scoring.phases, *(["fusion"] if scoring.fusion else [])]
            for branch in branches:
                score = f"{scoring.name}/{branch}" if scoring.name else branch
                scores |= {score, f"mean/{score.partition('/')[2]}"}
        assert recipe.reported.keys() <= scores, row
        assert all(0 < value <= 100 for values in recipe.reported.values() for value in values)


def test_every_row_of_sets_builds_its_network_by_its_shapes():
    seen = set()
    for name in WITH_ROWS:
        draft = read_draft(name)
        for row in draft.values["rows"] if draft.values["sets"] else ():
            recipe = draft.take_row(row).complete()
            assert isinstance(recipe, FeatureSetRecipe)
            kind = repr((recipe.sets, recipe.classes))
            if kind not in seen:
                with torch.device("meta"):
                    network = find_task(recipe).build_network(list_phases(recipe)[0])
                assert all(p.requires_grad for p in network.parameters()), (name, row)
            seen.add(kind)
    assert len(seen) > 100


def describe_network(recipe):
    """What decides whether a network can be built: not its losses, weights and dropout."""
    taps = recipe.network.pyramid and recipe.network.pyramid.taps
    network = replace(recipe.network, weights={}, dropout=0.0, pyramid=None)
    return repr((network, taps, recipe.data, recipe.streams, recipe.iterations > 0))


def list_image_rows():
    """The rows of recipes on images with networks of their own (tests/train has the others)."""
    for name in WITH_ROWS:
        draft = read_draft(name)
        if draft.values["sets"]:
            continue
        seen = {describe_network(draft.complete())}
        for row in draft.values["rows"]:
            recipe = draft.take_row(row).complete()
            if describe_network(recipe) not in seen:
                # Its hundreds of layers take seconds to build.
                is_slow = recipe.network.backbone == "inception_resnet_v2"
                yield pytest.param(name, row, marks=pytest.mark.slow if is_slow else ())
            seen.add(describe_network(recipe))


@pytest.mark.parametrize(("name", "row"), list(list_image_rows()))
def test_every_row_of_images_processes_its_input(name, row):
    recipe = read_draft(name).take_row(row).complete()
    check_networks(replace(recipe, iterations=min(recipe.iterations, 1)))


def test_the_flash_mnist_rows_are_the_whole_table():
    draft = read_draft("flash_mnist_clusters")
    cells = {}
    for row in (None, *draft.values["rows"]):
        values = (draft if row is None else draft.take_row(row)).values
        if "schedule" not in (row or ""):
            sets = values["sets"]
            key = (sets["weighting"], sets["units"], sets["shifting"])
            assert key not in cells
            cells[key] = values["reported"]["sets"][0]
    assert len(cells) == 40
    # One number of each column, and the sum of all of them, as the paper prints them.
    assert cells["average", 128, False] == 8.9
    assert cells["fc1", 8, False] == 31.7
    assert cells["fc2", 16, False] == 82.0
    assert cells["fc1", 32, True] == 87.1
    assert cells["fc2", 1, True] == 53.7
    assert sum(cells.values()) == pytest.approx(1981.6)


def test_own_recipes_have_rows(tmp_path):
    path = tmp_path / "own.yaml"
    content = {
        "extends": "kinetics_clusters_rgb",
        "rows": {"no clipping": {"set": {"training.clip": None}, "reported": {"sets": [1.0]}}},
        "choices": {"Batch and epochs": None, "Rate": "ours"},
    }
    path.write_text(yaml.safe_dump(content))
    draft = read_draft(path)
    assert list(draft.values["rows"]) == ["no clipping"]  # those of the extended one are its own
    assert "RMSProp" in draft.values["choices"]
    assert "Batch and epochs" not in draft.values["choices"]
    taken = draft.take_row("no clipping")
    assert taken.values["training"]["clip"] is None
    assert taken.values["reported"] == {"sets": (1.0,)}
    path.write_text(format_recipe(draft))
    assert read_draft(path).values == draft.values


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"tabel": "2"}, "unknown key 'rows.a.tabel'; did you mean 'table'"),
        ({"reported": {"sets": ["high"]}}, "rows.a.reported"),
        ({"set": {"sets.unit": 3}}, "row 'a': .*unknown key 'sets.unit'; did you mean 'units'"),
        ({"set": {"trainig.epochs": 3}}, "row 'a': .*no key 'trainig'"),
        ({"set": {"classes": 0}}, "row 'a': .*classes"),
    ],
)
def test_wrong_rows_say_what_is_wrong(tmp_path, row, message):
    path = tmp_path / "own.yaml"
    path.write_text(yaml.safe_dump({"extends": "kinetics_clusters_rgb", "rows": {"a": row}}))
    with pytest.raises(UsageError, match=message):
        read_draft(path).take_row("a")


def test_a_misspelt_row_is_named_with_all_rows(tmp_path):
    command = ["train", "kinetics_clusters_rgb", "--store", str(tmp_path), "--run", str(tmp_path)]
    result = CliRunner().invoke(main, [*command, "--row", "N=32, no shiftin"])
    assert result.exit_code == 2
    said = " ".join(result.stderr.split())
    assert "no row 'N=32, no shiftin'; did you mean 'N=32, no shifting'?" in said
    assert all(row in said for row in read_draft("kinetics_clusters_rgb").values["rows"])
    without = CliRunner().invoke(main, ["train", "cma", *command[2:], "--row", "N=1"])
    assert without.exit_code == 2
    assert "cma: the recipe has no rows; leave out --row" in without.stderr


def test_a_recipe_is_printed_with_the_commands_of_its_rows(tmp_path):
    said = CliRunner().invoke(main, ["recipes", "kinetics_clusters_rgb"]).output
    for row, result in (("'N=32, no shifting'", "73.6"), ("'bidirectional LSTM'", "74.0/91.6")):
        command = f"# flowkit train kinetics_clusters_rgb --store S --run R --row {row}\n"
        after = said.partition(command)[2].splitlines()[0]
        assert f"sets {result}." in after
    assert "Batch and epochs: the paper prints neither" in said
    path = tmp_path / "saved.yaml"
    path.write_text(said)
    assert read_draft(path).values == read_draft("kinetics_clusters_rgb").values
    listed = CliRunner().invoke(main, ["recipes"]).output
    assert "26 other rows: flowkit recipes kinetics_clusters_rgb" in listed


def test_the_choices_that_papers_leave_open_are_written_down():
    named = {
        "kinetics_cma": ("Momentum of SGD", "Scale of flow inputs"),
        "kinetics_p3d_12": ("Clips in testing",),
        "ucf101_cma_transfer": ("Rate and epochs",),
        "ucf101_pyramid_bn_inception": ("Flow fields of a snippet", "Energy in l_interactive"),
        "kinetics_tsn_inception_resnet_v2": ("Input of 299 pixels",),
        "kinetics_clusters_rgb": ("Batch and epochs",),
        "kinetics_catnet": ("Clips in training",),
    }
    for name, subjects in named.items():
        assert set(subjects) <= read_recipe(name).choices.keys()

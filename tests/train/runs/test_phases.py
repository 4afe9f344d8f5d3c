from train.recipe.recipe import change_recipe, read_recipe
from train.runs.phases import INITIAL, list_phases, list_scorings


def test_the_papers_schedule():
    phases = list_phases(read_recipe("kinetics_cma"))
    assert [(phase.name, phase.branch, phase.cma) for phase in phases] == [
        ("flow", "flow", False),
        ("rgb", "rgb", False),
        ("iter_1", "rgb", True),
        ("iter_2", "flow", True),
        ("iter_3", "rgb", True),
    ]
    starts = {phase.name: phase.weight_sources for phase in phases}
    assert starts["iter_1"] == {"rgb": INITIAL, "flow": "flow"}  # the paper's footnote 1
    assert starts["iter_2"] == {"rgb": "iter_1", "flow": "iter_1"}
    assert starts["iter_3"] == {"rgb": "iter_2", "flow": "iter_2"}


def test_fusion_gives_more_to_the_branch_that_was_trained_last():
    scorings = {s.name: s for s in list_scorings(read_recipe("kinetics_cma"))}
    weights = {name: scoring.fusion for name, scoring in scorings.items()}
    assert weights == {"iter_0": (1, 1), "iter_1": (5, 1), "iter_2": (1, 5), "iter_3": (5, 1)}
    assert scorings["iter_0"].phases == {"rgb": "rgb", "flow": "flow"}
    other = change_recipe(read_recipe("kinetics_cma"), {"testing.fusion": "{odd: [1, 5]}"})
    assert {s.name: s.fusion for s in list_scorings(other)}["iter_3"] == (1, 5)


def test_fusion_of_branches_that_start_with_attention():
    """They start from iter_1 of another run, so RGB was trained last; iter_0 can be set."""
    recipe = read_recipe("ucf101_cma_transfer")
    assert {s.fusion for s in list_scorings(recipe)} == {(5, 1)}
    changed = change_recipe(recipe, {"testing.fusion.iter_0": "[1, 2]"})
    assert {s.fusion for s in list_scorings(changed)} == {(1, 2)}


def test_one_stream_alone_is_not_fused():
    recipe = read_recipe("kinetics_flow")
    assert [phase.name for phase in list_phases(recipe)] == ["flow"]
    assert [(s.name, s.phases, s.fusion) for s in list_scorings(recipe)] == [
        ("", {"flow": "flow"}, None)
    ]


def test_splits_are_trained_one_after_another_from_their_own_phases():
    recipe = change_recipe(
        read_recipe("kinetics_cma"),
        {
            "splits": "[1, 3]",
            "subsets": '{train: "train{split}", validate: "test{split}", test: "test{split}"}',
        },
    )
    phases = {phase.name: phase for phase in list_phases(recipe)}
    assert phases["split_3/iter_1"].weight_sources == {"rgb": INITIAL, "flow": "split_3/flow"}
    assert phases["split_3/iter_2"].weight_sources == {
        "rgb": "split_3/iter_1",
        "flow": "split_3/iter_1",
    }
    assert {s.name for s in list_scorings(recipe)} >= {"split_1/iter_0", "split_3/iter_3"}


def test_controls_have_their_phases_and_scores():
    recipe = read_recipe("motion8_cma")
    uniform = {phase.name: phase for phase in list_phases(recipe)}["uniform"]
    assert uniform.uniform and uniform.weight_sources == {"rgb": INITIAL, "flow": "flow"}
    scorings = {s.name: s for s in list_scorings(recipe)}
    assert scorings["iter_1, flow of another class"].control == "other-class-flow"
    assert scorings["uniform weights"].phases == {"rgb": "uniform"}

"""What is said, and left alone, when a recipe does not fit the labels and subsets of a store."""

import pytest
import yaml

from flowkit.annotations.table import Annotation, AnnotationTable, Label
from flowkit.errors import UsageError
from flowkit.store import Store, rebuild_index, write_annotations
from train.loop.session import start_run
from train.recipe.recipe import change_recipe, read_draft
from train.recipe.values import PLACEHOLDERS, WITH_LIMIT
from train.runs.run import Run, RunError
from train.tasks.completion import complete_recipe, prepare_store
from train.tasks.store_values import FINDERS

VIDEOS = 12
CLASSES = ("a", "b")


@pytest.fixture
def annotated(make_store, tmp_path):
    """``annotated(subsets, labels)``: a store with annotations by the number of the video."""
    ids = [f"v{n:02}" for n in range(VIDEOS)]

    def make(subsets, labels=lambda n: (CLASSES[n % 2],), streams=("rgb", "flow")):
        root = make_store(ids, streams=streams, frames=3)
        rows = tuple(
            Annotation(id, tuple(map(Label, labels(n))), subsets(n)) for n, id in enumerate(ids)
        )
        write_annotations(root, AnnotationTable(CLASSES, rows))
        rebuild_index(root)
        return Store(root)

    return make


def test_every_value_that_a_store_can_give_is_found():
    assert FINDERS.keys() == PLACEHOLDERS.keys()
    assert PLACEHOLDERS.keys() >= set(WITH_LIMIT)


def complete(store, name="tsn_rgb", **changes):
    """The complete recipe, and what was said."""
    said = []
    draft = read_draft(name).make_quick().set_values({"data.size": 16, **changes})
    store = prepare_store(draft, store, said.append)
    return complete_recipe(draft, store, said.append), said


def test_videos_without_labels_do_not_validate(annotated):
    store = annotated(
        lambda n: ("train" if n < 8 else "val",), lambda n: (CLASSES[n % 2],) if n < 8 else ()
    )
    recipe, said = complete(store)
    assert recipe.subsets.validate == recipe.subsets.test == "last 10% of train"
    assert any("no validation videos" in line for line in said)


def test_labels_outside_the_training_videos_are_no_excuse(annotated):
    store = annotated(
        lambda n: ("train" if n < 8 else "test",), lambda n: (CLASSES[n % 2],) if n >= 8 else ()
    )
    with pytest.raises(UsageError, match=r"none of the training videos .* has a label"):
        complete(store)


def test_videos_that_were_added_after_the_division_are_counted(annotated):
    store = annotated(lambda n: ("train",) if n < 8 else ("test",) if n < 10 else ())
    said = complete(store)[1]
    assert any(line.startswith("2 of the 12 videos have labels and are in no") for line in said)


def test_videos_that_train_and_test_are_counted(annotated):
    store = annotated(lambda n: ("train", "val") if n < 3 else ("train",) if n < 9 else ("val",))
    said = complete(store)[1]
    assert "3 of the videos to train are also among those to validate" in said
    assert "3 of the videos to train are also among those to test" in said


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"data.size": 4096}, "less than the network's input of 4096"),
        ({"classes": 3}, "the recipe is for 3 classes, .* has 2"),
    ],
)
def test_a_store_that_does_not_fit_is_not_divided(annotated, changes, message):
    store = annotated(lambda n: ())
    with pytest.raises(UsageError, match=message):
        complete(store, **changes)
    assert Store(store.path).subsets() == {}


def test_weights_are_named_after_the_stream_that_starts_from_them(annotated, monkeypatch, tmp_path):
    monkeypatch.setenv("FLOWKIT_DATA", str(tmp_path))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    store = annotated(lambda n: ("train",))
    weights = {"network.weights": {"rgb": "no_such_net or random"}}
    assert "flow: training starts from scratch" in complete(store, "tsn_flow", **weights)[1][0]
    assert "rgb: training starts from scratch" in complete(store, **weights)[1][0]


def test_weights_are_named_after_the_stream_of_a_store_of_flow(annotated):
    store = annotated(lambda n: ("train",) if n < 8 else ("val",), streams=("flow",))
    weights = {"network.weights": {"rgb": "no_such_net or random"}}
    said = complete(store, "pyramid", **weights)[1]
    assert said[0].startswith("flow: training starts from scratch")


@pytest.fixture
def own_recipe(tmp_path):
    """``own_recipe(dataset=…)``: the file of a general recipe with results and rows."""

    def make(**changes):
        path = tmp_path / "own.yaml"
        rows = {
            "two views": {"set": {"testing.segments": 2}, "reported": {"rgb": [60.0]}},
            "thin": {"table": "1", "set": {"network.width": 8}, "reported": {"rgb": [55.0]}},
        }
        content = {
            "extends": "tsn_rgb", "dataset": "tiny", "network": {"weights": None, "width": 4,
            "depth": 18}, "data": {"size": 16}, "reported": {"rgb": [50.0]}, "rows": rows,
        }  # fmt: skip
        path.write_text(yaml.safe_dump({**content, **changes}))
        return read_draft(path)

    return make


@pytest.fixture
def divided(annotated):
    return annotated(lambda n: ("train",) if n < 8 else ("val", "test"))


def test_a_run_has_the_results_of_its_row(own_recipe, divided, tmp_path):
    def start(draft, folder):
        return start_run(tmp_path / folder, draft, divided, print)[0].recipe

    own = start(own_recipe(), "own")
    assert own.reported == {"rgb": (50.0,)}
    assert list(own.rows) == ["two views"]  # another width cannot be tested after training
    assert change_recipe(own, {"testing.segments": "2"}).reported == {"rgb": (60.0,)}
    assert change_recipe(own, {"testing.segments": "3"}).reported == {}
    thin = start(own_recipe().take_row("thin"), "thin")
    assert thin.reported == {"rgb": (55.0,)}
    assert thin.paper == "Wang et al. 2016 (TSN), Table 1 (thin)"
    said = []
    draft = own_recipe().change({"training.epochs": "3"})
    changed = start_run(tmp_path / "changed", draft, divided, said.append)[0].recipe
    assert "the paper has no results for these settings, which differ in training.epochs" in said
    assert (changed.reported, changed.rows) == ({}, {})
    assert Run(tmp_path / "own").recipe == own
    assert Run(tmp_path / "own").recipe.reported == own.reported


def test_missing_results_are_explained_only_where_training_starts(own_recipe, divided, tmp_path):
    said = []
    weights = {"network.weights": f"{{rgb: {tmp_path / 'missing.pth'}}}"}
    draft = own_recipe().change({"training.epochs": "3", **weights})
    with pytest.raises(UsageError, match=r"missing\.pth"):
        start_run(tmp_path / "run", draft, divided, said.append)
    assert not any("no results" in line for line in said)


def test_a_run_on_other_data_never_has_results(own_recipe, divided, tmp_path):
    said = []
    draft = own_recipe(dataset="other")
    recipe = start_run(tmp_path / "run", draft, divided, said.append)[0].recipe
    assert any("the recipe's results are of other" in line for line in said)
    assert recipe.reported == {}
    assert change_recipe(recipe, {"testing.segments": "2"}).reported == {}


def test_new_texts_of_a_recipe_do_not_stop_its_run(own_recipe, divided, tmp_path):
    start_run(tmp_path / "run", own_recipe(rows={}), divided, print)
    draft = own_recipe(title="new", choices={"rate": "ours"}, needs="more", reported={})
    run, _ = start_run(tmp_path / "run", draft, divided, print)
    assert run.recipe.reported == {"rgb": (50.0,)}  # the run keeps what it was created with
    with pytest.raises(RunError, match=r"another recipe \(training.epochs: 40 → 3\)"):
        start_run(tmp_path / "run", draft.change({"training.epochs": "3"}), divided, print)

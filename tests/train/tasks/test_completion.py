"""What is said, and left alone, when a recipe does not fit the labels and subsets of a store."""

import pytest

from flowkit.annotations.table import Annotation, AnnotationTable, Label
from flowkit.errors import UsageError
from flowkit.store import Store, rebuild_index, write_annotations
from train.recipe.recipe import read_draft
from train.tasks.completion import complete_recipe, prepare_store

VIDEOS = 12
CLASSES = ("a", "b")


@pytest.fixture
def annotated(make_store, tmp_path):
    """``annotated(subsets, labels)``: a store with annotations by the number of the video."""
    ids = [f"v{n:02}" for n in range(VIDEOS)]
    root = make_store(ids, streams=("rgb", "flow"), frames=3)

    def make(subsets, labels=lambda n: (CLASSES[n % 2],)):
        rows = tuple(
            Annotation(id, tuple(map(Label, labels(n))), subsets(n)) for n, id in enumerate(ids)
        )
        write_annotations(root, AnnotationTable(CLASSES, rows))
        rebuild_index(root)
        return Store(root)

    return make


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

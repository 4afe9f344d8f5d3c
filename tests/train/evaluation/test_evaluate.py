from dataclasses import replace

import numpy as np
import pytest
import torch

from flowkit.annotations.table import Annotation, AnnotationTable, Label
from flowkit.store import Store, read_annotations, rebuild_index, write_annotations
from models.networks.two_stream import TwoStream
from train.evaluation.evaluate import evaluate
from train.evaluation.scores import load_scores
from train.loop.session import StopCondition, train
from train.recipe.recipe import change_recipe, read_recipe
from train.runs.phases import list_phases
from train.runs.run import RunError, Settings, create_run
from train.tasks.backbones import describe_input
from train.tasks.images import score_views
from train.tasks.networks import load_phase_network, make_network
from train.tasks.registry import find_task
from train.tasks.samples import OtherClassFlow, make_dataset

SETTINGS = Settings(threads=1, workers=0)


def silent(text):
    pass


@pytest.fixture
def finished(begin, store):
    run = begin(training__epochs=1, iterations=2)
    train(run, store, SETTINGS, silent)
    return run


def test_every_score_has_its_name_and_every_video_is_scored(finished, store):
    results = evaluate(finished, store, SETTINGS)
    assert set(results) == {
        "iter_0/rgb", "iter_0/flow", "iter_0/fusion", "iter_1/rgb", "iter_1/flow",
        "iter_1/fusion", "iter_2/rgb", "iter_2/flow", "iter_2/fusion",
        "iter_1, flow of another class/rgb", "uniform weights/rgb",
    }  # fmt: skip
    for row in results.values():
        assert set(row) == {"top1", "top5", "mean_class", "n"}
        assert row["n"] == 4
    rgb, flow, fusion = (
        load_scores(finished.path / "scores" / "iter_2" / f"{name}.npz")
        for name in ("rgb", "flow", "fusion")
    )
    assert rgb.ids == tuple(store.index.id(int(row)) for row in store.subset("test"))
    np.testing.assert_allclose(fusion.logits, rgb.logits + 5 * flow.logits, rtol=1e-5)


def test_flows_score_after_iter_1_is_that_of_flow_alone(finished, store):
    """The blocks of the flow branch are still the identity then."""
    evaluate(finished, store, SETTINGS)
    before, after = (
        load_scores(finished.path / "scores" / name / "flow.npz") for name in ("iter_0", "iter_1")
    )
    np.testing.assert_array_equal(before.logits, after.logits)
    changed = load_scores(finished.path / "scores" / "iter_2" / "flow.npz")
    assert not np.array_equal(before.logits, changed.logits)


def test_scores_are_the_means_over_views_of_what_the_network_says(finished, store):
    evaluate(finished, store, SETTINGS)
    phase = {phase.name: phase for phase in list_phases(finished.recipe)}["iter_1"]
    network = load_phase_network(finished, phase, "both")
    inputs = describe_input(finished.recipe, finished.recipe.testing.segments)
    dataset = make_dataset(finished.recipe, store, ("rgb", "flow"), "test")
    batch = torch.utils.data.default_collate([dataset[0, 2]])
    views = score_views(network, batch, ("rgb", "flow"), torch.device("cpu"), inputs)
    saved = load_scores(finished.path / "scores" / "iter_1" / "rgb.npz")
    assert views["rgb"].shape == (2, 2)  # segments × one crop, classes
    np.testing.assert_allclose(saved.logits[2], views["rgb"].mean(0), atol=1e-6)
    np.testing.assert_allclose(saved.softmax[2], views["rgb"].softmax(1).mean(0), atol=1e-6)


def test_ten_crops_of_25_segments_go_through_in_parts(finished, store, monkeypatch):
    monkeypatch.setattr("train.tasks.images.IMAGES_AT_ONCE", 7)
    recipe = change_recipe(finished.recipe, {"testing.crops": "ten", "testing.segments": "3"})
    dataset = make_dataset(recipe, store, ("flow",), "test")
    phase = {phase.name: phase for phase in list_phases(finished.recipe)}["flow"]
    network = load_phase_network(finished, phase, "flow")
    inputs = describe_input(recipe, 3)
    batch = torch.utils.data.default_collate([dataset[0, 0]])
    parts = score_views(network, batch, ("flow",), torch.device("cpu"), inputs)["flow"]
    monkeypatch.setattr("train.tasks.images.IMAGES_AT_ONCE", 100)
    whole = score_views(network, batch, ("flow",), torch.device("cpu"), inputs)["flow"]
    assert parts.shape == (30, 2)
    torch.testing.assert_close(parts, whole)


def test_the_control_takes_flow_of_another_class_and_nothing_else(tiny, store):
    dataset = make_dataset(tiny(), store, ("rgb", "flow"), "test")
    control = OtherClassFlow(dataset, seed=0)
    again = OtherClassFlow(dataset, seed=0)
    assert control.partners == again.partners
    for index in range(len(dataset)):
        own, other = dataset[0, index], dataset[0, control.partners[index]]
        mixed = {name: values[0] for name, values in control.batch([(0, index)]).items()}
        assert own["label"] != other["label"]
        assert torch.equal(mixed["label"], own["label"])
        assert torch.equal(mixed["rgb"], own["rgb"])
        assert torch.equal(mixed["flow"], other["flow"])


def test_an_unfinished_run_is_not_evaluated(begin, store):
    run = begin()
    train(run, store, SETTINGS, silent, StopCondition(6))
    with pytest.raises(RunError, match=r"not finished \(phases to train: rgb, iter_1, uniform"):
        evaluate(run, store, SETTINGS)
    assert not (run.path / "scores").exists()


def test_a_store_of_other_classes_is_not_evaluated_on(finished, make_store, tmp_path):
    other = make_store([f"video {number:02}" for number in range(6)], tmp_path / "other")
    rows = [replace(row, labels=(Label("run"),)) for row in read_annotations(other).annotations]
    write_annotations(other, AnnotationTable(("run", "wave"), tuple(rows)))
    rebuild_index(other)
    with pytest.raises(RunError, match=r"has 2 classes \(run, wave …\), the run .*jump high"):
        evaluate(finished, Store(other), SETTINGS)


def test_splits_are_averaged(tmp_path, store, tiny):
    recipe = tiny(
        iterations=0, splits="[1, 2]", testing__controls="[]", training__epochs=1,
        subsets="{train: 'train{split}', validate: 'test{split}', test: 'test{split}'}",
    )  # fmt: skip
    table = read_annotations(store.path)
    rows = [
        Annotation(row.id, row.labels, ("train1", "test2") if n % 2 else ("test1", "train2"))
        for n, row in enumerate(
            sorted(table.annotations, key=lambda row: (int(row.id[-2:]) % 2, row.id))
        )
    ]
    rows.sort(key=lambda row: row.id)
    write_annotations(store.path, AnnotationTable(table.classes, tuple(rows)))
    rebuild_index(store.path)
    fresh = Store(store.path)
    find_task(recipe).check(fresh)
    run = create_run(tmp_path / "splits", recipe, fresh)
    assert [phase.name for phase in run.list_unfinished_phases()][:2] == [
        "split_1/flow",
        "split_1/rgb",
    ]
    train(run, fresh, SETTINGS, silent)
    results = evaluate(run, fresh, SETTINGS)
    for name in ("rgb", "flow", "fusion"):
        parts = [results[f"split_{split}/{name}"] for split in (1, 2)]
        mean = results[f"mean/{name}"]
        assert mean["top1"] == pytest.approx((parts[0]["top1"] + parts[1]["top1"]) / 2)
        assert mean["n"] == 12


def test_what_the_rgb_score_costs_is_what_was_counted():
    """Table 2 prints 1.8×; with the flow branch's identities 1.87, without them 1.65."""
    costs = find_task(read_recipe("kinetics_cma")).count_costs()
    assert costs["one branch"]["parameters"] == 24_327_632
    assert costs["iter_1/rgb, identities kept"]["parameters"] == 45_508_048
    assert costs["iter_1/rgb, identities dropped"]["parameters"] == 40_251_344
    assert round(costs["iter_1/rgb, identities kept"]["ratio"], 2) == 1.87
    assert round(costs["iter_1/rgb, identities dropped"]["ratio"], 2) == 1.65


def test_random_weights_are_those_of_seed_and_phase(tiny):
    phases = list_phases(tiny())
    a, b = (make_network(tiny(), phases[0], "flow") for _ in range(2))
    other = make_network(tiny(seed=1), phases[0], "flow")
    assert isinstance(a, TwoStream)
    assert torch.equal(a.flow.conv1.weight, b.flow.conv1.weight)
    assert not torch.equal(a.flow.conv1.weight, other.flow.conv1.weight)
    state = torch.random.get_rng_state()
    make_network(tiny(), phases[0], "flow")
    assert torch.equal(torch.random.get_rng_state(), state)

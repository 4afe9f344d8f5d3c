"""Pyramid attention from recipe to results."""

import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from flowkit.errors import UsageError
from models.networks.pyramid import PyramidTwoStream
from train.evaluation.evaluate import evaluate
from train.loop.session import StopCondition, train
from train.recipe.recipe import change_recipe
from train.report.figures import FIGURES, Source
from train.report.figures.receptive import SCALES, find_thresholds, mark_salient
from train.report.report import write_report
from train.runs.phases import list_phases
from train.runs.run import Run, Settings
from train.tasks.backbones import describe_input
from train.tasks.images import score_views
from train.tasks.networks import load_phase_network, make_network
from train.tasks.samples import make_dataset, prepare_images

SETTINGS = Settings(threads=1, workers=0)
PYRAMID = {"taps": ["res3_1", "res4_1"], "interactive": 0.001}


@pytest.fixture
def begin_pyramid(begin):
    return lambda name="run", **changes: begin(
        name, iterations=0, testing__controls="[]", network__pyramid=PYRAMID, **changes
    )


def lines(run, phase, kind):
    text = (run.folder(phase) / f"{kind}.jsonl").read_text()
    return [json.loads(line) for line in text.splitlines()]


def test_a_run_with_attention_inside(begin_pyramid, store):
    run = begin_pyramid(testing__segments=40)  # more than videos have frames: some come twice
    assert train(run, store, SETTINGS, lambda text: None)
    results = evaluate(run, store, SETTINGS)
    assert set(results) == {"rgb", "flow", "fusion"}
    assert results["fusion"]["n"] == 4
    for line in lines(run, "flow", "steps"):
        expected = line["classes"] + 0.001 * line["interactive"] + 1e-4 * line["attention"]
        assert line["loss"] == pytest.approx(expected, rel=1e-5)


def test_it_goes_on_with_the_same_bits(begin_pyramid, store):
    whole, broken = begin_pyramid("whole"), begin_pyramid("broken")
    train(whole, store, SETTINGS, lambda text: None)
    for _ in range(9):
        train(broken, store, SETTINGS, lambda text: None, StopCondition(1))
    assert broken.is_finished()
    for phase in list_phases(whole.recipe):
        a, b = (load_phase_network(run, phase, phase.branch) for run in (whole, broken))
        for (name, one), other in zip(a.state_dict().items(), b.state_dict().values(), strict=True):
            if name.startswith(phase.branch):
                assert torch.equal(one, other), name


def test_the_frames_of_a_crop_go_in_together(begin_pyramid, store):
    recipe = change_recipe(
        begin_pyramid().recipe, {"testing.crops": "three", "testing.segments": "4"}
    )
    dataset = make_dataset(recipe, store, ("flow",), "test")
    sample = dataset[0, 1]["flow"]  # 4 snippets × 3 crops
    inputs = describe_input(recipe, 4)
    images = prepare_images({"flow": sample[None]}, ("flow",), torch.device("cpu"), inputs)["flow"]
    assert images.shape == (3, 4, 10, 16, 16)
    scale = inputs.input_conventions["flow"].std[0]
    for crop in range(3):
        for snippet in range(4):
            own = (sample[3 * snippet + crop].float() - 128) / 127 / scale
            torch.testing.assert_close(images[crop, snippet], own)


def test_views_of_a_video_in_parts(begin_pyramid, store, monkeypatch):
    run = begin_pyramid()
    recipe = change_recipe(run.recipe, {"testing.crops": "ten", "testing.segments": "3"})
    network = make_network(recipe, list_phases(recipe)[0], "flow").eval()
    batch = {"flow": make_dataset(recipe, store, ("flow",), "test")[0, 0]["flow"][None]}
    inputs = describe_input(recipe, 3)
    whole = score_views(network, batch, ("flow",), torch.device("cpu"), inputs)["flow"]
    monkeypatch.setattr("train.tasks.images.IMAGES_AT_ONCE", 7)
    parts = score_views(network, batch, ("flow",), torch.device("cpu"), inputs)["flow"]
    assert whole.shape == (10, 2)  # one map and one prediction for each crop
    torch.testing.assert_close(parts, whole)


def test_the_network_of_the_recipe(begin_pyramid):
    recipe = begin_pyramid().recipe
    network = make_network(recipe, list_phases(recipe)[0], "both")
    assert isinstance(network, PyramidTwoStream)
    assert network.rgb.taps == ("res3_1", "res4_1")
    assert not torch.equal(
        network.rgb.attention.scores[0].weight, network.flow.attention.scores[0].weight
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"network__pyramid": {"taps": ["res9_9"]}}, "no tap 'res9_9'; there are res2_0"),
        ({"network__pyramid": {"taps": []}}, "none was named"),
        ({"network__pyramid": {"taps": ["res4_1", "res3_1"]}}, "from the finest to the top one"),
        ({"network__pyramid": {"tabs": ["res4_1"]}}, "unknown key 'network.pyramid.*tabs'"),
        ({"network__pyramid": PYRAMID, "network__cma": True}, "pyramid cannot be combined"),
        ({"network__pyramid": PYRAMID, "iterations": 1}, "pyramid cannot be combined"),
        ({"network__pyramid": PYRAMID, "network__non_local": ["rgb"]}, "cannot be combined"),
    ],
)
def test_recipes_that_make_no_pyramid(tiny, changes, message):
    def build():
        recipe = tiny(**{"iterations": 0, "testing__controls": "[]", **changes})
        make_network(recipe, list_phases(recipe)[0], "flow")

    with pytest.raises(UsageError, match=message):
        build()


def test_a_phase_ends_after_so_many_steps(begin_pyramid, store):
    changes = {"iterations": 5, "schedule": "iterations", "steps": [2, 4], "rate": 0.01}
    run = begin_pyramid(phases={"flow": changes})
    assert train(run, store, SETTINGS, lambda text: None)
    steps, epochs = lines(run, "flow", "steps"), lines(run, "flow", "epochs")
    assert [line["step"] for line in steps] == [1, 2, 3, 4, 5]
    rates = [line["rate"] for line in steps]
    assert rates == pytest.approx([0.01, 0.01, 0.001, 0.001, 0.0001])
    assert [(line["epoch"], line["epochs"]) for line in epochs] == [(1, 3), (2, 3), (3, 3)]
    assert len(lines(run, "rgb", "steps")) == 4


def test_figures_of_where_it_looks_and_what_frames_do(begin_pyramid, store, monkeypatch):
    monkeypatch.setattr("train.report.figures.frame_counts.COUNTS", (1, 3))
    run, other = begin_pyramid(), begin_pyramid("other", data__num_segments=1)
    for one in (run, other):
        train(one, store, SETTINGS, lambda text: None)
        results = evaluate(one, store, SETTINGS)
        (one.path / "results.json").write_text(json.dumps({"scores": results, "costs": {}}))
    source = Source(run=run, store=store, against=other)
    written = {path.name for path in write_report(source)}
    streams = {f"salient_{what}_{s}.png" for what in ("frames", "places") for s in ("rgb", "flow")}
    assert streams <= written
    assert "frames.png" not in written
    assert {path.name for path in write_report(source, ["frames"])} == {
        "frames.png", "frames_table.md", "report.html",
    }  # fmt: skip
    [_, table] = FIGURES["frames"](source)
    assert table.rows[0] == ["K in training", "score", "1", "3"]
    assert [row[:2] for row in table.rows[1:4]] == [["2", "rgb"], ["2", "flow"], ["2", "fusion"]]
    assert len(table.rows) == 7
    [_, two] = FIGURES["frames"](replace(source, score="rgb", against_score="flow"))
    assert [row[1] for row in two.rows[1:]] == ["rgb", "flow"]
    with monkeypatch.context() as patch:
        patch.setattr("train.report.figures.frame_counts.score_phases", pytest.fail)
        for changed in ({"score": "audio"}, {"against_score": "audio"}):
            with pytest.raises(UsageError, match="no scores of videos named 'audio'"):
                FIGURES["frames"](replace(source, **changed))
    own = change_recipe(run.recipe, {"testing.segments": "3"})
    changed = Run(run.path)
    changed.recipe = own
    expected = evaluate(changed, store, SETTINGS)
    for row in table.rows[1:4]:
        assert row[3] == f"{100 * expected[row[1]]['top1']:.1f}"


def test_salient_positions_are_those_above_a_share_of_the_largest_of_their_place():
    """The place attends most to the second frame, so fewer positions of the first are salient."""
    frames = np.array([[[0.1, 0.45], [0.2, 0.41]], [[0.8, 0.3], [0.1, 0.1]]], np.float32)
    other_place = np.full((2, 2, 2), 0.9, np.float32)
    (threshold,) = find_thresholds([np.stack([frames, other_place])], 0, 0.5)
    assert threshold == pytest.approx(0.4)
    dots = []
    cell = SimpleNamespace(plot=lambda x, y, *_, **__: dots.append((x.tolist(), y.tolist())))
    for frame in frames:
        mark_salient(cell, (20, 40), frame, threshold, SCALES[0])
    assert dots == [([30.0, 30.0], [5.0, 15.0]), ([10.0], [5.0])]

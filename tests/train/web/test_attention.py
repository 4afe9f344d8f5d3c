"""The attention that the page shows is that of `report`, for each kind of run."""

import json
import os
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from flowkit.web.keys import make_key
from train.recipe.recipe import read_recipe
from train.report.figures.attention_maps import compute_maps, list_arrows
from train.report.figures.receptive import compute_weights
from train.runs.phases import list_phases
from train.tasks.backbones import describe_input
from train.tasks.networks import load_phase_network
from train.tasks.samples import make_dataset
from train.web.segments import explain_no_segments

BLOCK = "to_rgb/res4_1"


def get(client, path, status=200):
    answer = client.get(path)
    assert answer.status_code == status, answer.text
    return answer.json()


@pytest.fixture
def path(store):
    """The path of the attention of the third test video."""
    id = store.index.id(int(store.subset("test")[2]))
    return f"/api/runs/run/attention/{make_key(id)}"


def compute_expected(run, store, snippet):
    """Compute the map of `BLOCK` for the third test video as `flowkit report` does."""
    phase = list_phases(run.recipe)[-1]
    network = load_phase_network(run, phase, "rgb")
    dataset = make_dataset(run.recipe, store, ("rgb", "flow"), "validate")
    blocks = {"CMA": network.to_rgb["res4_1"]}
    inputs = describe_input(run.recipe, 1)
    return compute_maps(network, dataset[0, 2], snippet, phase, blocks, inputs)["CMA"]


def test_a_point_attends_where_the_report_says(run, store, path, open_page):
    client = open_page(run)
    facts = get(client, f"{path}/blocks")
    assert [block["name"] for block in facts["blocks"]] == ["to_rgb/res3_1", BLOCK]
    assert facts["untrained"] == ["to_flow/res3_1", "to_flow/res4_1"]
    assert facts["blocks"][0] | {"size": 0, "pooled": 0} == {
        "name": "to_rgb/res3_1", "query": "rgb", "key": "flow", "size": 0, "pooled": 0,
        "steps": None,
    }  # fmt: skip
    assert facts["clip"] is None
    assert len(facts["times"]) == 2 and facts["snippet"] == 1
    assert facts["box"] == [12 / 40, 4 / 24, 28 / 40, 20 / 24]  # 16×16 in the middle of 40×24
    for snippet in (0, 1):
        attention = compute_expected(run, store, snippet)
        for x, y in ((0.1, 0.1), (0.5, 0.9), (1, 1)):
            asked = f"snippet={snippet}&block={BLOCK}&x={x}&y={y}"
            answer = get(client, f"{path}/point?{asked}")
            query = attention.find_query((x, y))
            expected = attention.read_weights(query)
            assert answer["query"] == list(query)
            np.testing.assert_allclose(answer["weights"], expected, rtol=1e-5)
            assert answer["arrows"] == [list(arrow) for arrow in list_arrows(expected)]
    assert client.plugin_worker.computed == 3  # the middle one without an index, and each once


def test_bad_questions(run, store, path, open_page):
    client = open_page(run)
    for query, words in (
        ("x=.5&y=.5", "no block ''"), (f"block={BLOCK}&x=2&y=.5", "x is a number from 0 to 1"),
        (f"block={BLOCK}&x=nan&y=.5", "x is a number"), (f"block={BLOCK}&x=.5", "y is a number"),
        (f"block={BLOCK}&x=.5&y=.5&snippet=2", "the video has snippets 0 to 1, got 2"),
        (f"block={BLOCK}&x=.5&y=.5&step=1", "steps 0 to 0, got 1"),
        (f"block={BLOCK}&x=.5&y=.5&phase=rgb", "no finished phase 'rgb'; there are iter_1"),
    ):  # fmt: skip
        assert words in get(client, f"{path}/point?{query}", 400)["error"]
    assert "another kind of attention: cross-modality" in get(client, f"{path}/sets", 400)["error"]
    assert get(client, path.replace("run", "x") + "/blocks", 404)
    assert get(client, path.rpartition("/")[0] + "/x/blocks", 404)


def test_a_point_of_a_clip_attends_over_its_frames(clip_run, store, path, open_page):
    """Clips of 8 frames have 4 steps in res2 of P3D, and 2 in res3."""
    client, path = open_page(clip_run), path.replace("/run/", "/clips/")
    facts = get(client, f"{path}/blocks")
    names = [block["name"] for block in facts["blocks"]]
    assert names == [f"to_{b}/{step}" for b in ("rgb", "flow") for step in ("res2_1", "res3_1")]
    assert facts["times"] == [3] and facts["clip"] == [*range(3, 11)]
    first, last, *_ = facts["blocks"]
    assert (first["size"], first["pooled"], last["size"]) == ([4, 6, 6], [4, 3, 3], [2, 3, 3])
    assert last["steps"] == [
        {"frame": 5, "first": 3, "last": 6}, {"frame": 9, "first": 7, "last": 10},
    ]  # fmt: skip
    assert [step["first"] for step in first["steps"]] == [3, 5, 7, 9]
    phase = list_phases(clip_run.recipe)[-1]
    network = load_phase_network(clip_run, phase, "both")
    sample = make_dataset(clip_run.recipe, store, ("rgb", "flow"), "validate")[0, 2]
    inputs = describe_input(clip_run.recipe, 1)
    blocks = {
        "to_rgb/res2_1": network.to_rgb["res2_1"],
        "to_flow/res2_1": network.to_flow["res2_1"],
    }
    maps = compute_maps(network, sample, 0, phase, blocks, inputs)
    for step, name in ((0, "to_rgb/res2_1"), (3, "to_flow/res2_1"), (None, "to_rgb/res2_1")):
        asked = "" if step is None else f"&step={step}"
        answer = get(client, f"{path}/point?block={name}&x=.9&y=.2{asked}")
        query = (2 if step is None else step, 1, 5)
        weights = maps[name].read_weights(query)
        assert answer["query"] == list(query) and weights.shape == tuple(first["pooled"])
        np.testing.assert_allclose(answer["weights"], weights, rtol=1e-5)
        np.testing.assert_allclose(answer["shares"], weights.sum(axis=(1, 2)), rtol=1e-5)
        largest = float(weights.max())
        assert answer["arrows"] == [[list(a) for a in list_arrows(w, largest)] for w in weights]
    error = get(client, f"{path}/point?block=to_rgb/res2_1&x=.9&y=.2&step=4", 400)["error"]
    assert error == "the block to_rgb/res2_1 has steps 0 to 3, got 4"
    assert client.plugin_worker.computed == 1


def test_runs_without_attention_say_so(begin, finish, store, path, open_page):
    run = finish(begin(iterations=0, testing__controls="[]"))
    client = open_page(run)
    facts = get(client, "/api/runs/run")
    reason = "The network of this run has no attention."
    assert facts["attention"] == {"kind": None, "reason": reason, "phases": []}
    for name in ("blocks", "point?x=0&y=0", "positions", "sets"):
        assert get(client, f"{path}/{name}", 400)["error"] == reason


def test_damaged_weights_are_an_error_in_words(run, path, open_page):
    client = open_page(run)
    (run.folder("iter_1") / "weights.pt").write_bytes(b"damaged")
    answer = get(client, f"{path}/blocks", 409)
    assert "weights.pt" in answer["error"]


def test_a_video_without_flow_says_so(run, make_store, tmp_path, path, open_page):
    from flowkit.store import Store

    ids = [f"video {number:02}" for number in range(12)]
    other = Store(make_store(ids, tmp_path / "other", streams=("rgb",), frames=9))
    error = get(open_page(run, shown=other), f"{path}/blocks", 400)["error"]
    assert error == "the video has no flow, which the network sees"


def test_a_pyramid_has_the_salient_positions_of_the_report(begin, finish, store, path, open_page):
    pyramid = {"taps": ["res3_1", "res4_1"], "interactive": 0.001}
    run = finish(begin(iterations=0, testing__controls="[]", network__pyramid=pyramid))
    answer = get(open_page(run), f"{path}/positions?phase=flow&position=0")
    assert len(answer["times"]) == 5 and answer["position"] == 0
    (phase,) = (p for p in list_phases(run.recipe) if p.name == "flow")
    network = load_phase_network(run, phase, "flow").flow
    recipe = begin("five", iterations=0, testing__controls="[]", network__pyramid=pyramid,
                   data__num_segments=5).recipe  # fmt: skip
    images = make_dataset(recipe, store, ("flow",), "validate")[0, 2]["flow"]
    expected = compute_weights(network, recipe, phase, images)
    assert len(answer["scales"]) == len(expected) == 2
    for scale, weights in zip(answer["scales"], expected, strict=True):
        for cells, frame in zip(scale, weights[0], strict=True):
            salient = frame > 0.5 * weights[0].max()  # of all frames
            assert cells == np.argwhere(salient).tolist()
    height, width = answer["size"]
    error = get(open_page(run), f"{path}/positions?position={height * width}", 400)["error"]
    assert error.startswith("the map has positions 0 to")


def test_a_block_turns_when_flow_attends(begin, finish, path, open_page, weights_of):
    """After iter_2, both directions are trained."""
    from train.loop.checkpoint import write_tensors

    run = finish(begin(iterations=2, testing__controls="[]"))
    weights = weights_of(run, "iter_2")
    for name in weights:
        if name.startswith("to_rgb.") and name.endswith("norm.weight"):
            weights[name] = torch.ones_like(weights[name])
    write_tensors(run.folder("iter_2") / "weights.pt", weights)
    client = open_page(run)
    blocks = get(client, f"{path}/blocks")["blocks"]
    assert [(b["name"], b["query"], b["key"]) for b in blocks] == [
        ("to_rgb/res3_1", "rgb", "flow"), ("to_rgb/res4_1", "rgb", "flow"),
        ("to_flow/res3_1", "flow", "rgb"), ("to_flow/res4_1", "flow", "rgb"),
    ]  # fmt: skip
    answer = get(client, f"{path}/point?block=to_flow/res3_1&x=.2&y=.7")
    assert np.sum(answer["weights"]) == pytest.approx(1, abs=1e-5)
    assert json.dumps(answer)


def test_segments_average_to_the_scores_of_the_run(run, score, store, open_page):
    from train.evaluation.scores import load_scores

    score(run)
    client, row = open_page(run), int(store.subset("test")[1])
    path = f"/api/runs/run/segments/{make_key(store.index.id(row))}"
    answer = get(client, path)
    assert [branch["branch"] for branch in answer["branches"]] == ["rgb", "flow", "fusion"]
    assert answer["scoring"] == "iter_1" and len(answer["times"]) == 2
    for branch in answer["branches"][:2]:
        scores = load_scores(run.path / "scores" / "iter_1" / f"{branch['branch']}.npz")
        shown = [{i["class"]: i["probability"] for i in top} for top in branch["segments"]]
        mean = [np.mean([one[name] for one in shown]) for name in run.classes]
        np.testing.assert_allclose(mean, scores.softmax[1], atol=1e-5)
    assert get(client, path) == answer
    assert client.plugin_worker.computed == 1
    os.utime(run.folder("iter_1") / "weights.pt", (1, 1))  # it was trained again
    assert get(client, path) == answer
    assert client.plugin_worker.computed == 2


def test_branches_that_were_trained_alone_read_other_frames(begin, finish, store, path, open_page):
    """RGB starts at any of 15 frames; five flow fields start at one of the first 10."""
    run = finish(begin(iterations=0, testing__controls="[]"))
    answer = get(open_page(run), path.replace("attention", "segments"))
    assert answer["times"] == [3, 11]
    times = {branch["branch"]: branch["times"] for branch in answer["branches"]}
    assert times == {"rgb": [3, 11], "flow": [2, 7], "fusion": None}


@pytest.mark.parametrize(
    ("recipe", "reason"),
    [
        (
            "kinetics_audio_vgg16",
            "Only segments of images are scored alone; this run scores patches",
        ),
        ("flash_mnist_clusters", "The network of this run sees the whole video at once."),
    ],
)
def test_runs_without_scores_of_segments_say_why(recipe, reason):
    assert explain_no_segments(SimpleNamespace(recipe=read_recipe(recipe))).startswith(reason)

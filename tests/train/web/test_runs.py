"""Scores, confusions, gains, curves and predictions of runs, as JSON."""

import json
import re
import tomllib
from importlib import import_module
from pathlib import Path
from urllib.parse import quote

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from flowkit.cli import main
from flowkit.errors import UsageError
from flowkit.store import Store
from flowkit.web.app import WebContext
from flowkit.web.keys import make_key
from flowkit.web.open_store import OpenStore
from train.evaluation.predict import combine_scores
from train.evaluation.scores import Scores, load_scores
from train.report.figures.drawing import Source
from train.report.figures.tables import list_iterations
from train.report.report import write_report
from train.runs.phases import list_scorings
from train.web.open_runs import choose_name, open_runs
from train.web.plugin import make_plugin
from train.web.predictions import compute_probabilities

ROOT = Path(__file__).parents[3]


def write_scores(run, name, predicted, labels, ids):
    """Write scores of the run whose best classes are these, surer from video to video."""
    logits = np.eye(2, dtype=np.float32)[predicted] * (1 + np.arange(len(ids)))[:, None]
    softmax = torch.from_numpy(logits).softmax(1).numpy()
    scores = Scores(tuple(ids), np.array(labels), logits.astype(np.float32), softmax)
    scores.save(run.path / "scores" / f"{name}.npz")
    row = {"top1": 0.5, "top5": 1.0, "mean_class": 0.5, "n": len(ids)}
    path = run.path / "results.json"
    results = json.loads(path.read_text()) if path.exists() else {"scores": {}, "costs": {}}
    results["scores"][name] = row
    path.write_text(json.dumps(results))


def get(client, path, status=200):
    answer = client.get(path)
    assert answer.status_code == status, answer.text
    return answer.json()


@pytest.fixture
def ids(store):
    return [store.index.id(int(row)) for row in store.subset("test")]


def test_the_facts_are_those_of_the_report(run, score, store, ids, open_page):
    score(run)
    client, path = open_page(run), "/api/runs/run"
    facts = get(client, path)
    assert facts["scores"] == ["iter_0/rgb", "iter_0/flow", "iter_0/fusion", "iter_1/rgb",
                               "iter_1/flow", "iter_1/fusion"]  # fmt: skip
    assert facts["best"] == "iter_1/rgb"  # as in the paper
    assert facts["attention"] == {"kind": "cross-modality", "reason": "", "phases": ["iter_1"]}
    (table,) = list_iterations(Source(run=run))
    assert facts["tables"][0]["rows"] == table.rows
    curves = get(client, f"{path}/curves")
    assert [phase["name"] for phase in curves["phases"]] == ["flow", "rgb", "iter_1"]
    assert curves["phases"][0]["values"]["val_loss"] == [3, 1.5]

    predictions = get(client, f"/api/video/{make_key(ids[0])}/runs")["runs"][0]
    assert [group["name"] for group in predictions["groups"]] == ["iter_0", "iter_1"]
    flow, fusion = predictions["groups"][1]["branches"][1:]
    scores = load_scores(run.path / "scores" / "iter_1" / "flow.npz")
    expected = torch.from_numpy(scores.logits[0]).softmax(0)
    assert [item["probability"] for item in flow["top"]] == pytest.approx(
        expected.sort(descending=True).values.tolist(), abs=1e-6
    )
    assert sum(item["right"] for item in fusion["top"]) == 1
    training_video = store.index.id(int(store.subset("train")[0]))
    assert get(client, f"/api/video/{make_key(training_video)}/runs")["runs"][0]["groups"] == []


@pytest.mark.parametrize("over", ["logits", "softmax"])
def test_probabilities_are_those_of_predict(begin, score, finish, store, over):
    run = score(finish(begin(testing__controls="[]", testing__over=over)))
    (shown,) = open_runs([run.path], store).values()
    (scoring,) = (s for s in list_scorings(run.recipe) if s.name == "iter_1")
    branches = {b: load_scores(run.path / "scores/iter_1" / f"{b}.npz") for b in ("rgb", "flow")}
    fusion = load_scores(run.path / "scores/iter_1/fusion.npz")
    for row in range(len(fusion.ids)):
        pairs = {b: (s.logits[row], s.softmax[row]) for b, s in branches.items()}
        np.testing.assert_allclose(
            compute_probabilities(shown, "iter_1/fusion", fusion)[row],
            combine_scores(run, scoring, pairs), rtol=1e-5, atol=1e-7,
        )  # fmt: skip


def test_a_cell_has_its_videos_and_orders_are_right(run, store, ids, open_page):
    labels = [0, 0, 1, 1]
    write_scores(run, "iter_1/fusion", [0, 1, 0, 1], labels, ids)
    client, path = open_page(run), "/api/runs/run"
    matrix = get(client, f"{path}/confusion")
    assert matrix["matrix"] == [[1, 1], [1, 1]] and matrix["others"] == [0, 0]
    assert [item["accuracy"] for item in matrix["classes"]] == [0.5, 0.5]
    assert [(pair["true"], pair["predicted"]) for pair in matrix["pairs"]] == [(0, 1), (1, 0)]
    cell = get(client, f"{path}/videos?true=0&predicted=1")
    assert [video["id"] for video in cell["videos"]] == [ids[1]]
    assert cell["videos"][0]["key"] == make_key(ids[1]) and not cell["videos"][0]["right"]

    def order(sort):
        return [ids.index(v["id"]) for v in get(client, f"{path}/videos?sort={sort}")["videos"]]

    # Video n is n + 1 times as sure as video 0; videos 1 and 2 are wrong.
    assert order("wrong") == [2, 1, 3, 0]
    assert order("loss") == [2, 1, 0, 3]
    assert order("confidence") == [3, 2, 1, 0]
    assert order("id") == [0, 1, 2, 3]
    page = get(client, f"{path}/videos?sort=id&offset=2&limit=1")
    assert page["total"] == 4 and [v["id"] for v in page["videos"]] == [ids[2]]
    assert "sort is one of" in get(client, f"{path}/videos?sort=nice", 400)["error"]


def test_classes_gain_and_lose_between_two_runs(run, begin, finish, ids, open_page):
    other = finish(begin("other", testing__controls="[]"))
    write_scores(run, "iter_1/fusion", [0, 0, 0, 0], [0, 0, 1, 1], ids)
    write_scores(other, "iter_1/fusion", [0, 1, 1, 1], [0, 0, 1, 1], ids)
    client, path = open_page(run, other), "/api/runs/run"
    gains = get(client, f"{path}/gains?against=other")
    assert [(item["class"], item["gain"]) for item in gains["classes"]] == [(0, 50), (1, -100)]
    assert "50.0 % are better and 50.0 % are worse" in gains["summary"]
    write_scores(other, "iter_1/fusion", [0, 1, 1], [0, 0, 1], ids[:3])
    different = get(client, f"{path}/gains?against=other", 400)
    assert "different videos" in different["error"]
    assert get(client, f"{path}/gains?against=x", 404)


def test_an_unfinished_run_says_what_is_missing(begin, open_page, ids):
    client, path = open_page(begin()), "/api/runs/run"
    facts = get(client, path)
    assert "phases to train: flow, rgb, iter_1" in facts["state"] and facts["tables"] == []
    assert facts["attention"]["kind"] is None and "finished" in facts["attention"]["reason"]
    assert get(client, f"{path}/curves")["phases"] == []
    for name in ("confusion", "videos"):
        assert "run flowkit evaluate" in get(client, f"{path}/{name}", 409)["error"]
    predictions = get(client, f"/api/video/{make_key(ids[0])}/runs")["runs"][0]
    assert predictions["groups"] == [] and not predictions["evaluated"]


def test_a_damaged_file_of_scores_is_an_error_in_words(run, score, open_page):
    client, path = open_page(score(run)), "/api/runs/run"
    (run.path / "scores/iter_1/rgb.npz").write_bytes(b"PK damaged")
    assert "rgb.npz: expected scores" in get(client, f"{path}/confusion", 409)["error"]
    (run.path / "phases/rgb/epochs.jsonl").write_text('{"epoch": 1}\n')
    assert "epochs.jsonl is damaged" in get(client, f"{path}/curves", 409)["error"]


def test_damaged_results_are_named(run, open_page):
    (run.path / "results.json").write_text('{"scores": 3}')
    facts = get(open_page(run), "/api/runs/run")
    assert "results.json is damaged (scores is 3); run flowkit evaluate again" in facts["state"]


def test_a_run_of_another_store_is_refused(run, make_store, tmp_path, monkeypatch):
    facts = json.loads((run.path / "run.json").read_text())
    (run.path / "run.json").write_text(json.dumps({**facts, "classes": ["red\nor", "green"]}))
    store = OpenStore(tmp_path / "store")
    with pytest.raises(UsageError, match=r"--run .*the run .* 2 \(red or, green"):
        make_plugin(WebContext(store, (run.path,)))
    with pytest.raises(UsageError, match=r"expected a run folder with run\.json"):
        make_plugin(WebContext(store, (tmp_path,)))

    class Entry:
        value = "train.web.plugin:make_plugin"

        def load(self):
            return make_plugin

    monkeypatch.setattr("flowkit.web.server.entry_points", lambda group: [Entry()])
    result = CliRunner().invoke(main, ["view", str(tmp_path / "store"), "--run", str(run.path)])
    assert result.exit_code == 2 and len(result.output.splitlines()) == 1
    assert "use a store of the run's dataset, or leave out this run" in result.output


def test_a_run_of_another_store_with_the_same_classes_has_a_note(run, store):
    (shown,) = open_runs([run.path], store).values()
    assert shown.note is None
    facts = json.loads((run.path / "run.json").read_text())
    facts["store"]["created"] = "2020-01-01T00:00:00Z"
    (run.path / "run.json").write_text(json.dumps(facts))
    (shown,) = open_runs([run.path], store).values()
    assert shown.note.startswith("trained on another store with the same classes")


def test_runs_of_one_name_are_told_apart(run, store, tmp_path):
    (tmp_path / "b").mkdir()
    copy = run.path.rename(tmp_path / "b" / "run")
    (tmp_path / "run").symlink_to(copy)
    assert len(open_runs([copy, tmp_path / "run"], store)) == 1  # the same run twice
    assert choose_name("run", set()) == "run"
    assert choose_name("run", {"run", "run (2)"}) == "run (3)"


def test_a_score_of_a_video_that_the_store_lacks_has_no_link(run, ids, open_page):
    write_scores(run, "iter_1/fusion", [0, 1], [0, 1], [ids[0], "elsewhere"])
    listed = get(open_page(run), "/api/runs/run/videos?sort=id")["videos"]
    assert [video["key"] for video in listed] == [make_key(ids[0]), None]


def test_pictures_and_hostile_paths(run, store, ids, open_page):
    client, key = open_page(run), make_key(ids[0])
    for stream in ("rgb", "flow"):
        answer = client.get(f"/api/video/{key}/picture/{stream}/1.png")
        assert answer.headers["content-type"] == "image/png" and answer.content[1:4] == b"PNG"
    for path in (
        f"/api/video/{key}/picture/rgb/9999.png", f"/api/video/{key}/picture/depth/1.png",
        "/api/video/nokey/picture/rgb/1.png", "/api/runs/..%2f..%2fetc", "/api/runs/cnVu/none",
        "/static/runs/../plugin.py", "/static/runs/%2e%2e/plugin.py",
        "/api/runs/run/videos?true=-1",
        "/api/runs/run/videos?limit=x",
        "/api/runs/run/confusion?score=../../run.json",
    ):  # fmt: skip
        assert 400 <= client.get(path).status_code < 500, path
    assert client.get("/static/runs/runs.js").status_code == 200
    assert "/static/runs/runs.js" in client.get("/runs").text


def test_the_report_links_to_the_page(run, score, open_page):
    write_report(Source(run=score(run)), ["iterations"])
    report = (run.path / "report.html").read_text()
    assert f"flowkit view {run.facts['store']['path']} --run {run.path}" in report
    (link,) = re.findall(r'href="http://127\.0\.0\.1:8080(/runs/[^"]+)"', report)
    client = open_page(run)
    assert get(client, f"/api{link}")["name"] == "run"
    assert "runs.js" in client.get(link).text


def test_without_runs_nothing_is_added(store):
    plugin = make_plugin(WebContext(OpenStore(store.path), ()))
    assert not plugin.routes and not plugin.scripts and not plugin.static


def test_the_entry_point_is_the_plugin():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    module, name = project["project"]["entry-points"]["flowkit.web"]["runs"].split(":")
    assert getattr(import_module(module), name) is make_plugin


def test_a_store_is_no_run(store, tmp_path):
    assert isinstance(store, Store)
    with pytest.raises(UsageError, match="expected a run folder"):
        open_runs([store.path], store)


def test_the_grid_has_the_orders_of_a_run(run, store, ids, open_page):
    write_scores(run, "iter_1/fusion", [0, 1, 0, 1], [0, 0, 1, 1], ids)
    client, others = open_page(run), len(store) - len(ids)
    names = [f"run: {kind}" for kind in ("wrong first", "loss", "confidence")]
    assert get(client, "/api/overview")["orders"] == names

    def order(kind, more=""):
        page = get(client, f"/api/videos?sort={quote(f'run: {kind}')}&limit=200{more}")
        listed = [video["id"] for video in page["videos"]]
        assert page["total"] == len(store) and set(listed[len(ids) :]).isdisjoint(ids)
        return [ids.index(id) for id in listed[: len(ids)]]

    # Video n is n + 1 times as sure as video 0; videos 1 and 2 are wrong. Others are not tested.
    assert others > 0
    assert order("wrong first") == [2, 1, 0, 3]
    assert order("loss", "&descending=1") == [2, 1, 0, 3]
    assert order("confidence") == [0, 1, 2, 3]
    assert "run: loss" in get(client, "/api/videos?sort=run", 400)["error"]

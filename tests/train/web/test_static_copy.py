"""Runs in the folder of `flowkit view --static`."""

import json
import shutil
from urllib.parse import urlencode

import pytest

from flowkit.web import static_site
from flowkit.web.keys import make_key, make_name_key
from flowkit.web.open_store import OpenStore
from flowkit.web.static_site import write_static_site
from train.web.open_runs import open_runs
from train.web.plugin import make_plugin
from train.web.predictions import Filter, describe_predictions, list_videos
from train.web.static_copy import LEFT_OUT

from .test_runs import write_scores

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
SCORE = "iter_0/rgb"


@pytest.fixture
def shown(run, store, tmp_path, monkeypatch):
    """A run with scores of four videos, one of which is not in the store, and its folder."""
    ids = [*(store.ids[row] for row in range(3)), "not here"]
    write_scores(run, SCORE, [0, 1, 1, 0], [0, 0, 1, 1], ids)
    monkeypatch.setattr(static_site, "load_plugins", lambda context: [make_plugin(context)])
    out = tmp_path / "page"
    write_static_site(store.path, [run.path], out, None, lambda line: None)
    return open_runs([run.path], store), out


def read(path):
    return json.loads(json.loads(path.read_text().partition(", ")[2].removesuffix(");\n")))


def test_predictions_are_there_and_attention_is_left_out(shown, store):
    runs, out = shown
    key, first = make_name_key("run"), store.ids[0]
    answers = read(out / "data/video-0.js")
    told = answers[f"/api/video/{make_key(first)}/runs"]["value"]["runs"]
    assert told[0]["groups"] == describe_predictions(runs[key], first)["groups"] != []
    assert told[0]["attention"] == {"kind": None, "reason": LEFT_OUT, "phases": []}
    assert told[0]["segments"] == LEFT_OUT
    assert (out / "static/runs/runs.css").is_file()


def test_lists_of_videos_are_those_of_the_server(shown, store):
    playwright = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
    if CHROMIUM is None:
        pytest.skip("Chromium is not installed")
    runs, out = shown
    key, problems = make_name_key("run"), []
    queries = [
        {"sort": sort, **cell}
        for sort in ("wrong", "loss", "confidence", "id")
        for cell in ({}, {"true": "0"}, {"predicted": "1"}, {"predicted": "other"},
                     {"true": "1", "predicted": "1"}, {"offset": "1", "limit": "2"})
    ]  # fmt: skip
    ask = """addresses => import("flowkit/static/api.js")
        .then(({getJSON}) => Promise.all(addresses.map((address) => getJSON(address))))"""
    with (
        playwright.sync_playwright() as api,
        api.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"]) as browser,
    ):
        page = browser.new_page()
        page.set_default_timeout(60_000)
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.goto(f"file://{out}/index.html#/runs/{key}")
        page.locator(".list-head", has_text="4 videos, 2 wrong").wait_for()
        answers = page.evaluate(
            ask, [f"/api/runs/{key}/videos?{urlencode({'score': SCORE, **q})}" for q in queries]
        )
        page.locator("a.tile-video").first.click()
        page.locator(".predictions .top").first.wait_for()
        assert LEFT_OUT in page.locator(".attention").inner_text()
    assert problems == []
    view = OpenStore(store.path).get().store
    for query, answer in zip(queries, answers, strict=True):
        predicted = query.get("predicted")
        chosen = Filter(
            true=int(query["true"]) if "true" in query else None,
            predicted=-1 if predicted == "other" else int(predicted) if predicted else None,
            order=query["sort"], offset=int(query.get("offset", 0)),
            limit=int(query.get("limit", 48)),
        )  # fmt: skip
        assert answer == list_videos(runs[key], SCORE, view, chosen), query

"""Runs in a real browser: Chromium of the system, without a window."""

import re
import shutil
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from flowkit.web.keys import make_key
from train.report.figures.attention_maps import compute_maps
from train.runs.phases import list_phases
from train.tasks.backbones import describe_input
from train.tasks.networks import load_phase_network
from train.tasks.samples import make_dataset

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed")
playwright = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
PATIENCE = 60_000
BRIGHTEST = 252 + 255 + 164


@pytest.fixture
def browse_runs(open_page) -> Iterator[Any]:
    """``browse_runs(run, …)(path, width)``: a page of runs; no error of a script is accepted."""
    errors: list[str] = []
    with playwright.sync_playwright() as session:
        browser = session.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])

        def work(*runs: Any) -> Any:
            address = f"http://127.0.0.1:{open_page(*runs).port}"

            def note_request(request: Any) -> None:
                if not request.url.startswith((f"{address}/", "blob:")):
                    errors.append(f"a request to {request.url}")

            def open_path(path: str, width: int = 1280) -> Any:
                page = browser.new_page(viewport={"width": width, "height": 900})
                page.set_default_timeout(PATIENCE)
                page.on("pageerror", lambda error: errors.append(str(error)))
                page.on("console", lambda m: errors.append(m.text) if m.type == "error" else None)
                page.on("request", note_request)
                page.goto(f"{address}{path}")
                return page

            return open_path

        yield work
        browser.close()
    assert errors == []


@pytest.fixture
def browse(run, score, browse_runs) -> Any:
    """``browse(path, width)``: a page of the evaluated run."""
    return browse_runs(score(run))


def read_percent(text):
    return float(re.search(r"([\d.e+-]+) %", text)[1]) / 100


def click_inside(stage, box, x, y, act="click"):
    """Click at fractions (x, y) of the crop that the network sees."""
    outer = stage.bounding_box()
    left, top, right, bottom = box
    position = {
        "x": outer["width"] * (left + (right - left) * x),
        "y": outer["height"] * (top + (bottom - top) * y),
    }
    getattr(stage, act)(position=position)


def test_the_heat_of_a_point_is_that_of_the_network(run, store, browse):
    index, snippet = 2, 1
    row = int(store.subset("test")[index])
    phase = list_phases(run.recipe)[-1]
    network = load_phase_network(run, phase, "rgb")
    sample = make_dataset(run.recipe, store, ("rgb", "flow"), "validate")[0, index]
    blocks = {"block": network.to_rgb["res3_1"]}
    inputs = describe_input(run.recipe, 1)
    attention = compute_maps(network, sample, snippet, phase, blocks, inputs)["block"]
    size, pooled = attention.query, attention.key

    page = browse(f"/video/{make_key(store.index.id(row))}?block=to_rgb/res3_1")
    reading = page.locator(".ask .reading")
    reading.filter(has_text="highest weight").wait_for()
    box = (12 / 40, 4 / 24, 28 / 40, 20 / 24)  # 16×16 in the middle of 40×24
    rgb, flow = (page.locator(f".ask-stage[data-stream={s}]") for s in ("rgb", "flow"))
    for x, y in ((0.2, 0.8), (0.8, 0.3)):
        click_inside(rgb, box, x, y)
        query = attention.find_query((x, y))
        expected = attention.read_weights(query)
        words = f"From row {query[0] + 1}, column {query[1] + 1} of {size[0]} × {size[1]}"
        reading.filter(has_text=words).wait_for()
        assert f"{100 * expected.max():.1f} %" in reading.first.inner_text()
        for i in range(pooled[0]):
            for j in range(pooled[1]):
                click_inside(flow, box, (j + 0.5) / pooled[1], (i + 0.5) / pooled[0], "hover")
                text = reading.nth(1).filter(has_text=f"row {i + 1}, column {j + 1}:").inner_text()
                assert read_percent(text.partition(": ")[2]) == pytest.approx(
                    float(expected[i, j]), rel=2e-3
                )
    assert flow.locator(".arrow:not(.under)").count() > 0
    assert flow.locator("canvas.heat").is_visible() and not rgb.locator("canvas").is_visible()
    assert re.search(r"at=0\.(79\d|80\d),0\.(29\d|30\d)", page.url.replace("%2C", ","))

    click_inside(flow, box, 0.5, 0.5)  # blocks of flow are not trained in this phase
    reading.filter(has_text="No trained block of this phase attends from Flow").wait_for()
    rgb.click(position={"x": 3, "y": 3})
    reading.filter(has_text="The network does not see this point").wait_for()
    click_inside(rgb, box, 0.1, 0.1)
    reading.filter(has_text="From row 1, column 1 of").wait_for()
    rgb.focus()
    page.keyboard.press("ArrowDown")
    reading.filter(has_text="From row 2, column 1 of").wait_for()


def read_pixels(stage):
    """Return width and height of a heat map, and the red, green and blue of each pixel together."""
    return stage.locator("canvas.heat").evaluate("""canvas => {
        const {data} = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
        const sums = Array.from({length: data.length / 4}, (_, i) =>
          data[4 * i] + data[4 * i + 1] + data[4 * i + 2]);
        return [canvas.width, canvas.height, sums];
    }""")


def test_the_heat_over_the_frames_of_a_clip_is_that_of_the_network(clip_run, store, browse_runs):
    index = 2
    phase = list_phases(clip_run.recipe)[-1]
    network = load_phase_network(clip_run, phase, "both")
    sample = make_dataset(clip_run.recipe, store, ("rgb", "flow"), "validate")[0, index]
    blocks = {"rgb": network.to_rgb["res2_1"], "flow": network.to_flow["res2_1"]}
    maps = compute_maps(network, sample, 0, phase, blocks, describe_input(clip_run.recipe, 1))

    key = make_key(store.index.id(int(store.subset("test")[index])))
    page = browse_runs(clip_run)(f"/video/{key}?block=to_rgb/res2_1", width=390)
    reading, box = page.locator(".ask .reading"), (8 / 40, 0, 32 / 40, 1)
    reading.filter(has_text="highest weight").wait_for()
    rgb, flow = (page.locator(f".ask-stage[data-stream={s}]") for s in ("rgb", "flow"))
    asking, shares = page.locator(".step-row").all()
    click_inside(rgb, box, 0.9, 0.2)
    weights = maps["rgb"].read_weights((2, 1, 5))  # the middle one of four steps
    words = "From row 2, column 6 of 6 × 6 of frames 7–8"
    reading.filter(has_text=words).wait_for()
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    heaviest = int(weights.sum(axis=(1, 2)).argmax())
    pressed = shares.locator("[aria-pressed=true]")
    assert pressed.get_attribute("aria-label").startswith(f"frames {3 + 2 * heaviest}–")
    for step, button in enumerate(shares.locator("button").all()):
        button.click()
        share = float(weights[step].sum())
        assert read_percent(button.get_attribute("aria-label")) == pytest.approx(share, abs=1e-3)
        reading.filter(has_text=f"the weight on frames {3 + 2 * step}–").wait_for()
        width, height, sums = read_pixels(flow)
        assert (height, width) == weights[step].shape
        order = np.argsort(weights[step], axis=None)  # brighter: a higher weight
        assert (np.diff(np.array(sums)[order]) >= -1).all()
        assert (max(sums) == BRIGHTEST) == (weights[step].max() == weights.max())
        assert flow.get_attribute("aria-label") == f"Flow, frame {4 + 2 * step}"
    for i, j in np.ndindex(3, 3):
        click_inside(flow, box, (j + 0.5) / 3, (i + 0.5) / 3, "hover")
        text = reading.nth(1).filter(has_text=f"row {i + 1}, column {j + 1}:").inner_text()
        shown = read_percent(text.partition(": ")[2])
        assert shown == pytest.approx(float(weights[3, i, j]), rel=2e-3)

    asking.locator("[aria-pressed=true]").focus()
    page.keyboard.press("ArrowLeft")  # the frames before ask, from the same point
    reading.filter(has_text="From row 2, column 6 of 6 × 6 of frames 5–6").wait_for()
    assert "step=1" in page.url and "shown=3" in page.url
    page.reload()
    reading.filter(has_text="From row 2, column 6 of 6 × 6 of frames 5–6").wait_for()
    click_inside(flow, box, 0.1, 0.9)  # the other way round, from the frame that is shown
    reading.filter(has_text="From row 6, column 1 of 6 × 6 of frames 9–10").wait_for()
    assert page.locator(".ask select").last.input_value() == "to_flow/res2_1"
    back = maps["flow"].read_weights((3, 5, 0)).sum(axis=(1, 2))
    label = (
        page.locator(".step-row").first.locator("[aria-pressed=true]").get_attribute("aria-label")
    )
    assert read_percent(label) == pytest.approx(float(back.max()), abs=1e-3)


def test_a_cell_of_the_matrix_opens_its_videos(store, browse):
    page = browse("/runs/run", width=390)
    cell = page.locator("table.confusion button").first
    cell.wait_for()
    count = int(cell.inner_text())
    cell.click()
    page.locator(".list-head").filter(has_text=f"{count} video").wait_for()
    assert page.locator(".tile-video").count() == count
    assert "true=" in page.url and "predicted=" in page.url
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.reload()  # the address holds the open cell
    page.locator(".list-head").filter(has_text=f"{count} video").wait_for()
    current = page.locator("table.confusion button[aria-current]")
    current.first.wait_for()  # the matrix comes by a request of its own, perhaps after the list
    assert current.count() == 1
    page.locator(".chart polyline").first.wait_for()
    page.locator("a.tile-video").first.click()
    page.locator(".predictions .top li").first.wait_for()
    assert page.locator(".predictions .top").count() >= 3
    page.get_by_text("Score each segment alone").click()
    page.locator(".predictions .choice select").select_option("1")
    page.get_by_text("iter_1, segment 2 alone").wait_for()


def test_segments_of_branches_that_read_other_frames(begin, finish, store, browse_runs):
    page = browse_runs(finish(begin(iterations=0, testing__controls="[]")))(
        f"/video/{make_key(store.index.id(int(store.subset('test')[2])))}"
    )
    page.get_by_text("Score each segment alone").click()
    select = page.locator(".predictions .choice select")
    select.wait_for()
    assert select.locator("option").all_inner_texts() == [
        "1 of 2, frames 3 and 2", "2 of 2, frames 11 and 7"
    ]  # fmt: skip
    select.select_option("1")
    assert page.locator(".predictions h5").all_inner_texts()[:2] == [
        "RGB, frame 11", "flow, frame 7"
    ]  # fmt: skip

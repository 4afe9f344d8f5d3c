"""The overview and the grid in a real browser: Chromium, where it is installed."""

import re
import shutil
import time
from threading import Thread

import pytest

from flowkit.store.failures import Failure, append_failure
from flowkit.web.app import WebContext, make_app
from flowkit.web.open_store import OpenStore
from flowkit.web.safety import Safety, list_hosts
from flowkit.web.server import open_listener

from ...conftest import write_store

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
VIDEOS = 70
HOSTILE = "<img src=x onerror=alert(1)>'\"&"


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    """The address of a server of 70 videos, one with a hostile id, and of one that failed."""
    import uvicorn

    root = tmp_path_factory.mktemp("pages") / "S"
    write_store(root, [HOSTILE, *(f"clip {k:02d}.mp4" for k in range(1, VIDEOS))], frames=2)
    append_failure(root, Failure("broken.mp4", "v", "decode", "<b>no frames</b>", 2, 1.5e9))
    listener, port = open_listener("127.0.0.1", 0)
    app = Safety(make_app(WebContext(OpenStore(root))), list_hosts("127.0.0.1", port))
    server = uvicorn.Server(uvicorn.Config(app, log_level="error"))
    thread = Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    yield f"http://127.0.0.1:{port}"
    server.should_exit = True
    thread.join()
    listener.close()


@pytest.fixture(scope="module")
def browser():
    """One browser for all tests of this module."""
    playwright = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
    if CHROMIUM is None:
        pytest.skip("Chromium is not installed")
    with (
        playwright.sync_playwright() as api,
        api.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"]) as browser,
    ):
        yield browser


@pytest.fixture
def problems():
    """Errors of the page, and its requests to other hosts."""
    return []


@pytest.fixture
def page(browser, address, problems):
    """A page; at the end of the test there are no problems."""
    with browser.new_context(base_url=address, viewport={"width": 1280, "height": 800}) as context:
        page = context.new_page()
        page.set_default_timeout(30_000)
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("console", lambda m: m.type == "error" and problems.append(m.text))
        page.on("request", lambda r: r.url.startswith(address) or problems.append(r.url))
        yield page
    assert not problems


def list_ids(page):
    return page.locator(".tile .id").all_inner_texts()


def wait_for_count(page, text):
    page.locator(".count", has_text=re.compile(f"^{text}$")).wait_for()


def wait_until(page, expression):
    """Wait for a JavaScript expression; the page's CSP forbids `wait_for_function`."""
    deadline = time.monotonic() + 30
    while not page.evaluate(expression):
        assert time.monotonic() < deadline, expression
        page.wait_for_timeout(20)


def test_the_overview_counts_and_a_class_leads_to_its_videos(page):
    page.goto("/")
    numbers = page.locator(".numbers")
    numbers.wait_for()
    assert numbers.inner_text().split("\n")[:4] == ["videos", "70", "frames", "2,555"]
    assert page.get_by_text("<b>no frames</b>").count() == 1  # text, not HTML
    page.get_by_role("region", name="Length").get_by_role("link").first.wait_for()
    page.get_by_role("link", name=re.compile("^wave: 35 videos")).click()
    wait_for_count(page, "35 of 70 videos")
    assert page.url.endswith("/browse?class=wave")
    assert page.get_by_role("combobox", name="Class").input_value() == "wave"
    page.go_back()
    page.get_by_role("link", name="1 video failed").click()
    wait_for_count(page, "1 video")
    assert page.locator(".tile").inner_text().startswith("<b>no frames</b>")
    assert page.locator("a.tile").count() == 0


def test_a_bar_of_a_distribution_leads_to_its_videos(page):
    page.goto("/")
    bar = page.get_by_role("region", name="Length").get_by_role("link").first
    count = int(re.search(r": (\d+) videos?", bar.get_attribute("aria-label"))[1])
    bar.focus()
    bar.press("Enter")
    wait_for_count(page, f"{count} of 70 videos")


def test_filters_and_order_are_in_the_url(page):
    page.goto("/browse")
    wait_for_count(page, "70 videos")
    assert HOSTILE in list_ids(page)
    page.get_by_label("Text in the id").fill("CLIP 1")
    wait_for_count(page, "10 of 70 videos")
    page.get_by_label("Sort by").select_option("duration")
    page.get_by_role("button", name="Smallest first").click()
    page.locator(".cell", has_text="clip 19.mp4").and_(page.locator("[data-index='0']")).wait_for()
    assert list_ids(page)[-1] == "clip 10.mp4"
    assert page.url.endswith("/browse?text=CLIP+1&sort=duration&descending=1")
    page.reload()
    wait_for_count(page, "10 of 70 videos")
    assert list_ids(page)[0] == "clip 19.mp4"
    page.get_by_label("Length at least").fill("0.8")
    wait_for_count(page, "2 of 70 videos")


def test_a_wrong_filter_and_damaged_pictures_are_said(page, problems):
    page.route("**/image/*/rgb/*.jpg", lambda route: route.fulfill(status=422))
    page.goto("/browse?where=colour%3Dred")
    page.get_by_role("alert").get_by_text("no column 'colour'").wait_for()
    page.get_by_role("button", name="Clear all filters").click()
    wait_for_count(page, "70 videos")
    page.get_by_text("The picture cannot be read.").first.wait_for()
    assert page.get_by_role("alert").count() == 0
    assert all("responded with a status of 4" in problem for problem in problems)
    problems.clear()


def test_only_tiles_in_view_exist_and_scrolling_loads_more(page):
    requests = []
    page.on("request", lambda request: requests.append(request.url))
    page.goto("/browse")
    page.locator(".tile img").first.wait_for()
    assert page.locator(".cell").count() < 40
    assert sum("/api/videos?" in url for url in requests) == 1
    assert sum("/image/" in url for url in requests) < 40
    page.evaluate("window.scrollTo(0, document.documentElement.scrollHeight)")
    page.locator("[data-index='69'] .id", has_text="clip 69.mp4").wait_for()
    assert page.locator("[data-index='0']").count() == 0
    assert page.locator(".cell").count() < 40
    assert sum("/api/videos?" in url for url in requests) == 2
    page.evaluate("window.scrollTo(0, 0)")
    page.locator("[data-index='0'] .id").wait_for()
    indices = [int(cell) for cell in page.locator(".cell").evaluate_all(
        "cells => cells.map((cell) => cell.dataset.index)"
    )]  # fmt: skip
    assert indices == list(range(len(indices)))  # also in the order of readers
    page.evaluate("window.scrollTo(0, document.documentElement.scrollHeight)")
    page.locator("[data-index='69'] .id").wait_for()  # so that no earlier place is still to be set
    wait_until(page, "new URLSearchParams(location.search).get('at') > 40")
    page.reload()
    page.locator("[data-index='69'] .id").wait_for()


def test_the_keyboard_moves_the_focus_and_opens_a_video(page):
    page.goto("/browse")
    page.locator(".tile img").first.wait_for()
    columns = page.locator(".cell").evaluate_all(
        "cells => cells.filter((c) => c.style.transform.endsWith(', 0px)')).length"
    )
    for keys, index in (("jjj", 2), ("k", 1), (["ArrowDown"], 1 + columns), (["End"], 69)):
        for key in keys:
            page.keyboard.press(key)
        focused = "document.activeElement.parentNode.dataset.index"
        wait_until(page, f"{focused} === '{index}'")
    page.keyboard.press("/")
    page.keyboard.type("07")
    wait_for_count(page, "1 of 70 videos")
    page.keyboard.press("Escape")
    wait_until(page, "document.activeElement.className === 'tile'")
    assert page.get_by_label("Text in the id").input_value() == "07"
    page.keyboard.press("Enter")
    page.wait_for_url("**/video/*")


def test_the_flow_plays_under_the_pointer(page):
    page.goto("/browse")
    page.locator("a.tile:has(img)").nth(2).hover()
    page.locator(".picture.playing canvas").wait_for()
    page.mouse.move(2, 2)
    page.locator(".picture.playing").wait_for(state="detached")


def test_a_list_without_videos_says_so(page):
    page.goto("/browse?text=nothing")
    page.get_by_text("No video matches these filters.").wait_for()
    page.get_by_role("button", name="Clear all filters").click()
    wait_for_count(page, "70 videos")
    assert page.url.endswith("/browse")


@pytest.mark.parametrize("path", ["/", "/browse"])
def test_a_narrow_window_shows_all_of_its_width(page, path):
    page.set_viewport_size({"width": 390, "height": 700})
    page.goto(path)
    page.locator(".numbers, .tile img").first.wait_for()
    assert page.evaluate("document.documentElement.scrollWidth") <= 390

"""The page of one video in a real browser: Chromium of the system, without a window."""

import re
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import uvicorn

from flowkit.annotations.table import Annotation, AnnotationTable, Label
from flowkit.flow.color import flow_to_color
from flowkit.flow.quantization import quantize
from flowkit.recipe import FlowRecipe, LogMelRecipe, Resize, RGBRecipe, StoreRecipe
from flowkit.store import (
    Fingerprint,
    ShardWriter,
    Store,
    VideoMeta,
    create_or_open,
    rebuild_index,
    write_annotations,
)
from flowkit.store.format import jpeg
from flowkit.web.app import WebContext, make_app
from flowkit.web.keys import make_key
from flowkit.web.open_store import OpenStore
from flowkit.web.safety import Safety, list_hosts
from flowkit.web.server import open_listener

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed")
playwright = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")

WIDTH, HEIGHT, FRAMES = 64, 48, 12
TIMES = np.array([0, 40, 80, 120, 240, 280, 320, 360, 400, 440, 480, 520]) * 1000
MOVING, BROKEN, SOUND, FLOW_ONLY = "a <b>&'\".mp4", "broken.mp4", "sound.mp4", "z flow only.mp4"
DAMAGED = b"\xff\xd8 no picture"


def draw_frame(t: int) -> dict[str, Any]:
    """A picture of gradients, and flow that turns with t and has all directions."""
    y, x = np.mgrid[:HEIGHT, :WIDTH].astype(np.float32)
    picture = np.stack([4 * x, 5 * y, 0 * x + 20 * t], axis=2).astype(np.uint8)
    angle = np.arctan2(y - HEIGHT / 2, x - WIDTH / 2) + 0.3 * t
    flow = np.hypot(x - WIDTH / 2, y - HEIGHT / 2) / 5 * np.stack([np.cos(angle), np.sin(angle)])
    q = quantize(flow.astype(np.float32), 20.0)
    return {
        "rgb": jpeg.encode_rgb(picture, 95),
        "flow_x": jpeg.encode_grey(q[0], 95),
        "flow_y": jpeg.encode_grey(q[1], 95),
        "time": int(TIMES[t]),
    }


def describe(id: str, streams: tuple[str, ...], frames: int, **more: Any) -> VideoMeta:
    values = {"fps": FRAMES / 0.56, "width": WIDTH, "height": HEIGHT, "duration": 0.56} | more
    fingerprint = Fingerprint(size=7, mtime_ns=8, digest="0f" * 16)
    return VideoMeta(
        id=id, source=id, fingerprint=fingerprint, streams=streams, frames=frames, **values
    )


def write_video(writer: ShardWriter, id: str, omitted: tuple[str, ...] = (), step: int = 1) -> None:
    """A video whose frames lack some columns; the picture of frame 2 of `BROKEN` is damaged."""
    writer.begin(id)
    for t in range(FRAMES):
        row = draw_frame(t)
        if not 0 <= t + step < FRAMES:
            del row["flow_x"], row["flow_y"]
        if id == BROKEN and t in (2, 3):
            row["rgb" if t == 2 else "flow_y"] = DAMAGED
        writer.append(**{name: value for name, value in row.items() if name not in omitted})
    streams = tuple(name for name in ("rgb", "flow") if name not in omitted)
    notes = ("the end is missing <script>",) if id == MOVING else ()
    provenance = {"backend": "numba", "flowkit": "9.8.7", "host": "somewhere"}
    writer.end(describe(id, streams, FRAMES, warnings=notes, provenance=provenance))


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with one video of each kind."""
    root = tmp_path_factory.mktemp("player") / "store"
    recipe = StoreRecipe(
        resize=Resize(mode="none"), rgb=RGBRecipe(), flow=FlowRecipe(), audio=LogMelRecipe()
    )
    create_or_open(root, recipe)
    writer = ShardWriter(root, recipe=recipe)
    write_video(writer, MOVING)
    write_video(writer, BROKEN)
    write_video(writer, FLOW_ONLY, omitted=("rgb",))
    writer.close()
    writer = ShardWriter(root, "audio", recipe=recipe)
    writer.begin(SOUND)
    for k in range(3):
        writer.append(patch=np.full((96, 64), k, np.float32))
    writer.end(describe(SOUND, ("audio",), 3, fps=1 / 0.96, width=0, height=0, duration=None))
    writer.close()
    labels = (Label("wave", 0.1, 0.3), Label("jump", None, None))
    annotations = AnnotationTable(("wave", "jump"), (Annotation(MOVING, labels, ("train",)),))
    write_annotations(root, annotations)
    rebuild_index(root)
    return root


@pytest.fixture(scope="module")
def serve() -> Iterator[Callable[[Path], str]]:
    """``serve(root)``: the address of a server of a store, in a thread."""
    servers = []

    def start(root: Path) -> str:
        listener, port = open_listener("127.0.0.1", 0)
        app = Safety(make_app(WebContext(OpenStore(root))), list_hosts("127.0.0.1", port))
        config = uvicorn.Config(app, log_level="error", timeout_graceful_shutdown=1)
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        servers.append((server, thread, listener))
        return f"http://127.0.0.1:{port}"

    yield start
    for server, thread, listener in servers:
        server.should_exit = True
        thread.join()
        listener.close()


@pytest.fixture(scope="module")
def address(root: Path, serve: Callable[[Path], str]) -> str:
    return serve(root)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        playwright.expect.set_options(timeout=60_000)
        yield browser
        playwright.expect.set_options(timeout=5_000)
        browser.close()


@pytest.fixture
def open_video(browser: Any, address: str) -> Iterator[Callable[..., Any]]:
    """``open_video(id, query)``: a page; in the end none has an error or left the host."""
    pages, problems = [], []

    def open_page(id: str, query: str = "", at: str = address, width: int = 1280, **more: Any):
        script = more.pop("script", None)
        context = browser.new_context(viewport={"width": width, "height": 800}, **more)
        context.set_default_timeout(60_000)
        if script:
            context.add_init_script(script)
        page = context.new_page()
        pages.append(context)
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("console", lambda m: m.type == "error" and problems.append(m.text))
        page.on("request", lambda r: r.url.startswith((at, "blob:")) or problems.append(r.url))
        page.goto(f"{at}/video/{make_key(id)}{query}")
        page.wait_for_selector(".facts")
        return page

    yield open_page
    for context in pages:
        context.close()
    assert problems == []


def wait_for_frame(page: Any, t: int) -> None:
    playwright.expect(page.locator(".position")).to_contain_text(f"frame {t} of {FRAMES}")


def read_flow(page: Any) -> list[float]:
    """The displacement that the page shows, x, y and length in pixels."""
    texts = [
        page.locator(f".reading [data-value={name}]").inner_text() for name in ("x", "y", "length")
    ]
    return [float(re.sub(r"[^\d.+-]", "", text.replace("−", "-"))) for text in texts]


def point_at(page: Any, x: int, y: int, stage: str) -> None:
    box = page.locator(f"[data-stage={stage}]").bounding_box()
    page.mouse.move(
        box["x"] + (x + 0.5) / WIDTH * box["width"], box["y"] + (y + 0.5) / HEIGHT * box["height"]
    )


@pytest.mark.parametrize("stage", ["rgb", "flow"])
def test_the_pointer_reads_the_displacement(open_video, root, stage):
    video = Store(root)[MOVING]
    page = open_video(MOVING, "?t=3")
    wait_for_frame(page, 3)
    point_at(page, 20, 10, stage)
    playwright.expect(page.locator(".reading [data-value=place]")).to_have_text("Pixel (20, 10)")
    for t in (3, 4):
        wait_for_frame(page, t)
        x, y = video.flow(t)[10, 20]
        expected = [x, y, np.hypot(x, y)]
        playwright.expect(page.locator(".reading [data-value=length]")).to_be_visible()
        assert read_flow(page) == pytest.approx(expected, abs=0.2)
        page.keyboard.press("ArrowRight")
    wait_for_frame(page, 5)
    page.wait_for_url("**t=5*")


@pytest.mark.parametrize("has_card", [True, False], ids=["WebGL", "canvas"])
def test_flow_has_the_colours_of_the_wheel(open_video, root, has_card):
    script = """const get = HTMLCanvasElement.prototype.getContext;
      HTMLCanvasElement.prototype.getContext = function (kind, ...rest) {
        return kind === "webgl2" ? null : get.call(this, kind, ...rest);
      };"""
    page = open_video(MOVING, "?t=2&scale=3", script=None if has_card else script)
    wait_for_frame(page, 2)
    flow = page.locator("[data-stage=flow] canvas").first
    playwright.expect(flow).to_have_js_property("width", WIDTH)  # it is drawn after the position
    pixels = page.evaluate("""() => {
      const shown = document.querySelector("[data-stage=flow] canvas");
      const copy = new OffscreenCanvas(shown.width, shown.height).getContext("2d");
      copy.drawImage(shown, 0, 0);
      return Array.from(copy.getImageData(0, 0, shown.width, shown.height).data);
    }""")
    colours = np.array(pixels, np.uint8).reshape(HEIGHT, WIDTH, 4)[..., :3].astype(int)
    expected = flow_to_color(Store(root)[MOVING].flow(2), 3.0).astype(int)
    assert (np.abs(colours - expected).max(axis=2) <= 3).mean() > 0.99
    assert len(np.unique(expected.reshape(-1, 3), axis=0)) > 500


def test_it_plays_and_obeys_keys(open_video):
    page = open_video(MOVING, "?speed=0.5")
    wait_for_frame(page, 0)
    page.keyboard.press("l")
    page.keyboard.press("Space")
    playwright.expect(page.get_by_role("button", name="Pause")).to_be_visible()
    playwright.expect(page.locator(".position")).not_to_contain_text("frame 0 of")
    page.keyboard.press("Space")
    playwright.expect(page.get_by_role("button", name="Play")).to_be_visible()
    playwright.expect(page.get_by_role("button", name="Loop")).to_have_attribute(
        "aria-pressed", "true"
    )
    page.keyboard.press("+")
    playwright.expect(page.get_by_label("Speed")).to_have_value("1")
    page.keyboard.press("End")
    wait_for_frame(page, FRAMES - 1)
    page.keyboard.press("ArrowRight")  # in a loop, the first frame follows
    wait_for_frame(page, 0)
    page.keyboard.press("Shift+ArrowRight")
    wait_for_frame(page, 10)
    page.wait_for_url("**loop=1*")
    page.keyboard.press("j")
    page.wait_for_url(f"**/video/{make_key(BROKEN)}?loop=1*")
    playwright.expect(page.get_by_role("heading", name=BROKEN)).to_be_visible()
    page.keyboard.press("k")
    page.wait_for_url(f"**/video/{make_key(MOVING)}?loop=1*")


def test_frames_are_shown_at_their_times(open_video):
    page = open_video(MOVING)
    found = page.evaluate("""async () => {
      const {frameAt, timeOf} = await import("/static/player.js");
      const video = {frames: 5, interval: null, times: [0, 0.04, 0.12, 0.12, 0.16]};
      const even = {frames: 50, interval: 0.04, times: null};
      return [[-1, 0, 0.039, 0.04, 0.11, 0.12, 9].map((s) => frameAt(video, s)), timeOf(video, 2),
        Array.from({length: 50}, (_, t) => frameAt(even, timeOf(even, t))), frameAt(even, 99)];
    }""")
    assert found == [[0, 0, 0, 1, 1, 3, 4], 0.12, list(range(50)), 49]
    page.keyboard.press("End")
    playwright.expect(page.locator(".position")).to_contain_text("0:00.52 / 0:00.56")


def test_the_time_axis_shows_labels_and_motion_and_seeks(open_video):
    page = open_video(MOVING)
    page.get_by_role("button", name="Go to wave").click()  # from 0.1 s: frame 2 is shown then
    wait_for_frame(page, 2)
    playwright.expect(page.get_by_role("img", name="Mean motion")).to_be_visible()
    slider = page.get_by_role("slider").bounding_box()
    page.mouse.click(slider["x"] + slider["width"] * 0.3 / 0.56, slider["y"] + 5)
    wait_for_frame(page, 5)
    facts = page.locator(".facts").inner_text()
    for fact in (MOVING, "the end is missing <script>", "numba", "flowkit 9.8.7", "somewhere",
                 "0f" * 16, "train", "jump", "it varies"):  # fmt: skip
        assert fact in facts


def test_damaged_pictures_are_said_and_the_others_shown(open_video):
    page = open_video(BROKEN, "?t=2")
    rgb, flow = (page.locator(f"[data-stage={name}] .tile") for name in ("rgb", "flow"))
    playwright.expect(rgb).to_contain_text("picture of frame 2 is damaged")
    playwright.expect(flow).to_be_hidden()
    page.keyboard.press("ArrowRight")
    playwright.expect(flow).to_contain_text("flow of frame 3 is damaged")
    playwright.expect(rgb).to_be_hidden()
    page.keyboard.press("End")
    playwright.expect(flow).to_contain_text("Frame 11 has no flow: it would lead to frame 12")


def test_a_video_may_have_sound_only_or_flow_only(open_video):
    page = open_video(SOUND)
    image = page.get_by_role("img", name="Sound")
    playwright.expect(image).to_have_js_property("naturalWidth", 3 * 96)
    assert page.locator("[data-stage], .controls").count() == 0
    page.keyboard.press("Space")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("j")
    page.wait_for_url(f"**/{make_key(FLOW_ONLY)}*")
    playwright.expect(page.locator("[data-stage]")).to_have_count(1)
    playwright.expect(page.locator("[data-stage=flow] .tile")).to_be_hidden()


def test_a_video_without_a_frame_rate_can_be_played(open_video, serve, make_store):
    page = open_video("a", at=serve(make_store(["a"], frames=FRAMES, fps=0.0)))
    playwright.expect(page.locator(".facts")).to_contain_text("shown at 25 frames/s")
    page.keyboard.press("Space")
    wait_for_frame(page, FRAMES - 1)
    playwright.expect(page.get_by_role("button", name="Play")).to_be_visible()


def test_backward_flow_begins_later(open_video, serve, tmp_path):
    recipe = StoreRecipe(resize=Resize(mode="none"), rgb=RGBRecipe(), flow=FlowRecipe(step=-2))
    create_or_open(tmp_path / "store", recipe)
    writer = ShardWriter(tmp_path / "store", recipe=recipe)
    write_video(writer, "backward.mp4", step=-2)
    writer.close()
    rebuild_index(tmp_path / "store")
    page = open_video("backward.mp4", "?t=1", at=serve(tmp_path / "store"))
    tile = page.locator("[data-stage=flow] .tile")
    playwright.expect(tile).to_contain_text("Frame 1 has no flow: it would lead to frame -1")
    page.keyboard.press("ArrowRight")
    wait_for_frame(page, 2)
    playwright.expect(tile).to_be_hidden()


def test_narrow_screens_stack_the_pictures(open_video):
    page = open_video(MOVING, "?view=arrows", width=390, color_scheme="dark")
    wait_for_frame(page, 0)
    rgb, flow = (page.locator(f"[data-stage={name}]").bounding_box() for name in ("rgb", "flow"))
    assert flow["y"] >= rgb["y"] + rgb["height"]
    assert (flow["width"], flow["height"]) == (rgb["width"], rgb["height"])
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


def test_few_frames_are_kept_and_the_others_freed(open_video):
    page = open_video(SOUND)
    found = page.evaluate(
        """async ([key, count]) => {
      const {FrameLoader} = await import("/static/frames.js");
      const loader = new FrameLoader(key, {frames: count, width: 64, height: 48});
      loader.capacity = 4;
      const frames = [];
      for (let t = 0; t < count; t++) {
        loader.position = t;
        frames.push(await loader.load(t));
      }
      const kept = [...loader.decoded.keys()];
      const open = frames.filter(({rgb}) => rgb.width).map(({t}) => t);
      loader.close();
      const areFreed = frames.every(({rgb}) => !rgb.width);
      return [kept.length, open.sort().join() === kept.sort().join(), areFreed];
    }""",
        [make_key(MOVING), FRAMES],
    )
    assert found == [4, True, True]


def test_leaving_the_page_stops_it(open_video):
    page = open_video(MOVING, "?loop=1")
    page.keyboard.press("Space")
    playwright.expect(page.get_by_role("button", name="Pause")).to_be_visible()
    page.get_by_role("link", name="Overview").click()
    page.wait_for_url("**/")
    requests: list[str] = []
    page.on("request", lambda request: requests.append(request.url))
    page.keyboard.press("Space")  # the player's keys are gone with it
    page.wait_for_timeout(500)
    assert [url for url in requests if "/frames" in url] == []
    assert page.locator(".position").count() == 0

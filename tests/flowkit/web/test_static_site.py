"""The folder of `flowkit view --static`: its files, what it refuses, and the page in Chromium."""

import base64
import errno
import json
import os
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import urlencode

import numpy as np
import pytest
from click.testing import CliRunner

from flowkit.cli import main
from flowkit.errors import DiskFullError, StoreError, UsageError
from flowkit.store import Store
from flowkit.store.failures import Failure, append_failure
from flowkit.web import static_site
from flowkit.web.browse import Selection, list_page
from flowkit.web.images import PARTS, bundle_frames
from flowkit.web.keys import make_key
from flowkit.web.open_store import OpenStore
from flowkit.web.overview import describe_store
from flowkit.web.pages import STATIC
from flowkit.web.static_data import shorten_messages
from flowkit.web.static_page import make_import_map, make_script, rename_imports
from flowkit.web.static_site import write_static_site

from ...conftest import write_store
from .conftest import IDS

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")


def write(root, out, limit=None):
    lines = []
    write_static_site(root, (), out, limit, lines.append)
    return lines


def read_script(path):
    """The text that a script of data/ hands over."""
    name, text = re.fullmatch(
        r'flowkitStatic\.receive\(("[^"]*"), (".*")\);\n', path.read_text("ascii"), re.DOTALL
    ).groups()
    assert json.loads(name) == path.stem
    return json.loads(text)


def read_site(out):
    text = (out / "data/site.js").read_text("ascii")
    return json.loads(json.loads(re.fullmatch(r"\S+ = JSON\.parse\((.*)\);\n", text)[1]))


def test_the_folder_has_the_answers_and_the_stored_bytes(root, tmp_path):
    out = tmp_path / "new" / "page"
    assert f"{out / 'index.html'}  (5 of 5 videos" in write(root, out)[0]
    site = read_site(out)
    assert set(site["videos"]) == {make_key(id) for id in IDS}
    for id in IDS:
        key = make_key(id)
        facts = site["videos"][key]
        video = Store(root)[id]
        assert base64.b64decode(
            read_script(out / f"data/frames-{facts['number']}-0.js")
        ) == bundle_frames(video, PARTS, 0, 64)
        assert (out / facts["picture"]).read_bytes() == video.rgb_bytes(video.num_frames // 2)
        assert facts["sound"] is None
        answers = json.loads(read_script(out / f"data/video-{facts['number']}.js"))
        described = answers[f"/api/video/{key}"]["value"]
        assert (described["id"], described["frames"]) == (id, video.num_frames)
        assert len(answers[f"/api/video/{key}/motion"]["value"]["frames"]) == video.num_flow
    overview = json.loads(read_script(out / f"data/{site['answers']['/api/overview']}.js"))
    expected = describe_store(OpenStore(root)) | {"orders": []}
    changed = {"read_at", "path"}
    assert {
        name: value
        for name, value in overview["/api/overview"]["value"].items()
        if name not in changed
    } == json.loads(json.dumps({k: v for k, v in expected.items() if k not in changed}))


def test_frames_of_long_videos_are_in_several_scripts(root, tmp_path, monkeypatch):
    monkeypatch.setattr("flowkit.web.static_data.CHUNK_BYTES", 1)
    write(root, tmp_path / "page")
    facts = read_site(tmp_path / "page")["videos"][make_key("a")]
    assert (facts["chunk"], facts["frames"]) == (1, 5)
    last = read_script(tmp_path / "page" / f"data/frames-{facts['number']}-4.js")
    assert base64.b64decode(last) == bundle_frames(Store(root)["a"], PARTS, 4, 1)


def test_texts_cannot_end_a_script(root, tmp_path):
    out = tmp_path / "page"
    write(root, out)
    for path in (out / "data").iterdir():
        assert not set("<>&") & set(path.read_text("ascii")), path
    assert max(len(path.name) for path in out.rglob("*")) < 40

    class Elements(HTMLParser):
        def __init__(self):
            super().__init__()
            self.found = []

        def handle_starttag(self, tag, attrs):
            self.found.append((tag, dict(attrs)))

    page = Elements()
    page.feed((out / "index.html").read_text())
    assert [tag for tag, _ in page.found].count("script") == 3
    for _, attributes in page.found:
        for name in ("src", "href"):
            address = attributes.get(name, "#/")
            assert address.startswith("#/") or (out / address).is_file(), address
    text = "</script><!--\u2028'\\"
    assert json.loads(make_script("x", text)[27:-3]) == text


def test_modules_import_each_other_by_name():
    modules = {f"/static/{path.name}": path.read_bytes() for path in STATIC.glob("*.js")}
    urls = make_import_map(modules)
    assert urls.keys() >= {"flowkit/static/main.js", "flowkit/static/static_answers.js"}
    for url in urls.values():
        source = base64.b64decode(url.partition("base64,")[2]).decode()
        assert set(re.findall(r'"(flowkit/[^"]+)"', source)) <= urls.keys()
        assert not re.search(r'\b(?:from|import)\s*\(?\s*"[./]', source)
    assert rename_imports('import {a}\n  from "../b.js";', "/static/x/c.js", {"/static/b.js"}) == (
        'import {a}\n  from "flowkit/static/b.js";'
    )
    with pytest.raises(ValueError, match=r"there is no /static/b\.js"):
        rename_imports('import("./b.js")', "/static/c.js", set())


def test_an_own_folder_is_replaced_and_no_other(root, tmp_path):
    out = tmp_path / "page"
    write(root, out)
    assert (out / "data/video-4.js").exists()
    write(root, out, limit=2)
    assert not (out / "data/video-4.js").exists()
    assert len(read_site(out)["videos"]) == 2
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []
    other = tmp_path / "other"
    other.mkdir()
    (other / "letter.txt").write_text("dear")
    (tmp_path / "file").write_text("dear")
    for target, reason in (
        (other, "holds other files"), (tmp_path / "file", "is a file"),
        (root, "is in the store"), (root / "page", "is in the store"),
    ):  # fmt: skip
        with pytest.raises(UsageError, match=reason):
            write(root, target)
    assert (other / "letter.txt").read_text() == "dear"


@pytest.mark.parametrize("name", ["README.md", ".git/config", "data/sub/notes.txt", "link"])
def test_a_folder_to_which_something_was_added_is_not_replaced(root, tmp_path, name):
    out = tmp_path / "page"
    write(root, out)
    added = out / name
    added.parent.mkdir(parents=True, exist_ok=True)
    if name == "link":
        added.symlink_to(tmp_path)
    else:
        added.write_text("dear")
    with pytest.raises(UsageError, match=f"holds {re.escape(name)}, which is not among the files"):
        write(root, out, limit=2)
    assert added.exists() and len(read_site(out)["videos"]) == len(IDS)
    added.unlink()
    write(root, out, limit=2)


def test_a_folder_around_the_store_is_not_replaced(root, tmp_path):
    out = tmp_path / "page"
    write(root, out)
    shutil.copytree(root, out / "store")
    with pytest.raises(UsageError, match="has the store in it"):
        write(out / "store", out)
    assert len(Store(out / "store")) == len(IDS)


def test_a_full_disk_keeps_the_old_folder(root, tmp_path, monkeypatch):
    out = tmp_path / "page"
    write(root, out, limit=1)
    real = Path.write_bytes

    def fail(path, content):
        if path.name == "frames-1-0.js":
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(path, content)

    monkeypatch.setattr(Path, "write_bytes", fail)
    with pytest.raises(DiskFullError, match="disk full while writing"):
        write(root, out)
    assert len(read_site(out)["videos"]) == 1
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_a_store_that_changes_meanwhile(root, tmp_path, monkeypatch):
    real = Path.write_bytes

    def change(path, content):
        os.utime(root / "index.arrow", ns=(1, 1))
        return real(path, content)

    monkeypatch.setattr(Path, "write_bytes", change)
    with pytest.raises(StoreError, match="run the same command again"):
        write(root, tmp_path / "page")
    assert not (tmp_path / "page").exists()


def test_many_videos_need_a_limit(root, tmp_path, monkeypatch):
    out = tmp_path / "page"
    monkeypatch.setattr(static_site, "MAX_VIDEOS", 4)
    with pytest.raises(UsageError, match=r"has 5 videos, about 0\.0 GB as a folder"):
        write(root, out)
    assert not out.exists()
    monkeypatch.setattr(static_site, "MAX_VIDEOS", 5)
    monkeypatch.setattr(static_site, "MAX_BYTES", 1000)
    with pytest.raises(UsageError, match="--limit N"):
        write(root, out)
    write(root, out, limit=2)
    ids = sorted(IDS, key=str.encode)
    keys = [make_key(ids[0]), make_key(ids[2])]  # evenly spaced
    assert list(read_site(out)["videos"]) == keys
    answers = [json.loads(read_script(out / f"data/video-{n}.js")) for n in (0, 1)]
    first, second = (a[f"/api/video/{k}"]["value"] for a, k in zip(answers, keys, strict=True))
    assert (first["previous"], first["next"]) == (None, keys[1])
    assert (second["previous"], second["next"]) == (keys[0], None)
    assert "2 of its 5 videos" in (out / "index.html").read_text()


def test_a_damaged_picture_and_flow_alone(make_store, tmp_path):
    root = make_store(("a", "b"), tmp_path / "flow", streams=("flow",))
    write(root, tmp_path / "page")
    site = read_site(tmp_path / "page")
    pictures = [video["picture"] for video in site["videos"].values()]
    assert all((tmp_path / "page" / name).read_bytes()[:2] == b"\xff\xd8" for name in pictures)
    assert site["videos"][make_key("a")]["parts"] == ["flow_x", "flow_y"]
    shard = next((root / "frames").glob("*.arrow"))
    shard.write_bytes(shard.read_bytes()[:1000])
    write(root, tmp_path / "page")
    site = read_site(tmp_path / "page")
    assert {video["picture"] for video in site["videos"].values()} == {None}


def test_messages_do_not_tell_where_the_store_is(make_store, tmp_path):
    root = make_store(("a",), tmp_path / 'pri"vate/ü' / "mine")
    next((root / "frames").glob("*.json")).write_bytes(b"{")
    write(root, tmp_path / "page")
    answers = json.loads(read_script(tmp_path / "page/data/video-0.js"))
    (record,) = answers[f"/api/video/{make_key('a')}"]["value"]["committed"]
    assert record["error"].startswith("mine/frames/")
    assert "vate" not in json.dumps(answers)


def test_only_messages_are_shortened():
    value = {"/data/x": [{"id": "lab/data/1.mp4", "error": "/data/frames/a.json: expected …"}]}
    shortened = shorten_messages(value, Path("/data"))
    assert shortened == {
        "/data/x": [{"id": "lab/data/1.mp4", "error": "data/frames/a.json: expected …"}]
    }


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--limit", "3"], "--limit goes with --static"),
        (["--static", "{out}", "--port", "9000"], "so --port has no effect; leave"),
        (["--static", "{out}", "--limit", "0"], "--limit"),
    ],
)
def test_options_that_do_not_fit(root, tmp_path, options, words):
    options = [option.format(out=tmp_path / "page") for option in options]
    result = CliRunner().invoke(main, ["view", str(root), *options])
    assert result.exit_code == 2
    assert words in result.output
    assert not (tmp_path / "page").exists()


@pytest.fixture(scope="module")
def shown(tmp_path_factory):
    """A store whose flow and lengths differ, and the folder that shows it."""
    root, out = (tmp_path_factory.mktemp("static") / name for name in ("S", "page"))
    write_store(root, [*IDS, *(f"Clip {k}" for k in range(9))], frames=40, per_shard=5)
    append_failure(root, Failure("broken.mp4", "v", "decode", "<b>no frames</b>", 2, 1.5e9))
    write(root, out)
    return root, out


@pytest.fixture(scope="module")
def page(shown):
    """The page, opened from its file; at the end it had no problem, and read nothing elsewhere."""
    playwright = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
    if CHROMIUM is None:
        pytest.skip("Chromium is not installed")
    problems, here = [], f"file://{shown[1]}"
    with (
        playwright.sync_playwright() as api,
        api.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"]) as browser,
    ):
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        page.set_default_timeout(60_000)
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("console", lambda m: m.type == "error" and problems.append(m.text))
        page.on("request", lambda r: r.url.startswith((here, "data:")) or problems.append(r.url))
        page.goto(f"{here}/index.html")
        yield page
    assert problems == []


def test_overview_filter_and_player_work_from_a_file(page, shown):
    root, _ = shown
    page.wait_for_selector(".numbers")
    assert page.locator(".numbers dd").first.inner_text() == "14"
    page.click("text=Browse")
    page.fill("[name=text]", "cLIP")
    page.locator(".count", has_text="9 of 14 videos").wait_for()
    page.locator(".tile img").first.wait_for()
    page.locator("a.tile").first.click()
    page.wait_for_selector(".position")
    video = Store(root)["Clip 0"]
    box = page.locator("[data-stage=flow]").bounding_box()
    x, y = 7, 11
    page.mouse.move(
        box["x"] + (x + 0.5) / video.width * box["width"],
        box["y"] + (y + 0.5) / video.height * box["height"],
    )
    page.locator(".reading [data-value=x]").wait_for()
    read = [
        float(re.sub(r"[^\d.-]", "", page.inner_text(f"[data-value={n}]").replace("−", "-")))
        for n in ("x", "y")
    ]
    np.testing.assert_allclose(read, video.flow(0)[y, x], atol=0.011)
    page.keyboard.press(" ")
    page.locator(".position", has_text=f"frame {video.num_frames - 1} of").wait_for()
    page.go_back()
    page.locator(".count", has_text="9 of 14 videos").wait_for()
    page.goto(page.url.partition("#")[0] + f"#/video/{make_key(IDS[2])}?t=3")
    page.locator("h1", has_text="<img src=x").wait_for()
    page.locator(".position", has_text="frame 3 of").wait_for()
    page.goto(page.url.partition("#")[0] + f"#/video/{make_key('nothing')}")
    page.locator("[role=alert]", has_text="has 14 of the 14 videos of the store").wait_for()


SELECTIONS = [
    {}, {"descending": "1"}, {"sort": "motion"}, {"sort": "duration", "descending": "true"},
    {"sort": "fps", "offset": "3", "limit": "4"}, {"class": "wave"}, {"class": "dance"},
    {"subset": "test", "sort": "frames", "descending": "1"}, {"text": "ETC"}, {"text": "Ü #"},
    {"where": "frames>45 and motion>=0.1"}, {"where": "id>='b' and class!=wave"},
    {"where": "frames=4_5"}, {"where": "frames==0x2d"}, {"where": "fps<25 or"}, {"where": "x"},
    {"where": "class>wave"}, {"where": "width != 40"}, {"where": "p95>.5 AND warnings<1e3"},
    {"status": "failed"}, {"status": "missing"}, {"status": "failed", "where": "frames>1"},
    {"status": "failed", "where": "id=a"}, {"status": "lost"}, {"sort": "size"},
]  # fmt: skip


def test_selections_are_those_of_the_server(page, shown):
    ask = """queries => import("flowkit/static/api.js").then(({getJSON}) => Promise.all(
        queries.map((query) => getJSON(`/api/videos?${query}`).catch(() => "refused"))))"""
    answers = page.evaluate(ask, [urlencode(selection) for selection in SELECTIONS])
    store = OpenStore(shown[0])
    for selection, answer in zip(SELECTIONS, answers, strict=True):
        try:
            expected = list_page(store, Selection.from_query(selection))
        except UsageError:
            expected = "refused"
        if answer == "refused" or expected == "refused":
            assert answer == expected, selection
            continue
        ids = [[video["id"] for video in page["videos"]] for page in (answer, expected)]
        assert ids[0] == ids[1], selection
        for name in ("total", "stored", "offset", "bound", "version"):
            assert answer[name] == expected[name], selection

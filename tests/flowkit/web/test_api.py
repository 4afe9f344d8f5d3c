"""The JSON API and the pictures: what they say equals what the store says."""

import struct

import numpy as np
import pytest

from flowkit.store import Store
from flowkit.web.app import WebContext, make_app
from flowkit.web.images import MAX_FRAMES
from flowkit.web.keys import make_key
from flowkit.web.open_store import OpenStore
from flowkit.web.safety import Safety, list_hosts

from .conftest import IDS, request


def split_bundle(content, parts):
    (count,), offset, frames = struct.unpack_from("<I", content), 4, []
    for _ in range(count):
        frame = []
        for _ in range(parts):
            (length,) = struct.unpack_from("<I", content, offset)
            frame.append(content[offset + 4 : offset + 4 + length])
            offset += 4 + length
        frames.append(frame)
    assert offset == len(content)
    return frames


def test_the_overview_counts_what_the_store_has(get, root):
    facts = get("/api/overview").json()
    assert facts["name"] == root.name
    assert facts["videos"] == len(IDS)
    assert facts["frames"] == sum(5 + n for n in range(len(IDS)))
    assert facts["streams"] == {"rgb": 5, "flow": 5}
    assert facts["subsets"] == {"test": 2, "train": 3}
    assert facts["classes"] == [
        {"name": "wave", "videos": 3, "by_subset": [1, 2]},
        {"name": "jump high", "videos": 2, "by_subset": [1, 1]},
    ]
    lengths = facts["histograms"]["frames"]
    assert sum(lengths["counts"]) == len(IDS)
    assert lengths["edges"][0] == 5
    assert lengths["edges"][-1] == 9
    motion = facts["histograms"]["motion"]
    assert (motion["edges"], motion["counts"], motion["unknown"]) == ([], [], 5)
    assert facts["missing"] == {"total": 0, "listed": []}


@pytest.mark.parametrize("text", ["1", "true", "True", "0", "false", "False", ""])
def test_the_order_is_reversed_if_that_is_asked_for(get, text):
    found = get(f"/api/videos?sort=frames&descending={text}").json()["videos"]
    assert [video["frames"] for video in found] == (
        [9, 8, 7, 6, 5] if text.lower() in ("1", "true") else [5, 6, 7, 8, 9]
    )


def test_an_order_that_is_neither_is_refused(get):
    answer = get("/api/videos?sort=frames&descending=banana")
    assert answer.status == 400 and "descending is 1 or 0, got 'banana'" in answer.json()["error"]


def test_a_frame_of_thousands_of_digits_is_refused(get):
    assert get(f"/image/{make_key(IDS[0])}/rgb/{'1' * 5000}.jpg").status == 404


def test_pages_of_the_grid_are_pages_of_one_list(get):
    whole = get("/api/videos").json()
    assert whole["total"] == len(IDS)
    assert sorted(video["id"] for video in whole["videos"]) == sorted(IDS)
    pages = [get(f"/api/videos?offset={k}&limit=2").json()["videos"] for k in (0, 2, 4, 6)]
    assert [video for page in pages for video in page] == whole["videos"]
    assert all(video["key"] == make_key(video["id"]) for video in whole["videos"])


@pytest.mark.parametrize(
    ("query", "ids"),
    [
        ("class=wave", {IDS[0], IDS[2], IDS[4]}),
        ("subset=test", {IDS[0], IDS[3]}),
        ("text=ETC", {IDS[4]}),
        ("where=frames%3E7", {IDS[3], IDS[4]}),
        ("class=wave&where=frames%3E7", {IDS[4]}),
        ("text=nothing", set()),
    ],
)
def test_filters_select_videos(get, query, ids):
    answer = get(f"/api/videos?{query}").json()
    assert {video["id"] for video in answer["videos"]} == ids
    assert answer["total"] == len(ids)


def test_sorting_by_length(get):
    answer = get("/api/videos?sort=frames&descending=1&limit=3").json()
    assert [video["frames"] for video in answer["videos"]] == [9, 8, 7]


@pytest.mark.parametrize(
    "query",
    ["limit=0", "limit=201", "offset=-1", "offset=1e3", "sort=size", "class=dance", "where=x",
     "colour=red", "offset=٣"],
)  # fmt: skip
def test_a_wrong_selection_is_said(get, query):
    answer = get(f"/api/videos?{query}")
    assert answer.status == 400
    assert answer.json()["error"]


@pytest.mark.parametrize("id", IDS)
def test_a_video_is_described_and_its_pictures_are_the_stored_bytes(get, root, id):
    video, key = Store(root)[id], make_key(id)
    facts = get(f"/api/video/{key}").json()
    assert facts["id"] == id
    assert facts["frames"] == video.num_frames
    assert facts["flow"] == {
        "bound": 20.0, "step": 1, "first": 0, "count": video.num_frames - 1
    }  # fmt: skip
    assert facts["fingerprint"]["digest"] == video.fingerprint.digest
    assert [record["streams"] for record in facts["committed"]] == [["rgb", "flow"]]
    assert get(f"/image/{key}/rgb/2.jpg").content == video.rgb_bytes(2)
    assert get(f"/image/{key}/flow_y/1.jpg").content == video.flow_bytes(1)[1]
    frames = split_bundle(get(f"/api/video/{key}/frames?start=1&count=64").content, 3)
    expected = [
        [video.rgb_bytes(t), *(video.flow_bytes(t) if t < video.num_flow else (b"", b""))]
        for t in range(1, video.num_frames)
    ]
    assert frames == expected


def test_motion_is_the_mean_length_of_the_flow(get, root):
    video = Store(root)["a"]
    motion = get(f"/api/video/{make_key('a')}/motion").json()
    assert motion["frames"] == list(range(video.num_flow))
    expected = [np.hypot(*video.flow(t)[::4, ::4].transpose(2, 0, 1)).mean() for t in range(4)]
    assert np.allclose(motion["pixels"], expected, atol=0.02)


@pytest.mark.parametrize(
    ("target", "status"),
    [
        ("/api/video/{key}/frames?start=5", 400), ("/api/video/{key}/frames?count=65", 400),
        ("/api/video/{key}/frames?parts=depth", 400), ("/image/{key}/rgb/5.jpg", 400),
        ("/image/{key}/flow_x/4.jpg", 400), ("/image/{key}/depth/0.jpg", 404),
        ("/image/{key}/audio.png", 400), ("/api/video/nothing", 404), ("/api/video/{key}/x", 404),
        ("/api/nothing", 404), ("/static/nothing.js", 404), ("/nothing", 404),
        ("/image/{key}/rgb/99999999999999999999999.jpg", 400),
    ],
)  # fmt: skip
def test_what_there_is_not(get, target, status):
    answer = get(target.format(key=make_key("a")))
    assert answer.status == status
    assert answer.json()["error"]


def test_a_damaged_shard_spoils_its_pictures_only(get, root):
    shard = next((root / "frames").glob("*.arrow"))
    content = bytearray(shard.read_bytes())
    jpeg = Store(root)["a"].rgb_bytes(1)
    start = content.find(jpeg)
    shard.write_bytes(content[: start + 20])  # cut off
    answer = get(f"/image/{make_key('a')}/rgb/4.jpg")
    assert answer.status == 422
    assert "error" in answer.json()
    frames = split_bundle(get(f"/api/video/{make_key('a')}/frames?count={MAX_FRAMES}").content, 3)
    assert len(frames) == 5
    assert frames[-1][0] == b""


def test_a_store_that_grows_is_shown_as_it_is(app, root, make_store):
    assert request(app, "/api/videos").json()["total"] == len(IDS)
    make_store((*IDS, "new"), root.parent / "grown")
    (root / "index.arrow").unlink()
    for name in ("index.arrow", "frames"):
        (root.parent / "grown" / name).rename(root / f"{name}.new")
    (root / "frames").rename(root / "old")
    (root / "frames.new").rename(root / "frames")
    (root / "index.arrow.new").rename(root / "index.arrow")
    assert request(app, "/api/videos").json()["total"] == len(IDS) + 1
    assert request(app, "/api/overview").json()["videos"] == len(IDS) + 1
    (root / "index.arrow").unlink()
    assert request(app, "/api/videos").status == 409


def test_an_empty_store_has_an_empty_page(make_store):
    app = Safety(make_app(WebContext(OpenStore(make_store(())))), list_hosts("127.0.0.1", 8080))
    facts = request(app, "/api/overview").json()
    assert (facts["videos"], facts["streams"], facts["missing"]["total"]) == (0, {}, 0)
    assert all(row["videos"] == 0 for row in facts["classes"])
    assert all(not histogram["counts"] for histogram in facts["histograms"].values())
    assert request(app, "/api/videos").json()["videos"] == []
    assert request(app, "/").status == 200

"""Requests that are refused: hosts, methods, tokens, sizes, and a thousand hostile ones."""

import random

import pytest

from flowkit.web.app import WebContext, make_app
from flowkit.web.keys import make_key
from flowkit.web.open_store import OpenStore
from flowkit.web.safety import HEADERS, Safety, list_hosts

from .conftest import request

HOST = (("host", "localhost:8080"),)
SECRET = "s3cret-token"


@pytest.mark.parametrize(
    "host", ["127.0.0.1:8080", "localhost:8080", "LocalHost:8080", "[::1]:8080"]
)
def test_this_server_answers_to_its_names(get, host):
    answer = get("/", headers=(("host", host),))
    assert answer.status == 200
    assert answer.headers["content-type"].startswith("text/html")
    assert answer.headers.items() >= HEADERS.items()


@pytest.mark.parametrize(
    "headers",
    [
        (), (("host", ""),), (("host", "evil.example"),), (("host", "localhost"),),
        (("host", "localhost:8081"),), (("host", "localhost:8080.evil.example"),),
        (("host", "evil.example"), ("host", "localhost:8080")), (("host", "localhost:8080\x00"),),
        (("x-forwarded-host", "localhost:8080"), ("host", "evil.example")),
    ],
)  # fmt: skip
def test_another_host_is_refused(get, headers):
    answer = get("/api/overview", headers=headers)
    assert answer.status == 421
    assert answer.headers.items() >= HEADERS.items()


@pytest.mark.parametrize(
    "method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT", "PROPFIND", "get"]
)
def test_nothing_can_be_written(get, method):
    answer = get("/api/overview", method=method)
    assert answer.status == 405
    assert answer.headers["allow"] == "GET, HEAD"


def test_a_long_target_is_refused(get):
    assert get(f"/{'a' * 9000}").status == 414
    assert get(f"/api/videos?text={'a' * 9000}").status == 414


def test_an_address_that_others_reach_needs_the_token(root):
    app = Safety(make_app(WebContext(OpenStore(root))), list_hosts("127.0.0.1", 8080), SECRET)
    for target in ("/", "/api/overview", "/api/overview?token=", "/api/overview?token=other",
                   "/static/main.js", "/?token=é"):  # fmt: skip
        assert request(app, target).status == 403
    for cookie in ("flowkit_token=", "flowkit_token=other", "other=s3cret-token", "=;;", "\x7f"):
        assert request(app, "/", headers=(*HOST, ("cookie", cookie))).status == 403
    first = request(app, f"/?token={SECRET}")
    assert first.status == 200
    cookie = first.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Strict" in cookie
    again = request(app, "/api/overview", headers=(*HOST, ("cookie", cookie.partition(";")[0])))
    assert again.status == 200
    assert request(app, f"/api/videos?token={SECRET}").status == 200


def test_without_a_token_none_is_set(get):
    assert "set-cookie" not in get("/?token=anything").headers


def test_ids_and_names_are_escaped(get):
    page = get("/video/%3Cscript%3E").content.decode()
    assert "<script>" not in page.replace('<script type="module"', "")
    assert " on" not in page.split("<body")[1]  # no inline handlers
    assert (
        get(f"/api/video/{make_key('<script>')}").json()["error"] == "the store has no such video"
    )


def make_hostile_target(rng):
    """A path, with or without a query, that no page asks for."""
    words = [
        "..", "%2e%2e", "..%2f", "..\\", "%5c..", "%00", "\x00", "%", "%zz", "%ff%fe", "a" * 300,
        "etc", "passwd", "store.json", "index.arrow", "locks", "api", "image", "static",
        "api/video", "video", "rgb", "0.jpg", "-1.jpg", "1e9.jpg", "audio.png",
        "<script>", "'", '"', "{{7*7}}",
        "${7}", ";", "//", "file:", "http:", "ü", "٣", "\u202e", "𝔸", "~", "*", "?", "#",
        "frames", "motion", "C:", "NUL", ".git", "__init__.py",
    ]  # fmt: skip
    path = "/" + rng.choice(["", "static/", "image/", "api/video/", "api/", "runs/"])
    path += "/".join(rng.choices(words, k=rng.randint(1, 6)))
    if rng.random() < 0.4:
        names = ["start", "count", "parts", "where", "limit", "offset", "class", "token", "text"]
        values = [*words, "-1", "1e400", "9" * 400, "' or 1=1", "x<y", "nan", "0x10"]
        pairs = (f"{rng.choice(names)}={rng.choice(values)}" for _ in range(rng.randint(1, 4)))
        path += "?" + rng.choice(["&", ";"]).join(pairs)
    return path


@pytest.mark.parametrize("seed", range(4))
def test_hostile_requests_get_4xx_and_nothing_else(app, seed):
    rng = random.Random(seed)
    for _ in range(250):
        target = make_hostile_target(rng)
        method = rng.choice(["GET"] * 8 + ["HEAD", "POST", "BREW", ""])
        host = rng.choice(["localhost:8080"] * 8 + ["evil:8080", "", "localhost:8080, evil"])
        long = ("x", "y" * rng.randint(0, 9000))
        answer = request(app, target, method, (("host", host), long))
        kind = answer.headers.get("content-type", "")
        is_page = answer.status == 200 and kind.startswith("text/html")
        assert 400 <= answer.status < 500 or is_page, (target, method, host, answer.status)
        assert b"root:" not in answer.content
        assert b"Traceback" not in answer.content
        assert answer.headers.items() >= HEADERS.items()

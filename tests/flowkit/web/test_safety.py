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
    for cookie in ("flowkit_token_8080=", "flowkit_token_8080=other", "other=s3cret-token", "=;;",
                   "\x7f", "flowkit_token_8081=s3cret-token"):  # fmt: skip
        assert request(app, "/", headers=(*HOST, ("cookie", cookie))).status == 403
    first = request(app, f"/?token={SECRET}")
    assert first.status == 200
    cookie = first.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Strict" in cookie
    again = request(app, "/api/overview", headers=(*HOST, ("cookie", cookie.partition(";")[0])))
    assert again.status == 200
    assert request(app, f"/api/videos?token={SECRET}").status == 200


@pytest.mark.parametrize(
    "host",
    ["192.168.1.5:8080", "[fe80::1]:8080", "node7.lab.example.org:8080", "node7:9000", "node7"],
)
def test_others_may_know_this_machine_by_any_name_if_they_have_the_token(root, host):
    app = Safety(make_app(WebContext(OpenStore(root))), list_hosts("0.0.0.0", 8080), SECRET)
    headers = (("host", host),)
    assert request(app, "/", headers=headers).status == 403
    first = request(app, f"/?token={SECRET}", headers=headers)
    assert first.status == 200
    cookie = first.headers["set-cookie"].partition(";")[0]
    assert request(app, "/", headers=(*headers, ("cookie", cookie))).status == 200
    assert request(app, f"/?token={SECRET}", headers=(*headers, *headers)).status == 421


def test_any_host_needs_a_token(root):
    assert list_hosts("192.168.1.5", 8080) is None
    with pytest.raises(ValueError, match="token"):
        Safety(make_app(WebContext(OpenStore(root))), None)


@pytest.mark.parametrize("address", ["127.0.0.1", "127.0.0.2", "localhost", "::1"])
def test_other_names_of_a_loopback_address_are_refused(root, address):
    app = Safety(make_app(WebContext(OpenStore(root))), list_hosts(address, 8080), SECRET)
    for host in ("evil.example:8080", "192.168.1.5:8080", "localhost"):
        assert request(app, f"/?token={SECRET}", headers=(("host", host),)).status == 421


def test_browsers_leave_out_port_80(root):
    app = Safety(make_app(WebContext(OpenStore(root))), list_hosts("127.0.0.1", 80))
    for host in ("localhost", "127.0.0.1", "[::1]", "localhost:80"):
        assert request(app, "/", headers=(("host", host),)).status == 200
    assert request(app, "/", headers=(("host", "evil.example"),)).status == 421


def test_cookies_of_two_servers_on_one_host_and_of_others_are_kept_apart(root):
    cookies = ["grafana={bad json, [x]}"]
    apps = {}
    for port in (8080, 8081):
        secret, host = f"secret-{port}", (("host", f"node7:{port}"),)
        app = Safety(make_app(WebContext(OpenStore(root))), list_hosts("0.0.0.0", port), secret)
        answer = request(app, f"/?token={secret}", headers=host)
        cookies.append(answer.headers["set-cookie"].partition(";")[0])
        apps[app] = host
    assert len({cookie.partition("=")[0] for cookie in cookies}) == 3
    for app, host in apps.items():
        for sent in ([("cookie", "; ".join(cookies))], [("cookie", c) for c in cookies]):
            assert request(app, "/api/overview", headers=(*host, *sent)).status == 200


def test_a_query_of_many_fields_is_read(get):
    assert get("/api/videos?" + "&".join(f"f{n}=1" for n in range(200))).status < 500


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

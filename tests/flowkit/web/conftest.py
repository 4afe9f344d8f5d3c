"""A web application over a small store, and requests to it without a network."""

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote_to_bytes

import pytest

from flowkit.web.app import WebContext, make_app
from flowkit.web.open_store import OpenStore
from flowkit.web.safety import Safety, list_hosts

IDS = ("a", "b/ü #1", "<img src=x onerror=alert(1)>\n\"'&", "x" * 300, "../../etc/passwd")


@dataclass
class Answer:
    """An answer of the application."""

    status: int
    headers: dict[str, str]
    content: bytes

    def json(self) -> Any:
        return json.loads(self.content)


def request(
    app: Any,
    target: str = "/",
    method: str = "GET",
    headers: tuple[tuple[str, str], ...] = (("host", "localhost:8080"),),
) -> Answer:
    """Send one request to an ASGI application, with a target as it stands in an HTTP request."""
    path, _, query = target.partition("?")
    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": method,
        "scheme": "http", "raw_path": path.encode("latin-1", "replace"), "root_path": "",
        "path": unquote_to_bytes(path).decode("utf-8", "replace"),
        "query_string": query.encode("latin-1", "replace"),
        "headers": [(name.encode(), value.encode("latin-1", "replace")) for name, value in headers],
        "client": ("127.0.0.1", 50000), "server": ("127.0.0.1", 8080),
    }  # fmt: skip
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    asyncio.run(app(scope, receive, send))
    start, *bodies = sent
    found = {name.decode(): value.decode("latin-1") for name, value in start["headers"]}
    return Answer(start["status"], found, b"".join(body.get("body", b"") for body in bodies))


@pytest.fixture
def root(make_store: Callable[..., Path]) -> Path:
    """A store of five videos whose ids are hostile."""
    return make_store(IDS)


@pytest.fixture
def app(root: Path) -> Safety:
    """The application over the store, as the server runs it."""
    return Safety(make_app(WebContext(OpenStore(root))), list_hosts("127.0.0.1", 8080))


@pytest.fixture
def get(app: Safety) -> Callable[..., Answer]:
    """``get(target)``: the answer to a request."""
    return lambda target, **more: request(app, target, **more)

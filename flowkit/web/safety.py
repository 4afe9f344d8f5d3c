"""Refuse requests that this server does not serve, and forbid pages to load from elsewhere.

- Only GET and HEAD; nothing can be written.
- The header Host must name this server, so that a page elsewhere whose name was pointed to this
  machine (DNS rebinding) gets nothing.
- On an address that others can reach, every request needs the token that the command printed: as
  ``?token=…`` once, and then as a cookie.
- The Content-Security-Policy allows scripts, styles and pictures of this server only, and no inline
  scripts.
"""

import hmac
import socket
from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import suppress
from http.cookies import CookieError, SimpleCookie
from typing import Any
from urllib.parse import parse_qs

from starlette.responses import JSONResponse, Response

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

MAX_TARGET = 8192
"""Longest path and query of a request, in bytes."""
COOKIE = "flowkit_token"
HEADERS = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}
"""Headers of every answer."""


class Safety:
    """Checks every request before the application sees it.

    Args:
        app: The application.
        hosts: Values of the header Host that name this server, in lower case.
        token: The token that requests need; None on an address that only this machine can reach.
    """

    def __init__(self, app: App, hosts: frozenset[str], token: str | None = None) -> None:
        self._app, self._hosts, self._token = app, hosts, token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or pass it on to the application."""
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self._app(scope, receive, send)
            return
        refusal = self._refuse(scope)

        async def send_safely(message: Message) -> None:
            if message["type"] == "http.response.start":
                own = [(name.encode(), value.encode()) for name, value in HEADERS.items()]
                if refusal is None and self._has_query_token(scope):
                    cookie = f"{COOKIE}={self._token}; HttpOnly; SameSite=Strict; Path=/"
                    own.append((b"set-cookie", cookie.encode()))
                message["headers"] = [*message.get("headers", []), *own]
            await send(message)

        await (refusal or self._app)(scope, receive, send_safely)

    def _refuse(self, scope: Scope) -> Response | None:
        """Return the answer to a request that is refused, or None."""
        if scope["method"] not in ("GET", "HEAD"):
            return refuse(405, "this server is read-only: GET and HEAD", {"allow": "GET, HEAD"})
        if len(scope.get("raw_path", b"")) + len(scope["query_string"]) > MAX_TARGET:
            return refuse(414, f"the path and query have more than {MAX_TARGET} bytes")
        hosts = [value for name, value in scope["headers"] if name == b"host"]
        if len(hosts) != 1 or hosts[0].decode("latin-1").lower() not in self._hosts:
            return refuse(421, "the header Host does not name this server")
        if self._token is not None and not (
            self._has_query_token(scope) or self._has_cookie(scope)
        ):
            return refuse(403, "open the address with its token, as `flowkit view` printed it")
        return None

    def _has_query_token(self, scope: Scope) -> bool:
        query = parse_qs(scope["query_string"].decode("latin-1"), max_num_fields=100)
        return self._is_token(query.get("token", [""])[0])

    def _has_cookie(self, scope: Scope) -> bool:
        for name, value in scope["headers"]:
            if name == b"cookie":
                try:
                    cookie = SimpleCookie(value.decode("latin-1")).get(COOKIE)
                except CookieError:
                    continue
                if cookie is not None and self._is_token(cookie.value):
                    return True
        return False

    def _is_token(self, text: str) -> bool:
        token = self._token
        return token is not None and hmac.compare_digest(text.encode(), token.encode())


def refuse(status: int, reason: str, headers: dict[str, str] | None = None) -> Response:
    """Make the answer to a request that is refused."""
    return JSONResponse({"error": reason}, status, headers)


def list_hosts(host: str, port: int) -> frozenset[str]:
    """List the values of the header Host that name the server."""
    names = {"127.0.0.1", "localhost", "[::1]", f"[{host}]" if ":" in host else host}
    if host in ("0.0.0.0", "::"):
        with suppress(OSError):
            names |= {socket.gethostname(), socket.gethostbyname(socket.gethostname())}
    return frozenset(f"{name.lower()}:{port}" for name in names)

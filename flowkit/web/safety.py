"""Refuse requests that this server does not serve, and forbid pages to load from elsewhere.

- Only GET and HEAD; nothing can be written.
- On an address that only this machine can reach, the header Host must name it, so that a page
  elsewhere whose name was pointed to this machine (DNS rebinding) gets nothing.
- On an address that others can reach, every request needs the token that the command printed: as
  ``?token=…`` once, and then as a cookie. A page elsewhere has neither, whatever its name points
  to, so Host may be any name or address by which others know this machine.
- The Content-Security-Policy allows scripts, styles and pictures of this server only, and no inline
  scripts.
"""

import hmac
import ipaddress
import re
from collections.abc import Awaitable, Callable, MutableMapping
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
"""Name of the cookie, to which the port is added: browsers send cookies to all ports of a host."""
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
        hosts: Values of the header Host that name this server, in lower case; None for any, which
            needs a token.
        token: The token that requests need; None on an address that only this machine can reach.
    """

    def __init__(self, app: App, hosts: frozenset[str] | None, token: str | None = None) -> None:
        if hosts is None and token is None:
            raise ValueError("any Host is safe only with a token")
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
                    cookie = f"{name_cookie(scope)}={self._token}"
                    cookie += "; HttpOnly; SameSite=Strict; Path=/"
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
        hosts = read_headers(scope, b"host")
        if len(hosts) != 1 or (self._hosts is not None and hosts[0].lower() not in self._hosts):
            return refuse(421, "the header Host does not name this server")
        if self._token is not None and not (
            self._has_query_token(scope) or self._has_cookie(scope)
        ):
            return refuse(403, "open the address with its token, as `flowkit view` printed it")
        return None

    def _has_query_token(self, scope: Scope) -> bool:
        query = parse_qs(scope["query_string"].decode("latin-1"))
        return self._is_token(query.get("token", [""])[0])

    def _has_cookie(self, scope: Scope) -> bool:
        name = f"{name_cookie(scope)}="
        # http.cookies would drop what follows a malformed cookie of another application.
        cookies = [c.strip() for c in ";".join(read_headers(scope, b"cookie")).split(";")]
        return any(self._is_token(c.removeprefix(name)) for c in cookies if c.startswith(name))

    def _is_token(self, text: str) -> bool:
        token = self._token
        return token is not None and hmac.compare_digest(text.encode(), token.encode())


def refuse(status: int, reason: str, headers: dict[str, str] | None = None) -> Response:
    """Make the answer to a request that is refused."""
    return JSONResponse({"error": reason}, status, headers)


def read_headers(scope: Scope, name: bytes) -> list[str]:
    """Return the values of all headers of a request with this name."""
    return [value.decode("latin-1") for key, value in scope["headers"] if key == name]


def name_cookie(scope: Scope) -> str:
    """Return the name of the cookie, with the port that the browser knows this server by."""
    port = re.search(r":([0-9]+)$", read_headers(scope, b"host")[0])
    return f"{COOKIE}_{port[1] if port else 80}"


def list_hosts(host: str, port: int) -> frozenset[str] | None:
    """List the values of the header Host that name the server.

    Args:
        host: Address that the server listens on.
        port: Its port.

    Returns:
        The values; None if others can reach the address, who may know this machine by any name.
    """
    if not is_loopback(host):
        return None
    names = {"127.0.0.1", "localhost", "[::1]", f"[{host}]" if ":" in host else host.lower()}
    # Browsers leave out the port of http.
    return frozenset(f"{name}:{port}" for name in names) | (names if port == 80 else set())


def is_loopback(host: str) -> bool:
    """Return whether only this machine can reach an address."""
    try:
        return host.lower() == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False

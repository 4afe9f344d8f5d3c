"""Serve the page of a store on this machine, until Ctrl-C."""

import secrets
import socket
import webbrowser
from collections.abc import Callable, Sequence
from contextlib import suppress
from importlib.metadata import entry_points
from pathlib import Path
from threading import Timer

import uvicorn

from flowkit.errors import FlowkitError, UsageError
from flowkit.web.app import Plugin, WebContext, make_app
from flowkit.web.open_store import OpenStore
from flowkit.web.safety import Safety, list_hosts

LOOPBACK = "127.0.0.1"
PORTS = 50
"""Ports that are tried, from the requested one on."""


def serve_store(
    root: Path,
    runs: Sequence[Path],
    log: Callable[[str], None],
    *,
    host: str = LOOPBACK,
    port: int = 8080,
    opens_browser: bool = False,
) -> None:
    """Serve the page of a store until Ctrl-C.

    Args:
        root: Folder of the store.
        runs: Folders of runs of `flowkit train` to show with it.
        log: Called with each line to print, the address first.
        host: Address to listen on. On any other than that of this machine alone, requests need a
            token.
        port: First port to try.
        opens_browser: Whether to open the page in a browser.

    Raises:
        FormatError: There is no store at ``root``.
        UsageError: No port is free, the address is none of this machine, or a run does not fit.
    """
    context = WebContext(OpenStore(root), tuple(runs))
    plugins = load_plugins(context)
    listener, free_port = open_listener(host, port)
    if port not in (0, free_port):
        log(f"port {port} cannot be used; {free_port} is taken instead")
    token = None if host == LOOPBACK else secrets.token_urlsafe(24)
    app = Safety(make_app(context, plugins), list_hosts(host, free_port), token)
    shown_host = f"[{host}]" if ":" in host else host
    address = f"http://{shown_host}:{free_port}/" + (f"?token={token}" if token else "")
    log(f"{address}  (Ctrl-C ends)")
    if opens_browser:
        Timer(0.5, webbrowser.open, (address,)).start()
    config = uvicorn.Config(
        app, log_level="error", access_log=False, server_header=False, date_header=False,
        timeout_graceful_shutdown=2, limit_concurrency=200,
    )  # fmt: skip
    try:
        with suppress(KeyboardInterrupt):
            uvicorn.Server(config).run(sockets=[listener])
    finally:
        listener.close()
        for plugin in plugins:
            plugin.close()


def load_plugins(context: WebContext) -> list[Plugin]:
    """Load what other packages add to the page.

    Raises:
        UsageError: Runs are to be shown, and no package shows them.
        FlowkitError: A package that shows them cannot be imported.
    """
    plugins: list[Plugin] = []
    for entry in entry_points(group="flowkit.web"):
        try:
            plugins.append(entry.load()(context))
        except ImportError as error:
            raise FlowkitError(f"{entry.value} cannot be imported ({error})") from error
    if context.runs and not plugins:
        raise UsageError("--run needs the package train, which is not installed")
    return plugins


def open_listener(host: str, port: int) -> tuple[socket.socket, int]:
    """Listen on the first free port.

    Args:
        host: Address.
        port: First port to try; 0 for any.

    Returns:
        The socket and its port.

    Raises:
        UsageError: None of `PORTS` ports is free, or the address is none of this machine.
    """
    reason = "no port is free"
    for candidate in range(port, min(port + PORTS, 65536)) if port else (0,):
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        # asyncio sends small answers at once (TCP_NODELAY) only where the protocol is named.
        listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, candidate))
            listener.listen(128)
        except OSError as error:
            listener.close()
            reason = str(error)
            continue
        return listener, listener.getsockname()[1]
    raise UsageError(
        f"cannot listen on {host}, ports {port} to {port + PORTS - 1}: {reason}; choose another "
        "with --port or --host"
    )

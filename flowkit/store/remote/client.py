"""Choose the client for a URL, and keep it for this process.

obstore does the requests, but for Hugging Face, which goes through fsspec (fsspec_client.py).
obstore's threads do not survive a fork, so a forked process that would need them asks a process of
its own instead (client_process.py).
"""

import os
import threading

from flowkit.store.remote.client_process import ProcessClient
from flowkit.store.remote.fsspec_client import FsspecClient, open_hugging_face
from flowkit.store.remote.objects import ObjectClient
from flowkit.store.remote.obstore_client import ObstoreClient, import_obstore


class _State:
    """The clients of this process, and which process started obstore's threads."""

    def __init__(self) -> None:
        self.clients: dict[str, ObjectClient] = {}
        self.lock = threading.Lock()
        self.obstore_process: int | None = None

    def reset(self) -> None:
        """Forget the clients of the parent after a fork; its lock may be held by another thread."""
        self.clients = {}
        self.lock = threading.Lock()


_state = _State()
os.register_at_fork(after_in_child=_state.reset)


def get_client(url: str) -> ObjectClient:
    """Return the client of a URL in this process, which is created on first use.

    Raises:
        UsageError: A package that it needs is not installed.
    """
    with _state.lock:
        if url not in _state.clients:
            _state.clients[url] = make_client(url)
        return _state.clients[url]


def make_client(url: str) -> ObjectClient:
    """Create a client for a URL."""
    if url.startswith("hf://"):
        return FsspecClient(url, open_hugging_face(url), url.removeprefix("hf://"))
    import_obstore(url)
    if _state.obstore_process not in (None, os.getpid()):
        return ProcessClient(url)
    _state.obstore_process = os.getpid()
    return ObstoreClient(url)

"""Read and write the objects of a store at a URL.

obstore does the requests: S3, Google Cloud, Azure and HTTP. Hugging Face goes through fsspec
(fsspec_client.py). obstore's threads do not survive a fork, so a forked process that would need
them asks a process of its own instead (client_process.py).
"""

import os
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from flowkit.errors import UsageError
from flowkit.store.remote.failures import MissingObjectError, call_with_retries
from flowkit.store.remote.settings import REQUESTS, read_timeout

INSTALL = "pip install 'flowkit-video[remote]'"
PART_BYTES = 8 << 20
"""Bytes of a large object that are requested, or sent, at a time."""


class ObjectState(NamedTuple):
    """What tells one content of an object from another."""

    size: int
    """Size in bytes."""
    tag: str | None
    """ETag, or the time of the last change if the server has none."""


class Range(NamedTuple):
    """A range of bytes of an object."""

    name: str
    """Name of the object below the URL of the store."""
    start: int
    """First byte."""
    length: int
    """Number of bytes."""


class ObjectClient(Protocol):
    """Reads and writes the objects below one URL. Names are paths relative to it.

    Every method raises a StoreError that says what to do, and MissingObjectError if there is no
    such object.
    """

    def read_ranges(self, ranges: Sequence[Range]) -> list[tuple[bytes, ObjectState]]:
        """Read ranges of bytes side by side."""

    def read_object(self, name: str) -> tuple[bytes, ObjectState]:
        """Read a whole object, which must be small."""

    def find_state(self, name: str) -> ObjectState:
        """Return the state of an object."""

    def list_objects(self) -> dict[str, ObjectState] | None:
        """List all objects by name; None where that is impossible, as over plain HTTP."""

    def write_object(self, name: str, content: bytes) -> None:
        """Write a small object."""

    def upload(self, path: Path, name: str) -> None:
        """Write the content of a file as an object."""

    def delete(self, name: str) -> None:
        """Delete an object."""


class ObstoreClient:
    """The objects below a URL, through obstore.

    Args:
        url: URL of the store.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self._obstore = import_obstore(url)
        self._store = self._open(retries=0)  # call_with_retries also repeats broken bodies
        self._pool = ThreadPoolExecutor(REQUESTS, thread_name_prefix="flowkit-remote")

    def _open(self, retries: int) -> Any:
        seconds = read_timeout()
        options: dict[str, Any] = {
            "timeout": timedelta(seconds=seconds),
            "connect_timeout": timedelta(seconds=min(seconds, 10)),
        }
        settings: dict[str, Any] = {"client_options": options}
        endpoint = os.environ.get("AWS_ENDPOINT_URL") or os.environ.get("AWS_ENDPOINT") or ""
        if self.url.startswith("http://") or endpoint.startswith("http://"):
            options["allow_http"] = True
        settings["retry_config"] = {
            "max_retries": retries, "retry_timeout": timedelta(seconds=4 * seconds)
        }  # fmt: skip
        from obstore.store import from_url

        return call_with_retries(lambda: from_url(self.url, **settings), self.url, "")

    def read_ranges(self, ranges: Sequence[Range]) -> list[tuple[bytes, ObjectState]]:
        """Read ranges of bytes side by side."""
        if len(ranges) == 1:
            return [self._read_range(ranges[0])]
        return list(self._pool.map(self._read_range, ranges))

    def _read_range(self, wanted: Range) -> tuple[bytes, ObjectState]:
        name, start, length = wanted

        def read() -> tuple[bytes, ObjectState]:
            options = {"range": (start, start + length)}
            result = self._obstore.get(self._store, name, options=options)
            data = bytes(result.bytes())
            state = make_state(result.meta)
            expected = max(0, min(length, state.size - start))
            if len(data) != expected:
                raise EOFError(f"expected {expected} bytes at {start}, got {len(data)}")
            return data, state

        return call_with_retries(read, self.url, name)

    def read_object(self, name: str) -> tuple[bytes, ObjectState]:
        """Read a whole object, which must be small."""

        def read() -> tuple[bytes, ObjectState]:
            result = self._obstore.get(self._store, name)
            data, state = bytes(result.bytes()), make_state(result.meta)
            if len(data) != state.size:
                raise EOFError(f"expected {state.size} bytes, got {len(data)}")
            return data, state

        return call_with_retries(read, self.url, name)

    def find_state(self, name: str) -> ObjectState:
        """Return the state of an object."""
        return call_with_retries(
            lambda: make_state(self._obstore.head(self._store, name)), self.url, name
        )

    def list_objects(self) -> dict[str, ObjectState] | None:
        """List all objects by name; None over plain HTTP, which has no listing."""
        if self.url.startswith(("http://", "https://")):
            return None

        def list_all() -> dict[str, ObjectState]:
            batches = self._obstore.list(self._store)
            return {meta["path"]: make_state(meta) for batch in batches for meta in batch}

        return call_with_retries(list_all, self.url, "")

    def write_object(self, name: str, content: bytes) -> None:
        """Write a small object."""
        call_with_retries(lambda: self._obstore.put(self._store, name, content), self.url, name)

    def upload(self, path: Path, name: str) -> None:
        """Write the content of a file as an object."""
        store = self._open(retries=10)
        call_with_retries(
            lambda: self._obstore.put(store, name, path, chunk_size=PART_BYTES, max_concurrency=4),
            self.url,
            name,
        )

    def delete(self, name: str) -> None:
        """Delete an object."""
        call_with_retries(lambda: self._obstore.delete(self._store, name), self.url, name)


def make_state(meta: Any) -> ObjectState:
    """Return the state that obstore's metadata of an object describe."""
    tag = meta.get("e_tag") or str(meta.get("last_modified") or "") or None
    return ObjectState(int(meta["size"]), tag)


def import_obstore(url: str) -> Any:
    """Import obstore.

    Raises:
        UsageError: It is not installed.
    """
    try:
        import obstore
    except ImportError:
        raise UsageError(
            f"{url}: stores on object storage need obstore, which is not installed: {INSTALL}"
        ) from None
    return obstore


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
        from flowkit.store.remote.fsspec_client import FsspecClient, open_hugging_face

        return FsspecClient(url, open_hugging_face(url), url.removeprefix("hf://"))
    import_obstore(url)
    if _state.obstore_process not in (None, os.getpid()):
        from flowkit.store.remote.client_process import ProcessClient

        return ProcessClient(url)
    _state.obstore_process = os.getpid()
    return ObstoreClient(url)


def read_if_present(client: ObjectClient, name: str) -> bytes | None:
    """Read a small object; None if there is no such object."""
    try:
        return client.read_object(name)[0]
    except MissingObjectError:
        return None

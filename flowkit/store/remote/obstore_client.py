"""Read and write objects through obstore: S3, Google Cloud, Azure and HTTP.

obstore's threads do not survive a fork; client.py sees to it that no forked process uses it.
"""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

from flowkit.errors import UsageError
from flowkit.store.remote.failures import call_with_retries
from flowkit.store.remote.objects import PART_BYTES, ObjectState, Range
from flowkit.store.remote.settings import MAX_REQUESTS, read_timeout

INSTALL = "pip install 'flowkit-video[remote]'"


class ObstoreClient:
    """The objects below a URL, through obstore.

    Args:
        url: URL of the store.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self._obstore = import_obstore(url)
        self._store = self._open(retries=0)  # call_with_retries retries, also after half a body
        self._pool = ThreadPoolExecutor(MAX_REQUESTS, thread_name_prefix="flowkit-remote")

    def _open(self, retries: int) -> Any:
        seconds = read_timeout()
        options: dict[str, Any] = {
            "timeout": timedelta(seconds=seconds),
            "connect_timeout": timedelta(seconds=min(seconds, 10)),
        }
        endpoint = os.environ.get("AWS_ENDPOINT_URL") or os.environ.get("AWS_ENDPOINT") or ""
        if self.url.startswith("http://") or endpoint.startswith("http://"):
            options["allow_http"] = True
        retry: Any = {"max_retries": retries, "retry_timeout": timedelta(seconds=4 * seconds)}
        from obstore.store import from_url

        return call_with_retries(
            lambda: from_url(self.url, client_options=options, retry_config=retry), self.url, ""
        )

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

    def create_object(self, name: str, content: bytes) -> bool:
        """Write a small object unless there is one; return whether it was written."""

        def create() -> bool:
            try:
                self._obstore.put(self._store, name, content, mode="create")
            except Exception as error:
                if type(error).__name__ == "NotSupportedError" or "NotImplemented" in str(error):
                    return write_if_absent()
                if type(error).__name__ not in ("AlreadyExistsError", "PreconditionError"):
                    raise
                return False
            return True

        def write_if_absent() -> bool:  # a server without conditional requests
            try:
                self._obstore.head(self._store, name)
            except FileNotFoundError:
                self._obstore.put(self._store, name, content)
                return True
            return False

        return call_with_retries(create, self.url, name)

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

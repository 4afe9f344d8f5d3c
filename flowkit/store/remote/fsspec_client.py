"""Read the objects of a store through fsspec, such as those of a dataset on Hugging Face.

hf://datasets/USER/NAME/path/of/store   needs huggingface_hub, which brings fsspec
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Lock
from typing import Any

from flowkit.errors import StoreError, UsageError
from flowkit.store.remote.failures import call_with_retries
from flowkit.store.remote.objects import ObjectState, Range
from flowkit.store.remote.settings import MAX_REQUESTS

TAGS = ("ETag", "etag", "blob_id", "mtime", "created", "LastModified", "last_commit")
"""Keys of fsspec's description of a file that tell one content from another."""


class FsspecClient:
    """The objects below a path of an fsspec file system, only for reading.

    The states of objects are kept, here and in the file system's listings of folders. They are
    forgotten whenever a file directly in the store's folder is read, such as the index, thus each
    time a store is opened. Shards and their records never change.

    Args:
        url: URL of the store.
        files: The ``fsspec.AbstractFileSystem``.
        root: Path of the store in it.
    """

    def __init__(self, url: str, files: Any, root: str) -> None:
        self.url, self._files, self._root = url, files, root.rstrip("/")
        self._pool = ThreadPoolExecutor(MAX_REQUESTS, thread_name_prefix="flowkit-remote")
        self._states: dict[str, ObjectState] = {}
        self._lock = Lock()  # states are not forgotten while one is looked up

    def read_ranges(self, ranges: Sequence[Range]) -> list[tuple[bytes, ObjectState]]:
        """Read ranges of bytes side by side."""
        return list(self._pool.map(self._read_range, ranges))

    def _read_range(self, wanted: Range) -> tuple[bytes, ObjectState]:
        name, start, length = wanted
        state = self._states.get(name) or self.find_state(name)
        stop = min(start + length, state.size)

        def read() -> tuple[bytes, ObjectState]:
            data = self._files.cat_file(f"{self._root}/{name}", start=start, end=stop)
            if len(data) != max(0, stop - start):
                raise EOFError(f"expected {stop - start} bytes at {start}, got {len(data)}")
            return bytes(data), state

        return call_with_retries(read, self.url, name)

    def read_object(self, name: str) -> tuple[bytes, ObjectState]:
        """Read a whole object, which must be small."""
        state = self.find_state(name)

        def read() -> tuple[bytes, ObjectState]:
            return bytes(self._files.cat_file(f"{self._root}/{name}")), state

        return call_with_retries(read, self.url, name)

    def find_state(self, name: str) -> ObjectState:
        """Return the state of an object."""

        def find() -> ObjectState:
            with self._lock:
                if "/" not in name:
                    self._files.invalidate_cache()
                    self._states.clear()
                self._states[name] = make_state(self._files.info(f"{self._root}/{name}"))
                return self._states[name]

        return call_with_retries(find, self.url, name)

    def list_objects(self) -> dict[str, ObjectState] | None:
        """List all objects by name."""
        found = call_with_retries(lambda: self._files.find(self._root, detail=True), self.url, "")
        start = len(self._root.lstrip("/")) + 1
        return {path.lstrip("/")[start:]: make_state(info) for path, info in found.items()}

    def write_object(self, name: str, content: bytes) -> None:
        """Raise a StoreError: only reading is supported."""
        raise StoreError(f"{self.url}: flowkit only reads here; copy to a folder and upload that")

    def create_object(self, name: str, content: bytes) -> bool:
        """Raise a StoreError: only reading is supported."""
        self.write_object(name, content)
        return False

    def upload(self, path: Path, name: str) -> None:
        """Raise a StoreError: only reading is supported."""
        self.write_object(name, b"")

    def delete(self, name: str) -> None:
        """Raise a StoreError: only reading is supported."""
        self.write_object(name, b"")


def make_state(info: Any) -> ObjectState:
    """Return the state that fsspec's description of a file tells."""
    tag = next((str(info[key]) for key in TAGS if info.get(key)), None)
    return ObjectState(int(info["size"]), tag)


def open_hugging_face(url: str) -> Any:
    """Open the file system of Hugging Face.

    Raises:
        UsageError: huggingface_hub is not installed.
    """
    try:
        from huggingface_hub import HfFileSystem
    except ImportError:
        raise UsageError(
            f"{url}: hf:// needs huggingface_hub, which is not installed: pip install "
            "huggingface_hub"
        ) from None
    return HfFileSystem()

"""Upload the shards of a working store while an extraction runs, each when it is committed.

A shard is checked by its commit record and sent; then its record is sent, with which it counts.
Only then is the local file replaced by one that says so (``<uuid>.uploaded``). The index follows:
one that is sent names only shards that are at the URL, so the store there is valid at any moment.
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from flowkit.errors import CorruptError, DiskFullError, LockedError, StoreError
from flowkit.extraction.summary import format_bytes
from flowkit.store import rebuild_index
from flowkit.store.format.atomic import convert_disk_errors, write_atomic
from flowkit.store.format.location import UPLOADED_SUFFIX
from flowkit.store.format.schema import shard_folders
from flowkit.store.remote.copying import copy_shard
from flowkit.store.remote.store_files import FolderFiles, UrlFiles
from flowkit.store.remote.writer_lock import WriterLock

POLL_SECONDS = 2.0
"""Seconds between searches for shards that were committed."""
INDEX_SECONDS = 60.0
"""Seconds between uploads of the index, at least; the last one is at the end of the run."""
PATIENCE_SECONDS = 300.0
"""Seconds for which uploads that fail are repeated before the run ends."""
FIRST_PAUSE = 1.0
"""Seconds before a failed upload is repeated; each later pause is twice as long, up to 30."""
END_SECONDS = 30.0
"""Seconds for which the end of a run that failed waits for an upload under way."""


class Uploads:
    """Sends what is committed in a working store to its URL, from a thread of its own.

    Args:
        url: The URL.
        root: Folder of the working store.
        lock: The right to write to the URL, which the caller holds.
        published: Small files as they are at the URL, by name.
        log: Called with lines to print.
    """

    def __init__(
        self,
        url: str,
        root: Path,
        lock: WriterLock,
        published: dict[str, bytes],
        log: Callable[[str], None],
    ) -> None:
        self.url, self._root, self._lock, self._log = url, root, lock, log
        self._local, self._remote = FolderFiles(root), UrlFiles(url)
        self._published = published
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._error: Exception | None = None
        self._on_failure: Callable[[], None] = lambda: None
        self._failing_since: float | None = None
        self._index_time = self._step_time = time.monotonic()
        self._shards = self._bytes = self._unindexed = 0

    def begin(self) -> None:
        """Make a new store readable, upload what an earlier run left, and start the thread.

        Raises:
            StoreError: The URL cannot be written to.
        """
        with explain_failure(self._root):
            self._repeat(self._publish_header)
            self._announce()
            self._repeat(self._upload_shards)
        self._thread = threading.Thread(target=self._run, name="uploads", daemon=True)
        self._thread.start()

    def watch(self, on_failure: Callable[[], None]) -> None:
        """Set what is called, in the thread of the uploads, when they have failed for good."""
        self._on_failure = on_failure
        if self._error is not None:
            on_failure()

    def finish(self) -> None:
        """Upload everything that is left.

        Raises:
            StoreError: Uploads have failed; the message says where the shards are.
        """
        self.close(None)
        with explain_failure(self._root):
            if self._error is not None:
                raise self._error
            self._announce()
            self._repeat(self._publish_index)
        if self._shards:
            self._log(f"uploaded {self._shards} shards ({format_bytes(self._bytes)}) to {self.url}")

    def close(self, seconds: float | None = END_SECONDS) -> bool:
        """End the thread; return whether nothing is sent any more.

        Args:
            seconds: How long to wait for an upload under way; None for any time.
        """
        self._stop.set()
        if self._thread is not None:
            self._thread.join(seconds)
        if self._thread is not None and self._thread.is_alive():
            return False
        self._stop.clear()
        return True

    def _run(self) -> None:
        """Upload what is committed, until the run ends or uploads have failed for good."""
        try:
            while not self._stop.wait(POLL_SECONDS):
                self._repeat(self._upload_shards)
                age = time.monotonic() - self._index_time
                if self._unindexed and age >= INDEX_SECONDS and not self._stop.is_set():
                    self._repeat(self._publish_index)
        except Exception as error:  # noqa: BLE001 (`finish` raises it)
            self._error = error
            self._on_failure()

    def _repeat(self, step: Callable[[], None]) -> None:
        """Call a step, again while it fails for a reason that may pass."""
        pause = FIRST_PAUSE
        while True:
            self._step_time = time.monotonic()
            try:
                step()
            except (CorruptError, DiskFullError, LockedError):
                raise
            except StoreError as error:
                if self._failing_since is None:
                    self._failing_since = self._step_time
                    self._log(f"cannot upload, trying again: {error}")
                if time.monotonic() - self._failing_since >= PATIENCE_SECONDS:
                    raise
            else:
                self._failing_since = None
                return
            if self._stop.wait(pause):
                return
            pause = min(2 * pause, 30.0)

    def _publish_header(self) -> None:
        """Publish ``store.json``; with an empty index if the store is new, so that it is one."""
        if "store.json" not in self._published:
            self._publish("annotations.arrow")
            self._publish("index.arrow", make_empty_index(self._root))
        self._publish("store.json")

    def _upload_shards(self) -> None:
        """Upload the shards that are committed, until the run asks the thread to end."""
        for name in find_waiting_shards(self._root):
            if self._stop.is_set():
                return
            path, record = self._root / f"{name}.arrow", self._local.read(f"{name}.json")
            if record is None:
                continue
            if not path.with_suffix(UPLOADED_SUFFIX).exists():
                size = path.stat().st_size
                self._lock.check()
                copy_shard(self._local, self._remote, name, record, size)
                write_atomic(path.with_suffix(UPLOADED_SUFFIX), str(size).encode())
                self._shards += 1
                self._bytes += size
                self._unindexed += 1
                self._step_time, self._failing_since = time.monotonic(), None
            with convert_disk_errors(path):
                path.unlink(missing_ok=True)

    def _publish_index(self) -> None:
        """Publish the index, and before it everything that it names."""
        rebuild_index(self._root)
        contents = {name: self._local.read(name) for name in ("annotations.arrow", "index.arrow")}
        self._upload_shards()
        if self._stop.is_set():
            return
        self._lock.check()
        for name, content in contents.items():
            self._publish(name, content)
        self._publish("failures.jsonl")
        self._index_time, self._unindexed = time.monotonic(), 0

    def _publish(self, name: str, content: bytes | None = None) -> None:
        """Write a small file to the URL, unless it has the same."""
        content = self._local.read(name) if content is None else content
        if content is not None and self._published.get(name) != content:
            self._remote.write(name, content)
            self._published[name] = content

    def _announce(self) -> None:
        """Tell the user what is still to be uploaded."""
        waiting = find_waiting_shards(self._root)
        if waiting:
            size = sum((self._root / f"{name}.arrow").stat().st_size for name in waiting)
            self._log(f"uploading {len(waiting)} shards ({format_bytes(size)}) to {self.url}")


@contextmanager
def explain_failure(root: Path) -> Iterator[None]:
    """Add to a StoreError in the context where the shards wait that were not uploaded."""
    try:
        yield
    except DiskFullError:
        raise
    except StoreError as error:
        count = len(find_waiting_shards(root))
        if not count:
            raise
        raise type(error)(
            f"{error}. Nothing is lost: {count} shards wait in {root}, and the same command "
            "uploads them"
        ) from None


def find_waiting_shards(root: Path) -> list[str]:
    """Return the committed shards, as ``folder/uuid``, whose files a working store still has."""
    waiting = []
    for folder in shard_folders(root):
        names = {path.name for path in (root / folder).iterdir()}
        uuids = sorted(name.removesuffix(".arrow") for name in names if name.endswith(".arrow"))
        waiting += [f"{folder}/{uuid}" for uuid in uuids if f"{uuid}.json" in names]
    return waiting


def make_empty_index(root: Path) -> bytes:
    """Make the index that a store has before its first shard, with its classes."""
    with TemporaryDirectory(prefix="flowkit-index-") as folder:
        empty = FolderFiles(Path(folder))
        for name in ("store.json", "annotations.arrow"):
            content = FolderFiles(root).read(name)
            if content is not None:
                empty.write(name, content)
        rebuild_index(folder)
        return (Path(folder) / "index.arrow").read_bytes()

"""Keep the store of a server open, and open it again when its index has changed."""

import threading
from dataclasses import dataclass
from pathlib import Path

from flowkit.store import Store, Video
from flowkit.store.remote.mirror import find_store_folder
from flowkit.store.video_list import VideoList
from flowkit.web.absent import AbsentVideos, find_absent
from flowkit.web.keys import parse_key


@dataclass(frozen=True)
class StoreView:
    """A store at one moment: its reader, and the table of its videos."""

    store: Store
    """The reader."""
    videos: VideoList
    """The table of its videos."""
    version: str
    """Changes whenever the index does; part of the ETags of HTTP responses."""

    def find_video(self, key: str) -> Video | None:
        """Find a video by its key (flowkit/web/keys.py); None if there is none."""
        id = parse_key(key)
        row = None if id is None else self.store.find(id)
        return None if row is None else self.store[row]


class OpenStore:
    """Opens a store, and opens it again when a run has written a new index.

    A store at a URL is shown as it was when it was opened: its mirror is brought up to date once.

    Args:
        root: Folder or URL of the store.

    Raises:
        FormatError: There is no store at ``root``, or it needs a newer flowkit.
        StoreError: The store has no index, or cannot be reached at its URL.
        CorruptError: The index is damaged.
    """

    def __init__(self, root: Path) -> None:
        self.root = find_store_folder(root, complete=True)
        self._lock = threading.Lock()
        self._view = self._open()
        self._absent: tuple[object, AbsentVideos] | None = None

    def get(self) -> StoreView:
        """Return the store as it is now.

        Raises:
            StoreError: The index was removed or is damaged.
        """
        if self._read_version() != self._view.version:
            with self._lock:
                if self._read_version() != self._view.version:
                    self._view = self._open()
        return self._view

    def get_absent(self) -> AbsentVideos:
        """Return the videos that failed or are missing now.

        Raises:
            StoreError: The index was removed, or the failures cannot be read.
            CorruptError: The index or the annotations are broken.
        """
        view = self.get()
        state = (view.version, *map(self._read_version, ("annotations.arrow", "failures.jsonl")))
        absent = self._absent
        if absent is None or absent[0] != state:
            with self._lock:
                absent = self._absent
                if absent is None or absent[0] != state:
                    absent = self._absent = state, find_absent(self.root, view.store.index)
        return absent[1]

    def _open(self) -> StoreView:
        """Open the reader and the table of videos, both of the same index."""
        while True:
            version = self._read_version()
            view = StoreView(Store(self.root), VideoList(self.root), version)
            if self._read_version() == version:
                return view

    def _read_version(self, name: str = "index.arrow") -> str:
        try:
            status = (self.root / name).stat()
        except OSError:
            return ""  # opening the store raises the error, if it needs the file
        return f"{status.st_ino:x}-{status.st_mtime_ns:x}-{status.st_size:x}"

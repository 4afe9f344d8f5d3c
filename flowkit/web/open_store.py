"""Keep the store of a server open, and open it again when its index has changed."""

import threading
from dataclasses import dataclass
from pathlib import Path

from flowkit.store import Store, Video
from flowkit.store.video_list import VideoList
from flowkit.web.keys import parse_key


@dataclass(frozen=True)
class StoreView:
    """A store at one moment: its reader, and the table of its videos."""

    store: Store
    """The reader."""
    videos: VideoList
    """The table of its videos."""
    version: str
    """Changes whenever the index does; part of the tags of cached answers."""

    def find_video(self, key: str) -> Video | None:
        """Find a video by its key; None if there is none."""
        id = parse_key(key)
        row = None if id is None else self.store.find(id)
        return None if row is None else self.store[row]


class OpenStore:
    """Opens a store, and opens it again when a run has written a new index.

    Args:
        root: Folder of the store.

    Raises:
        FormatError: There is no store at ``root``, or it needs a newer flowkit.
        StoreError: The store has no index.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._lock = threading.Lock()
        self._view = self._open()

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

    def _open(self) -> StoreView:
        version = self._read_version()
        return StoreView(Store(self.root), VideoList(self.root), version)

    def _read_version(self) -> str:
        try:
            status = (self.root / "index.arrow").stat()
        except OSError:
            return ""  # opening the store raises the error
        return f"{status.st_ino:x}-{status.st_mtime_ns:x}"

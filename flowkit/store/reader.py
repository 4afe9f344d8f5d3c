"""Read the videos of a store.

Example:
    >>> store = Store("stores/ucf101")  # doctest: +SKIP
    >>> video = store["v_Archery_g01_c01"]  # doctest: +SKIP
    >>> rgb, flow = video.snippet(t=0, length=5).decode()  # doctest: +SKIP
"""

import difflib
import operator
import os
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, overload

import numpy as np
import pyarrow.compute as pc

from flowkit.errors import StoreError, UsageError
from flowkit.recipe import StoreRecipe
from flowkit.store.arrow_arrays import convert_to_mask, make_texts, view_numbers
from flowkit.store.format.header import StoreHeader, read_header
from flowkit.store.format.location import find_url, read_mirror_url
from flowkit.store.index_view import IndexView
from flowkit.store.remote.mirror import find_store_folder, has_index, locate_mirror
from flowkit.store.shard_reader import Shards
from flowkit.store.video import Video
from flowkit.streams import STREAMS

NEIGHBOURS = 200
"""Ids on each side of an unknown id that are searched for similar ones."""


class Store:
    """A store that is open for reading: its videos, sorted by the UTF-8 bytes of their ids.

    The store is a snapshot: videos that are written after it was opened do not appear in it.
    Threads and forked processes can share it. It is pickled as its path and index version. The
    unpickled copy opens the store again on first use, and raises a StoreError if the index has
    been rebuilt since, because row numbers may have changed.

    Args:
        path: Folder of the store, or its URL on object storage, such as ``s3://bucket/store``.
        verify: ``"read"`` compares the bytes of shards with their checksums whenever they are read,
            and raises a CorruptError for damaged ones; None, the default, does not. Each image is
            checked alone. Images of stores that an older version wrote, features, audio and times
            are checked when a process first reads from their batch, by reading a column of it.

    Attributes:
        location: Folder or URL of the store, as text.
        verify: As given.

    Raises:
        FormatError: There is no store at ``path``, or it needs a newer flowkit.
        StoreError: The store has no index, or its URL cannot be reached.
        UsageError: ``verify`` is neither ``"read"`` nor None.
    """

    def __init__(self, path: str | os.PathLike[str], verify: Literal["read"] | None = None) -> None:
        if verify not in (None, "read"):
            raise UsageError(f'expected verify="read" or verify=None, got {verify!r}')
        self.verify = verify
        url = find_url(path)
        folder = find_store_folder(path) if url is not None else Path(path).resolve()
        self.location = url or read_mirror_url(folder) or str(folder)
        self._version: int | None = None
        self.path = folder
        self._version = self.index.version

    @cached_property
    def path(self) -> Path:
        """Return the folder of the store; of a remote store, the local folder of its small files.

        A remote store that was unpickled is looked for at its URL only if this machine does not
        know it yet.
        """
        if find_url(self.location) is None:
            return Path(self.location)
        mirror = locate_mirror(self.location)
        return mirror if has_index(mirror) else find_store_folder(self.location)

    def __getstate__(self) -> dict[str, Any]:
        return {"location": self.location, "version": self.version, "verify": self.verify}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.location, self._version = state["location"], state["version"]
        self.verify = state["verify"]

    def __repr__(self) -> str:
        return f"Store({self.location!r}: {len(self)} videos)"

    @cached_property
    def header(self) -> StoreHeader:
        """Return the content of store.json."""
        return read_header(self.path)

    @property
    def recipe(self) -> StoreRecipe:
        """Return the recipe: every setting that decides what the store contains."""
        return self.header.recipe

    @cached_property
    def bound(self) -> float:
        """Return the displacement in pixels at which flow is clipped; 0 if there is no flow."""
        return self.recipe.flow.bound if self.recipe.flow else 0.0

    @cached_property
    def flow_step(self) -> int:
        """Return how many frames lie between a frame and the one that its flow leads to."""
        return self.recipe.flow.step if self.recipe.flow else 1

    @cached_property
    def index(self) -> IndexView:
        """Return the memory-mapped index; ``index.batch`` is its ``pyarrow.RecordBatch``."""
        _ = self.header
        index = IndexView(self.path, self.flow_step)
        if self._version not in (None, index.version) and find_url(self.location) is not None:
            self.path = find_store_folder(self.location)  # the mirror may be older than the store
            for name in ("header", "bound", "flow_step"):
                self.__dict__.pop(name, None)
            index = IndexView(self.path, self.flow_step)
        if self._version not in (None, index.version):
            raise StoreError(
                f"{self.location}: expected index version {self._version}, which the store was "
                f"opened with, got {index.version}, as it was rebuilt meanwhile; open the store "
                "again"
            )
        return index

    @cached_property
    def shards(self) -> Shards:
        """Return the reader of the store's shards."""
        return Shards(self.path, self.index.shards, self.recipe, self.verify == "read")

    def prefetch(self, reads: Iterable[tuple[int, str, int, int]]) -> None:
        """Announce reads, so that a remote store requests all of their bytes side by side.

        Reading without it gives the same, but waits for each read on its own. It does nothing for
        a local store.

        Args:
            reads: Row of the video, stream, first frame and number of frames of each read.
        """
        if not self.is_remote:
            return
        located = []
        for row, stream, t, length in reads:
            stored = self.index.locate(stream, row)
            if stored is not None and stream in STREAMS:
                names = tuple(column.name for column in STREAMS[stream].columns)
                length = min(length, stored.rows - t)
                if t >= 0 and length > 0:
                    located.append((stored, names, t, length))
        self.shards.prefetch(located)

    @property
    def is_remote(self) -> bool:
        """Whether the store is on object storage."""
        return self.shards.is_remote

    @property
    def version(self) -> int:
        """Return the version of the index, which grows with each change."""
        return self.index.version if self._version is None else self._version

    @property
    def classes(self) -> tuple[str, ...]:
        """Return the class names, by class id."""
        return self.index.classes

    def __len__(self) -> int:
        return self.index.rows

    def __iter__(self) -> Iterator[str]:
        return iter(self.ids)

    def __contains__(self, id: object) -> bool:
        return isinstance(id, str) and self.find(id) is not None

    def find(self, id: str) -> int | None:
        """Return the row of the video with this id, or None if the store does not have it."""
        row = self.index.find(id.encode(errors="surrogatepass"))
        return None if row < 0 else row

    def __getitem__(self, key: str | int) -> Video:
        """Return a video by its id or by its row.

        Args:
            key: Id of the video, or its row (negative rows count from the end).

        Raises:
            UsageError: The store has no such video.
        """
        if isinstance(key, str):
            row = self.find(key)
            if row is None:
                raise UsageError(self._describe_unknown_id(key))
            return Video(self, row)
        row, rows = operator.index(key), len(self)
        if not -rows <= row < rows:
            raise UsageError(f"{self.location}: expected a row below {rows}, got {row}")
        return Video(self, row % rows)

    def _describe_unknown_id(self, id: str) -> str:
        row = self.index.bisect(id.encode(errors="surrogatepass"))
        similar = difflib.get_close_matches(
            id, self.ids[max(0, row - NEIGHBOURS) : row + NEIGHBOURS]
        )
        hint = f"; did you mean {' or '.join(map(repr, similar))}?" if similar else ""
        return f"{self.location}: expected the id of one of {len(self)} videos, got {id!r}{hint}"

    @property
    def ids(self) -> "Ids":
        """Return all ids in the order of rows, as a sequence that reads each id on access."""
        return Ids(self.index)

    def subset(self, name: str) -> np.ndarray[Any, Any]:
        """Return the rows of the videos in a subset.

        Args:
            name: Name of the subset, such as ``"train"``.

        Returns:
            (videos,) int64, ascending.

        Raises:
            UsageError: No video is in this subset.
        """
        column = self.index.batch.column("subsets")
        parents = view_numbers(pc.list_parent_indices(column))
        is_named = convert_to_mask(pc.equal(column.flatten(), make_texts([name])[0]))
        rows: np.ndarray[Any, Any] = parents[is_named]
        if not len(rows):
            known = ", ".join(self.subsets()) or "none"
            raise UsageError(f"{self.location}: expected a subset ({known}), got {name!r}")
        return rows

    def subsets(self) -> dict[str, int]:
        """Return the number of videos in each subset, sorted by name."""
        return self.index.count_subsets()


class Ids(Sequence[str]):
    """The ids of a store, as a sequence that reads each id on access."""

    def __init__(self, index: IndexView) -> None:
        self._index = index

    def __len__(self) -> int:
        return self._index.rows

    @overload
    def __getitem__(self, row: int) -> str: ...
    @overload
    def __getitem__(self, row: slice) -> list[str]: ...
    def __getitem__(self, row: int | slice) -> str | list[str]:
        if isinstance(row, slice):
            return [self._index.id(k) for k in range(*row.indices(len(self)))]
        if not -len(self) <= row < len(self):
            raise IndexError(row)
        return self._index.id(row % len(self))

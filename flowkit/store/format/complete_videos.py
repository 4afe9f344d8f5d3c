"""Assemble complete videos from the batches of a shard.

A video's rows are consecutive, but a long video is cut into several parts, each in its own batch,
and a video counts only once its last part is there. Writers, recovery, ``verify`` and repair all
find the videos of a shard through :class:`CompleteVideos`.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from flowkit.store.format.schema import CommittedVideo


class VideoPart(NamedTuple):
    """Where the rows of one part of a video are in a shard."""

    batch: int
    """Index of the batch in the shard, from 0."""
    entry_index: int
    """Index of the part in the metadata of the batch, from 0."""
    first_row: int
    """First row of the part in the batch, from 0."""
    rows: int
    """Number of rows of the part."""


class CompleteVideos:
    """Collects the complete videos of a shard from the metadata of its batches, in file order.

    Args:
        batches: The ``videos`` list of each batch's metadata, as for :meth:`add`.

    Attributes:
        videos: The complete videos so far.
        parts: The parts of each of these videos.
        rows: Number of rows of all videos, complete or not.
    """

    def __init__(self, batches: Iterable[Sequence[Mapping[str, Any]]] = ()) -> None:
        self.videos: list[CommittedVideo] = []
        self.parts: list[tuple[VideoPart, ...]] = []
        self.rows = 0
        self._batches = 0
        self._open_id: str | None = None
        self._open_parts: list[VideoPart] = []
        for entries in batches:
            self.add(entries)

    def add(self, entries: Sequence[Mapping[str, Any]]) -> None:
        """Add the next batch.

        Args:
            entries: The ``videos`` list of the batch's metadata. An empty list stands for a batch
                that cannot be read: no video continues across it.
        """
        first_row = 0
        if not entries:
            self._open_parts = []
        for index, entry in enumerate(entries):
            part_index = len(self._open_parts)
            if index or entry["id"] != self._open_id or entry["part"] != part_index:
                self._open_parts = []
            if entry["part"] == len(self._open_parts):
                self._open_id = entry["id"]
                part = VideoPart(self._batches, index, first_row, entry["rows"])
                self._open_parts.append(part)
                if entry["last"]:
                    self._complete(entry)
            first_row += entry["rows"]
        self.rows += first_row
        self._batches += 1

    def _complete(self, last_entry: Mapping[str, Any]) -> None:
        """Add the unfinished video; the entry of its last part describes the whole video."""
        first = self._open_parts[0]
        position = {
            "batch": first.batch,
            "batches": self._batches + 1 - first.batch,
            "first_row": first.first_row,
            "rows": sum(part.rows for part in self._open_parts),
        }
        self.videos.append(CommittedVideo.from_dict({**last_entry, **position}))
        self.parts.append(tuple(self._open_parts))
        self._open_parts = []

"""Assemble complete videos from the batches of a shard.

A video's rows are consecutive, but a long video is cut into several parts, each in its own batch,
and a video counts only once its last part is there. Writers, recovery, ``verify`` and repair all
find the videos of a shard through :class:`CompleteVideos`.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from flowkit.store.format.schema import CommittedVideo


class PartPlace(NamedTuple):
    """Where one part of a video lies in its shard."""

    batch: int
    """Index of the batch in the shard, from 0."""
    number: int
    """Index of the part in the batch's list of parts, from 0."""
    first_row: int
    """First row of the part in the batch, from 0."""
    rows: int
    """Number of rows of the part."""


class CompleteVideos:
    """Collects the complete videos of a shard from the metadata of its batches, in file order.

    ``videos`` are the complete ones so far, ``places`` the parts of each of them, and ``rows``
    counts all rows, complete or not.

    Args:
        batches: The ``videos`` list of each batch's metadata, as for :meth:`add`.
    """

    def __init__(self, batches: Iterable[Sequence[Mapping[str, Any]]] = ()) -> None:
        self.videos: list[CommittedVideo] = []
        self.places: list[tuple[PartPlace, ...]] = []
        self.rows = 0
        self.batches = 0
        self._open_id: str | None = None
        self._open: list[PartPlace] = []
        for parts in batches:
            self.add(parts)

    def add(self, parts: Sequence[Mapping[str, Any]]) -> None:
        """Take the next batch, given the ``videos`` of its metadata.

        An empty list stands for a batch that cannot be read: no video continues across it.
        """
        first_row = 0
        for number, part in enumerate(parts):
            continues = number == 0 and part["id"] == self._open_id
            if part["part"] == 0 or not continues or part["part"] != len(self._open):
                self._open = []
            if part["part"] == len(self._open):
                self._open_id = part["id"]
                self._open.append(PartPlace(self.batches, number, first_row, part["rows"]))
                if part["last"]:
                    self._complete(part)
            first_row += part["rows"]
        if not self._open or self._open[-1][:2] != (self.batches, len(parts) - 1):
            self._open = []
        self.rows += first_row
        self.batches += 1

    def _complete(self, last: Mapping[str, Any]) -> None:
        """Add the open video, given its last part, which describes the whole video."""
        first = self._open[0]
        position = {
            "batch": first.batch,
            "batches": self.batches + 1 - first.batch,
            "first_row": first.first_row,
            "rows": sum(place.rows for place in self._open),
        }
        self.videos.append(CommittedVideo.from_dict({**last, **position}))
        self.places.append(tuple(self._open))
        self._open = []

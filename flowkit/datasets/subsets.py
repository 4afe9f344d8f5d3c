"""Select the videos of one subset of a store, and check that they have what a dataset needs."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from flowkit.errors import StoreError, UsageError
from flowkit.store import Store

STREAMS = ("rgb", "flow")
"""Streams that snippets and clips can be made of."""
MAX_NAMED = 5
"""How many videos an error message names."""


@dataclass(frozen=True, kw_only=True)
class LabelledSubset:
    """The videos of one subset of a store, with their labels.

    Raises:
        UsageError: If the store has no subset of this name.
        StoreError: If a video does not have exactly one label and ``many`` is False.
    """

    store: Store
    """The store that holds the videos."""
    name: str
    """Name of a subset of the store's index."""
    many: bool = False
    """Whether a video may have any number of labels instead of exactly one."""
    rows: npt.NDArray[np.int64] = field(init=False)
    """(N,) rows of the subset's videos in the store's index."""

    def __post_init__(self) -> None:
        """Look up the subset's rows, and check streams and labels."""
        object.__setattr__(self, "rows", self.store.subset(self.name))
        self.check_streams()
        if not self.many:
            labels = self.store.index.batch.column("labels").value_lengths().to_numpy()
            unusable = self.rows[labels[self.rows] != 1]
            self.reject_videos(
                list(unusable), "not exactly one label: use many=True, or another subset"
            )

    def check_streams(self) -> None:
        """Check that the videos have the streams that a subclass needs; here, none are needed."""

    def label(self, row: int) -> torch.Tensor:
        """Return the label of a video.

        Args:
            row: Row of the video in the store's index.

        Returns:
            The class as () int64, or, with ``many``, all classes as (classes,) float32 of 0 and 1.
        """
        classes = [label["class"] for label in self.store.index.value("labels", row)]
        if not self.many:
            return torch.tensor(classes[0])
        target = torch.zeros(len(self.store.classes))
        target[classes] = 1
        return target

    def reject_videos(self, rows: list[Any], problem: str) -> None:
        """Raise an error that names the first few of the given videos, if there are any.

        Args:
            rows: Rows of the unusable videos in the store's index. May be empty.
            problem: What the videos have or lack, to complete "5 of 9 videos have …".

        Raises:
            StoreError: If ``rows`` is not empty.
        """
        if len(rows):
            ids = ", ".join(repr(self.store.index.id(int(row))) for row in rows[:MAX_NAMED])
            more = f" and {len(rows) - MAX_NAMED} more" if len(rows) > MAX_NAMED else ""
            raise StoreError(
                f"{self.store.path}: {len(rows)} of {len(self.rows)} videos of subset "
                f"{self.name!r} have {problem} ({ids}{more})"
            )


@dataclass(frozen=True, kw_only=True)
class Subset(LabelledSubset):
    """A subset whose videos all have RGB frames, flow fields or both.

    Raises:
        UsageError: If a stream is unknown, or none is named.
        StoreError: If a video lacks one of the streams.
    """

    streams: tuple[str, ...]
    """Streams that every video must have: ``rgb``, ``flow`` or both."""

    def check_streams(self) -> None:
        """Check that the streams are known and that every video has them."""
        unknown = set(self.streams) - set(STREAMS)
        if unknown or not self.streams:
            raise UsageError(f"streams are rgb and flow, got {', '.join(self.streams) or 'none'}")
        for stream in self.streams:
            lacking = [row for row in self.rows if not self.count(int(row), stream)]
            self.reject_videos(lacking, f"no {stream}: extract it with --streams {stream}")

    def count(self, row: int, stream: str) -> int:
        """Count the frames or flow fields of a video.

        Args:
            row: Row of the video in the store's index.
            stream: ``rgb`` or ``flow``.

        Returns:
            The number of RGB frames or of flow fields; 0 if the video lacks the stream.
        """
        return self.store.index.count(stream, row)

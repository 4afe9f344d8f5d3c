"""Select the videos of one subset of a store, and check that they have what a dataset needs."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from flowkit.errors import StoreError
from flowkit.store import Store

MAX_LISTED_VIDEOS = 5
"""How many videos an error message lists."""


class Subset:
    """The videos of one subset of a store, with their labels.

    The store's index has one row for each video, so a row (int) identifies a video. The attribute
    ``rows``, (N,) int64, has the rows of the subset's videos.

    Args:
        store: The store that holds the videos, or its path.
        name: Name of a subset of the store's index.
        multi_label: Whether a video may have any number of labels instead of exactly one.
        streams: Streams that every video must have, such as ``rgb`` and ``flow``; none by default.

    Raises:
        UsageError: If the store has no subset of this name.
        StoreError: If a video lacks one of the streams, or does not have exactly one label and
            ``multi_label`` is False.
    """

    def __init__(
        self,
        store: Store | Path | str,
        name: str,
        multi_label: bool = False,
        streams: tuple[str, ...] = (),
    ) -> None:
        """Look up the subset's rows, and check streams and labels."""
        self.store = store if isinstance(store, Store) else Store(store)
        self.name, self.multi_label, self.streams = name, multi_label, streams
        self.rows: npt.NDArray[np.int64] = self.store.subset(name)
        for stream in streams:
            rows_without = [row for row in self.rows if not self.count(int(row), stream)]
            self.raise_if_any(rows_without, f"no {stream}: extract it with --streams {stream}")
        if not multi_label:
            labels = self.store.index.batch.column("labels").value_lengths().to_numpy()
            unusable = self.rows[labels[self.rows] != 1]
            problem = "not exactly one label: use multi_label=True, or another subset"
            self.raise_if_any(list(unusable), problem)

    def label(self, row: int) -> torch.Tensor:
        """Return the label of a video.

        Args:
            row: Row of the video in the store's index.

        Returns:
            The class as () int64, or, with ``multi_label``, all classes as (classes,) float32 of 0
            and 1.
        """
        return self.labels(np.array([row]))[0]

    def labels(self, rows: npt.NDArray[np.int64]) -> torch.Tensor:
        """Return the labels of several videos, as `label` does for one.

        Args:
            rows: (B,) rows of the videos in the store's index.

        Returns:
            (B,) int64, or, with ``multi_label``, (B, classes) float32 of 0 and 1.
        """
        column = self.store.index.batch.column("labels")
        offsets, classes = column.offsets.to_numpy(), column.values.field("class").to_numpy()
        if not self.multi_label:
            return torch.from_numpy(classes[offsets[rows]].astype(np.int64))
        target = torch.zeros(len(rows), len(self.store.classes))
        for row, has_class in zip(rows, target.numpy(), strict=True):
            has_class[classes[offsets[row] : offsets[row + 1]]] = 1
        return target

    def raise_if_any(self, rows: list[Any], problem: str) -> None:
        """Raise an error about unusable videos, if there are any; do nothing for an empty list.

        Args:
            rows: Rows of the unusable videos in the store's index. May be empty.
            problem: The end of the sentence "5 of 9 videos of subset 'train' have …", such as "no
                flow: extract it with --streams flow".

        Raises:
            StoreError: If ``rows`` is not empty. The message lists the first few videos.
        """
        if len(rows):
            ids = ", ".join(repr(self.store.index.id(int(row))) for row in rows[:MAX_LISTED_VIDEOS])
            more = (
                f" and {len(rows) - MAX_LISTED_VIDEOS} more"
                if len(rows) > MAX_LISTED_VIDEOS
                else ""
            )
            raise StoreError(
                f"{self.store.path}: {len(rows)} of {len(self.rows)} videos of subset "
                f"{self.name!r} have {problem} ({ids}{more})"
            )

    def count(self, row: int, stream: str) -> int:
        """Count the RGB frames, flow fields or other items of a video in a stream.

        Args:
            row: Row of the video in the store's index.
            stream: Name of the stream, such as ``rgb`` or ``flow``.

        Returns:
            The number of items; 0 if the video does not have the stream.
        """
        return self.store.index.count(stream, row)

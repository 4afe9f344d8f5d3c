"""Select the videos of one subset of a store, and check that they have what a dataset needs.

A dataset can also read a part of a subset: ``first 90% of train`` and ``last 10% of train`` divide
the subset ``train`` in two, without any change to the store. `find_rows` says how.
"""

import hashlib
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from flowkit.errors import StoreError
from flowkit.store import Store
from flowkit.store.arrow_arrays import view_numbers

MAX_LISTED_VIDEOS = 5
"""How many videos an error message lists."""
PART = re.compile(r"(first|last) (\d{1,2})% of (.+)")
"""The name of a part of a subset."""


def find_rows(store: Store, name: str) -> npt.NDArray[np.int64]:
    """Find the videos of a subset, or of a part of one.

    The parts of a subset are stratified: its videos are ordered such that each beginning has about
    the same share of every class (by a video's first label). Among videos of one class, the order
    is that of a hash of their ids, so it is the same at any time and on every machine. The first
    n % and the last 100 − n % are disjoint and together the whole subset, and each has at least one
    video if the subset has two.

    Args:
        store: The store that has the videos.
        name: Name of a subset of the store, or ``first n% of NAME`` or ``last n% of NAME``, where n
            is an integer from 1 to 99.

    Returns:
        (videos,) int64 rows of the store's index, ascending.

    Raises:
        UsageError: The store has no such subset.
    """
    part = None if name in store.subsets() else PART.fullmatch(name)
    if part is None or not int(part[2]):
        return store.subset(name)
    side, percent, rows = part[1], int(part[2]), store.subset(part[3])
    first = percent if side == "first" else 100 - percent
    count = min(-(-len(rows) * first // 100), max(1, len(rows) - 1))
    ordered = stratify(store, rows)
    return np.sort(ordered[:count] if side == "first" else ordered[count:])


def stratify(store: Store, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Order videos such that each beginning of the list has about the same share of every class."""
    labels = store.index.batch.column("labels")
    offsets, classes = view_numbers(labels.offsets), view_numbers(labels.values.field("class"))
    by_class: dict[int, list[tuple[bytes, int]]] = {}
    for row in rows.tolist():
        video_class = int(classes[offsets[row]]) if offsets[row] < offsets[row + 1] else -1
        digest = hashlib.blake2b(store.index.id(row).encode(errors="surrogatepass"), digest_size=8)
        by_class.setdefault(video_class, []).append((digest.digest(), row))
    places = [
        ((2 * rank + 1) / (2 * len(videos)), digest, row)
        for videos in by_class.values()
        for rank, (digest, row) in enumerate(sorted(videos))
    ]
    return np.array([row for _, _, row in sorted(places)], dtype=np.int64)


class Subset:
    """The videos of one subset of a store, or one video, with their labels.

    The store's index has one row for each video, so a row (int) identifies a video. The attribute
    ``rows``, (N,) int64, has the rows of the subset's videos.

    Args:
        store: The store that holds the videos, or its path.
        videos: Name of a subset of the store's index, or of a part of one (see `find_rows`); or the
            row of the only video, which may be in no subset.
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
        videos: str | int,
        multi_label: bool = False,
        streams: tuple[str, ...] = (),
    ) -> None:
        """Look up the subset's rows, and check streams and labels."""
        self.store = store if isinstance(store, Store) else Store(store)
        self.multi_label, self.streams = multi_label, streams
        self.is_one_video = not isinstance(videos, str)
        if isinstance(videos, str):
            self.name, self.rows = videos, find_rows(self.store, videos)
        else:
            self.name, self.rows = self.store.index.id(videos), np.array([videos], np.int64)
        for stream in streams:
            rows_without = [row for row in self.rows if not self.count(int(row), stream)]
            self.raise_if_any(rows_without, f"no {stream}: extract it with --streams {stream}")
        if not multi_label:
            labels = np.diff(view_numbers(self.store.index.batch.column("labels").offsets))
            advice = "give them labels (flowkit index STORE --labels FILE), or use another subset"
            self.raise_if_any(self.rows[labels[self.rows] == 0], f"no label: {advice}")
            advice = "use multi_label=True (labels: many in a recipe), or another subset"
            self.raise_if_any(self.rows[labels[self.rows] > 1], f"several labels: {advice}")

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
        offsets, classes = view_numbers(column.offsets), view_numbers(column.values.field("class"))
        if not self.multi_label:
            return torch.from_numpy(classes[offsets[rows]].astype(np.int64))
        target = torch.zeros(len(rows), len(self.store.classes))
        for row, has_class in zip(rows, target.numpy(), strict=True):
            has_class[classes[offsets[row] : offsets[row + 1]]] = 1
        return target

    def raise_if_any(self, rows: Sequence[int] | npt.NDArray[np.int64], problem: str) -> None:
        """Raise an error about unusable videos, if there are any; do nothing without rows.

        Args:
            rows: Rows of the unusable videos in the store's index. May be empty.
            problem: The end of the sentence "5 of 9 videos of subset 'train' have …", such as "no
                flow: extract it with --streams flow".

        Raises:
            StoreError: If ``rows`` is not empty. The message lists the first few videos.
        """
        if len(rows) and self.is_one_video:
            raise StoreError(f"{self.store.location}: video {self.name!r} has {problem}")
        if len(rows):
            ids = ", ".join(repr(self.store.index.id(int(row))) for row in rows[:MAX_LISTED_VIDEOS])
            unlisted = len(rows) - MAX_LISTED_VIDEOS
            more = f" and {unlisted} more" if unlisted > 0 else ""
            raise StoreError(
                f"{self.store.location}: {len(rows)} of {len(self.rows)} videos of subset "
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

"""The videos that a dataset is of: those of one subset, checked to have what it needs."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from flowkit.errors import StoreError, UsageError
from flowkit.store import Store

STREAMS = ("rgb", "flow")
NAMED = 5  # videos that an error names


@dataclass(frozen=True, kw_only=True)
class LabelledSubset:
    """Videos of a store with one label each, or any number of them.

    Raises UsageError for an unknown subset, StoreError for videos that have (unless ``many``) not
    exactly one label.
    """

    store: Store
    name: str
    many: bool = False
    rows: npt.NDArray[np.int64] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "rows", self.store.subset(self.name))
        self.check_streams()
        if not self.many:
            labels = self.store.index.batch.column("labels").value_lengths().to_numpy()
            wrong = self.rows[labels[self.rows] != 1]
            self.refuse(list(wrong), "not exactly one label: use many=True, or another subset")

    def check_streams(self) -> None:
        """What kinds of subsets ask of their videos."""

    def label(self, row: int) -> torch.Tensor:
        """Its class () int64, or with ``many`` all of them as (classes,) float32 of 0 and 1."""
        classes = [label["class"] for label in self.store.index.value("labels", row)]
        if not self.many:
            return torch.tensor(classes[0])
        target = torch.zeros(len(self.store.classes))
        target[classes] = 1
        return target

    def refuse(self, rows: list[Any], fault: str) -> None:
        """Raise StoreError that names the first of the videos; nothing where there is none."""
        if len(rows):
            ids = ", ".join(repr(self.store.index.id(int(row))) for row in rows[:NAMED])
            more = f" and {len(rows) - NAMED} more" if len(rows) > NAMED else ""
            raise StoreError(
                f"{self.store.path}: {len(rows)} of {len(self.rows)} videos of subset "
                f"{self.name!r} have {fault} ({ids}{more})"
            )


@dataclass(frozen=True, kw_only=True)
class Subset(LabelledSubset):
    """A subset whose videos all have frames, or flow fields, of some streams.

    Raises UsageError for an unknown stream, StoreError for videos that lack one.
    """

    streams: tuple[str, ...]

    def check_streams(self) -> None:
        unknown = set(self.streams) - set(STREAMS)
        if unknown or not self.streams:
            raise UsageError(f"streams are rgb and flow, got {', '.join(self.streams) or 'none'}")
        for stream in self.streams:
            lacking = [row for row in self.rows if not self.count(int(row), stream)]
            self.refuse(lacking, f"no {stream}: extract it with --streams {stream}")

    def count(self, row: int, stream: str) -> int:
        """Frames, or flow fields, of a video."""
        place = self.store.index.place(stream, row)
        return 0 if place is None else place[3] - (stream == "flow")

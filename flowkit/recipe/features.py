"""Define which network computed the features of a stream ``features/NAME``, and from what."""

from dataclasses import dataclass
from typing import Literal

from flowkit.errors import UsageError
from flowkit.streams import STREAMS, StreamName

SOURCES = (*STREAMS, "synthetic")
"""Streams that features can be computed from."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FeatureRecipe:
    """Which network computed local features, and from what."""

    source: StreamName | Literal["synthetic"]
    """The stream that is the input of the network."""
    model: str
    """Name of the network."""
    weights: str
    """Digest of its weights (hexadecimal, over their names, shapes and float32 values)."""
    dimension: int
    """Number of values of a feature, at least 1."""
    positions: int
    """Number of evenly spaced positions in each video; 0 means every position."""
    clip_length: int = 1
    """Frames in the clip at each position, at least 1."""
    clip_stride: int = 1
    """Frames from one frame of a clip to the next, at least 1."""
    crops: str = "centre"
    """Names of the views of a clip."""
    size: int = 0
    """Side of a crop in pixels; 0 means not cropped."""
    note: str = ""
    """A note for people; recipes with different notes are different."""

    def __post_init__(self) -> None:
        """Check the source and the lower limits of the numbers."""
        if self.source not in SOURCES:
            names = ", ".join(SOURCES)
            raise UsageError(f"the source of features must be one of {names}, got {self.source!r}")
        minima = {"dimension": 1, "positions": 0, "clip_length": 1, "clip_stride": 1, "size": 0}
        for name, limit in minima.items():
            if getattr(self, name) < limit:
                raise UsageError(
                    f"{name} of features must be at least {limit}, got {getattr(self, name)}"
                )

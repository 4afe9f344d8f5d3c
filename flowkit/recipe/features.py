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
    """Number of evenly spaced positions in each video; 0 means every position, or all windows."""
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
    window: int = 0
    """Frames of a window, ``clip_stride`` apart, where the positions are the windows of a video;
    0 where they are not.
    """
    window_stride: int = 0
    """Frames from the start of one window to the start of the next."""

    def __post_init__(self) -> None:
        """Check the source and the lower limits of the numbers."""
        if self.source not in SOURCES:
            names = ", ".join(SOURCES)
            raise UsageError(f"the source of features must be one of {names}, got {self.source!r}")
        minima = {"dimension": 1, "positions": 0, "clip_length": 1, "clip_stride": 1, "size": 0,
                  "window": 0, "window_stride": 0}  # fmt: skip
        for name, limit in minima.items():
            if getattr(self, name) < limit:
                raise UsageError(
                    f"{name} of features must be at least {limit}, got {getattr(self, name)}"
                )
        if bool(self.window) != bool(self.window_stride) or (self.window and self.positions):
            raise UsageError(
                "windows of features need a length and a stride, and no number of positions; got "
                f"window {self.window}, window_stride {self.window_stride} and positions "
                f"{self.positions}"
            )

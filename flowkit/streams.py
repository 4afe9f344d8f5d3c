"""Declare the streams that can be extracted from a video: ``rgb``, ``flow`` and ``audio``.

A *stream* is one kind of data that a store holds of a video. A store can also hold streams
``features/NAME``, which networks compute from these; they are described by the store's recipe.

To add a stream, such as depth: describe it here, add its part to `flowkit.recipe.Recipe`, extract
it in `flowkit.extraction.worker`, and read it in `flowkit.datasets.views`. A *branch* is something
else: the network, or the part of one, whose input is one stream.
"""

import math
from dataclasses import dataclass
from typing import Literal

StreamName = Literal["rgb", "flow", "audio"]

PATCH_SHAPE = (96, 64)
"""Shape of a log-mel patch of audio: windows, mel bands."""

BUFFERS: dict[str, tuple[int, int, int | None, int]] = {
    "bytes": (1, 3, 1, 2),
    "vector": (2, 3, None, 2),
    "number": (1, 2, None, 1),
}
"""The result of `Column.layout` for each kind of column."""


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a shard."""

    name: str
    """Name of the column."""
    kind: Literal["bytes", "vector", "number"]
    """``bytes`` (large_binary), ``vector`` (a list of fixed size) or ``number``."""
    dtype: str = ""
    """NumPy name of the values of a vector or number."""

    @property
    def layout(self) -> tuple[int, int, int | None, int]:
        """Return how the column is laid out in a record batch of Arrow.

        Returns:
            The number of its field nodes, the number of its buffers, and the indices of the
            buffers that hold its offsets (None where it has no offsets) and its values.
        """
        return BUFFERS[self.kind]


@dataclass(frozen=True, kw_only=True, slots=True)
class Stream:
    """How one stream is stored, and its form as the input of a network."""

    folder: str
    """Folder of the store that has its shards. Streams of one folder share their rows."""
    columns: tuple[Column, ...]
    """Its columns in those shards."""
    unit: str
    """Plural noun for the things that it consists of, each of which is one row."""
    channels: int
    """Channels of one row as the input of a network."""
    shape: tuple[int, int] | None = None
    """Height and width of a row, or None for images, whose size the recipe decides. Images are
    JPEGs that are cropped and scaled for a network; other rows are its input unchanged.
    """
    unused_rows: int = 0
    """Number of empty rows at the end of a video: the last frame has no flow to a next one."""
    fits_rgb_weights: bool = False
    """Whether the first convolution of a network for RGB can be used as it is. If not, its weights
    are averaged over the input channels.
    """
    extracted_by_default: bool = False
    """Whether it is extracted if no streams are named."""

    @property
    def is_image(self) -> bool:
        """Return whether a row is an image, as opposed to floats of a fixed shape."""
        return self.shape is None

    @property
    def vector_size(self) -> int | None:
        """Return how many floats a row has, or None for images."""
        return None if self.shape is None else math.prod(self.shape)


STREAMS: dict[str, Stream] = {
    "rgb": Stream(
        folder="frames",
        columns=(Column("rgb", "bytes"),),
        unit="frames",
        channels=3,
        fits_rgb_weights=True,
        extracted_by_default=True,
    ),
    "flow": Stream(
        folder="frames",
        columns=(Column("flow_x", "bytes"), Column("flow_y", "bytes")),
        unit="flow fields",
        channels=2,
        unused_rows=1,
        extracted_by_default=True,
    ),
    "audio": Stream(
        folder="audio",
        columns=(Column("patch", "vector", "float32"),),
        unit="patches",
        channels=1,
        shape=PATCH_SHAPE,
    ),
}
"""All streams by name, in the order in which they are listed."""

UNUSED_ROWS = {name: stream.unused_rows for name, stream in STREAMS.items()}
DEFAULT_STREAMS = tuple(name for name, stream in STREAMS.items() if stream.extracted_by_default)


def count_rows(stream: str, rows: int) -> int:
    """Count the frames, flow fields, patches or features of a video.

    Args:
        stream: Name of the stream, which may be ``features/NAME``.
        rows: Number of rows of the video in its shard, some of which may be empty.

    Returns:
        The count, at least 0.
    """
    return max(0, rows - UNUSED_ROWS.get(stream, 0))

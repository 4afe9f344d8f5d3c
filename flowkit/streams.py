"""Declare the streams that can be extracted from a video: ``rgb``, ``flow`` and ``audio``.

A *stream* is one kind of data that a store holds of a video. A store can also hold streams
``features/NAME``, which networks compute from these; they are described by the store's recipe.

To add a stream, such as depth: describe it here, and add its part to
`flowkit.recipe.StoreRecipe`. The store then writes, checks, repairs and indexes it. CONTRIBUTING
lists what extracts, shows and uses it. A *branch* is something else: the network, or the part of
one, whose input is one stream.
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
    optional: bool = False
    """Whether shards of older versions lack the column, and a row may have no value in it."""

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
    """Folder of the store that has its shards. Streams of one folder share their rows. A new stream
    needs a folder of its own, since the shards that exist have no column for it.
    """
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
    has_step: bool = False
    """Whether a row is computed from its frame and the one that is ``flow.step`` frames later, so
    that the rows of frames without such a partner are empty.
    """
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
    def is_grey(self) -> bool:
        """Return whether a row is one grey image, or several, as opposed to one in colour."""
        return self.is_image and self.channels == len(self.columns)

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
        has_step=True,
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

TIME = Column("time", "number", "int64", optional=True)
"""When a frame is shown: microseconds from the first frame of the video."""
SHARED_COLUMNS: dict[str, tuple[Column, ...]] = {"frames": (TIME,)}
"""Columns by folder that belong to its rows, whatever streams they hold; they are the last ones."""
FRAME_STREAMS = tuple(name for name, stream in STREAMS.items() if stream.is_image)
"""Streams of images, which have a row for each frame of a video and its size in pixels."""
STEP_STREAMS = frozenset(name for name, stream in STREAMS.items() if stream.has_step)
DEFAULT_STREAMS = tuple(name for name, stream in STREAMS.items() if stream.extracted_by_default)


def count_empty_rows(stream: str, flow_step: int) -> tuple[int, int]:
    """Count the rows of a video without data at its start and at its end.

    Args:
        stream: Name of the stream, which may be ``features/NAME``.
        flow_step: Frames from a frame to the one that its flow leads to; below 0 for backward flow.

    Returns:
        The numbers of rows; at least one of them is 0.
    """
    if stream not in STEP_STREAMS:
        return 0, 0
    return max(0, -flow_step), max(0, flow_step)


def find_rows(stream: str, rows: int, flow_step: int) -> range:
    """Find the rows of a video that have data of a stream.

    Args:
        stream: Name of the stream, which may be ``features/NAME``.
        rows: Number of rows of the video in its shard.
        flow_step: Frames from a frame to the one that its flow leads to; below 0 for backward flow.

    Returns:
        The indices of the rows, which are those of the frames in the case of flow.
    """
    at_start, at_end = count_empty_rows(stream, flow_step)
    return range(min(at_start, rows), max(0, rows - at_end))

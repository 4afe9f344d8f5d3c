"""One video of an open store: its facts, and its bytes."""

from typing import Any, NamedTuple, Protocol

import numpy as np

from flowkit.annotations.table import Label
from flowkit.errors import UsageError
from flowkit.recipe import FEATURES
from flowkit.store.format.jpeg import decode_grey, decode_rgb
from flowkit.store.format.schema import PATCH_SHAPE, Fingerprint
from flowkit.store.index_view import IndexView, Place


class VideoStore(Protocol):
    """What a video asks of the open store that it is in (`flowkit.store.Store`)."""

    @property
    def index(self) -> IndexView:
        """Return the mapped index of the store."""

    @property
    def classes(self) -> tuple[str, ...]:
        """Return the class names, by class id."""

    @property
    def bound(self) -> float:
        """Return the displacement in pixels at which flow is clipped."""

    def read_bytes(
        self, place: Place, columns: tuple[str, ...], t: int, length: int
    ) -> list[list[bytes]]:
        """Rows t … t + length − 1 of some bytes columns."""

    def read_fixed(self, stream: str, column: str, place: Place) -> np.ndarray[Any, Any]:
        """All rows of a column of fixed size."""


class Snippet(NamedTuple):
    """The JPEG bytes of RGB frame t and of the flow fields t … t + length − 1.

    ``bound`` in pixels is what the flow was quantized with.
    """

    rgb: bytes
    flow_x: tuple[bytes, ...]
    flow_y: tuple[bytes, ...]
    bound: float

    def decode(self) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
        """RGB (H, W, 3) uint8, and flow (length, H, W, 2) float32 in pixels."""
        pairs = zip(self.flow_x, self.flow_y, strict=True)
        return decode_rgb(self.rgb), np.stack([decode_flow(x, y, self.bound) for x, y in pairs])


def decode_flow(x: bytes, y: bytes, bound: float) -> np.ndarray[Any, Any]:
    """Two grey JPEGs → displacement (H, W, 2) float32 in pixels."""
    from flowkit.flow.quantize import dequantize

    return dequantize(np.stack([decode_grey(x), decode_grey(y)], axis=-1), bound)


class Video:
    """One row of the index; everything is read when it is asked for.

    Times t count stored frames from 0. Asking for a frame or field that is not there is a
    UsageError; bytes that are not what was committed are a CorruptError.
    """

    __slots__ = ("_row", "_store")

    def __init__(self, store: VideoStore, row: int) -> None:
        self._store = store
        self._row = row

    def __repr__(self) -> str:
        return f"Video({self.id!r}, {self.num_frames} frames, {'+'.join(self.streams)})"

    @property
    def row(self) -> int:
        """Its row in the index."""
        return self._row

    @property
    def id(self) -> str:
        """Its id, unique in the store."""
        return self._store.index.id(self._row)

    @property
    def labels(self) -> tuple[Label, ...]:
        """Its classes, with start and end in seconds where the annotation has them."""
        classes = self._store.classes
        return tuple(
            Label(classes[label["class"]], label["start"], label["end"])
            for label in self._store.index.value("labels", self._row)
        )

    @property
    def subsets(self) -> tuple[str, ...]:
        """The subsets that it is in."""
        return tuple(self._store.index.value("subsets", self._row))

    @property
    def num_frames(self) -> int:
        """RGB frames (0 ≤ t < num_frames)."""
        return int(self._store.index.frames[self._row])

    @property
    def num_flow(self) -> int:
        """Flow fields (0 ≤ t < num_flow): one less than frames, 0 without the stream."""
        place = self._store.index.place("flow", self._row)
        return max(0, place[3] - 1) if place else 0

    @property
    def fps(self) -> float:
        """Stored frames per second."""
        return float(self._store.index.value("fps", self._row))

    @property
    def width(self) -> int:
        """Stored width in pixels."""
        return int(self._store.index.value("width", self._row))

    @property
    def height(self) -> int:
        """Stored height in pixels."""
        return int(self._store.index.value("height", self._row))

    @property
    def streams(self) -> tuple[str, ...]:
        """The streams that are committed for it."""
        index = self._store.index
        return tuple(name for name in index.streams if index.place(name, self._row))

    @property
    def source(self) -> str:
        """The path that it was extracted from."""
        return str(self._store.index.value("source", self._row))

    @property
    def fingerprint(self) -> Fingerprint:
        """That of the source when it was extracted."""
        value = self._store.index.value
        size, mtime_ns = value("size", self._row), value("mtime_ns", self._row)
        return Fingerprint(size, mtime_ns, value("digest", self._row).hex())

    @property
    def warnings(self) -> int:
        """How many warnings its decoder gave; the commit record has their text."""
        return int(self._store.index.value("warnings", self._row))

    def rgb_bytes(self, t: int) -> bytes:
        """The JPEG of frame t."""
        return self._read("rgb", ("rgb",), t, 1)[0][0]

    def flow_bytes(self, t: int) -> tuple[bytes, bytes]:
        """The grey JPEGs of x and y of flow field t, quantized."""
        (x,), (y,) = self._read("flow", ("flow_x", "flow_y"), t, 1)
        return x, y

    def flow_jpegs(self, t: int, length: int) -> list[tuple[bytes, bytes]]:
        """The grey JPEGs of x and y of flow fields t … t + length − 1, quantized; two reads."""
        x, y = self._read("flow", ("flow_x", "flow_y"), t, length)
        return list(zip(x, y, strict=True))

    def rgb(self, t: int) -> np.ndarray[Any, Any]:
        """Frame t, (H, W, 3) uint8."""
        return decode_rgb(self.rgb_bytes(t))

    def flow(self, t: int) -> np.ndarray[Any, Any]:
        """Flow field t, (H, W, 2) float32: displacement in pixels from frame t to t + 1."""
        return decode_flow(*self.flow_bytes(t), self._store.bound)

    def frames(
        self, start: int | None = None, stop: int | None = None, step: int = 1
    ) -> np.ndarray[Any, Any]:
        """Frames ``start:stop:step`` as a slice would take them, (n, H, W, 3) uint8."""
        times = range(*slice(start, stop, step).indices(self.num_frames))
        if not times:
            return np.empty((0, self.height, self.width, 3), np.uint8)
        low, high = min(times), max(times)
        if abs(step) == 1:
            (data,) = self._read("rgb", ("rgb",), low, high + 1 - low)
            return np.stack([decode_rgb(data[t - low]) for t in times])
        return np.stack([self.rgb(t) for t in times])

    def snippet(self, t: int, length: int = 5) -> Snippet:
        """Frame t and flow fields t … t + length − 1, undecoded; three reads."""
        ((rgb,),) = self._read("rgb", ("rgb",), t, 1)
        x, y = self._read("flow", ("flow_x", "flow_y"), t, length)
        return Snippet(rgb, tuple(x), tuple(y), self._store.bound)

    def audio(self) -> np.ndarray[Any, Any]:
        """Its log-mel patches, (patches, 96, 64) float32."""
        return self.vectors("audio", "patch").reshape(-1, *PATCH_SHAPE)

    def features(self, name: str) -> np.ndarray[Any, Any]:
        """Read the local features of one kind.

        Columns ``"position"`` and ``"view"`` of :meth:`vectors` tell where in the video each
        row was computed and from which view.

        Args:
            name: Name of the features, as in ``recipe.features``.

        Returns:
            (rows, dimension) float16.
        """
        return self.vectors(f"{FEATURES}{name}", "vector")

    def vectors(self, stream: str, column: str) -> np.ndarray[Any, Any]:
        """A column of fixed-size rows: (rows, dimension) floats or (rows,) integers."""
        return self._store.read_fixed(stream, column, self._place(stream))

    def _place(self, stream: str) -> Place:
        place = self._store.index.place(stream, self._row)
        if place is None:
            make = f"`flowkit features --name {stream.removeprefix(FEATURES)}`"
            extract = f"extract it with --streams {stream}"
            remedy = f"make them with {make}" if stream.startswith(FEATURES) else extract
            raise UsageError(
                f"video {self.id!r} has no {stream}, only {', '.join(self.streams)}; {remedy}"
            )
        return place

    def _read(
        self, stream: str, columns: tuple[str, ...], t: int, length: int
    ) -> list[list[bytes]]:
        """Rows t … t + length − 1 of some columns."""
        place = self._store.index.place(stream, self._row) or self._place(stream)
        rows = place[3] - (stream == "flow")
        if t < 0 or length < 1 or t + length > rows:
            raise UsageError(
                f"video {self.id!r} has {rows} of {stream}, at 0 ≤ t < {rows}; "
                f"got t = {t}, length {length}"
            )
        return self._store.read_bytes(place, columns, t, length)

"""Read the metadata, frames, flow, audio and features of one video of an open store."""

from typing import Any, Protocol

import numpy as np

from flowkit.annotations.table import Label
from flowkit.errors import CorruptError, UsageError
from flowkit.recipe import FEATURES
from flowkit.store import frame_times
from flowkit.store.format.jpeg import decode_rgb
from flowkit.store.format.schema import Fingerprint, Motion
from flowkit.store.index_view import IndexView, Location
from flowkit.store.shard_reader import Shards
from flowkit.store.snippet import Snippet, decode_flow
from flowkit.streams import PATCH_SHAPE, TIME


class VideoStore(Protocol):
    """The part of `flowkit.store.Store` that a `Video` uses."""

    @property
    def index(self) -> IndexView:
        """Return the mapped index of the store."""

    @property
    def shards(self) -> Shards:
        """Return the reader of the store's shards."""

    @property
    def bound(self) -> float:
        """Return the displacement in pixels at which flow is clipped."""

    @property
    def flow_step(self) -> int:
        """Return how many frames later the frame is that flow leads to; below 0: earlier."""


class Video:
    """One video of a store, made by ``store[id]``; all data is read on access.

    ``t`` is the index of a stored frame, from 0. Every method that reads data raises a UsageError
    if the video does not have what was requested, and a CorruptError if the shard is damaged.

    Args:
        store: The open store.
        row: Row of the video in the index; also an attribute.
    """

    __slots__ = ("_store", "row")

    def __init__(self, store: VideoStore, row: int) -> None:
        self._store = store
        self.row = row

    def __repr__(self) -> str:
        return f"Video({self.id!r}, {self.num_frames} frames, {'+'.join(self.streams)})"

    @property
    def id(self) -> str:
        """Return the id of the video, unique in the store."""
        return self._store.index.id(self.row)

    @property
    def labels(self) -> tuple[Label, ...]:
        """Return the labels, with start and end in seconds where the annotation has them."""
        classes = self._store.index.classes
        return tuple(
            Label(classes[label["class"]], label["start"], label["end"])
            for label in self._store.index.value("labels", self.row)
        )

    @property
    def subsets(self) -> tuple[str, ...]:
        """Return the names of the subsets that contain the video."""
        return tuple(self._store.index.value("subsets", self.row))

    @property
    def num_frames(self) -> int:
        """Return the number of stored frames: 0 ≤ t < num_frames."""
        return self._store.index.count_frames(self.row)

    @property
    def num_flow(self) -> int:
        """Number of flow fields: as many as `flow_frames`, 0 without the stream."""
        return self._store.index.count("flow", self.row)

    @property
    def flow_frames(self) -> range:
        """Frames that have a flow field: all but the last, if flow leads to the next frame."""
        at_start = self._store.index.empty_rows["flow"][0]
        return range(at_start, at_start + self.num_flow)

    @property
    def fps(self) -> float:
        """Return the number of stored frames per second; the average if it varies."""
        return float(self._store.index.value("fps", self.row))

    @property
    def duration(self) -> float:
        """Return the seconds from the start of the first frame to the end of the last one."""
        duration = self._store.index.value("duration", self.row)
        if duration is not None:
            return float(duration)
        return self.num_frames / self.fps if self.fps > 0 else 0.0

    @property
    def motion(self) -> Motion | None:
        """Return the mean and 95th percentile of the flow's length; None if not recorded."""
        mean, p95 = (self._store.index.value(name, self.row) for name in ("motion", "motion_p95"))
        return None if mean is None else Motion(mean, p95)

    def times(self) -> np.ndarray[Any, Any]:
        """Return when each frame is shown, (num_frames,) float64 seconds from the first frame.

        Where the store does not have the times of a video, as one of an older version, these are
        those of a constant frame rate: t / fps.

        Raises:
            UsageError: The video has neither RGB nor flow, or neither times nor a frame rate.
        """
        microseconds = self.read_stored_times()
        if microseconds is not None:
            return microseconds / 1e6
        if not self.num_frames:
            raise UsageError(f"video {self.id!r} has no frames, only {', '.join(self.streams)}")
        if not self.fps > 0:
            raise UsageError(f"video {self.id!r} has no frame rate; extract it again")
        return np.arange(self.num_frames) / self.fps

    def read_stored_times(self) -> np.ndarray[Any, Any] | None:
        """Read the times that the store has, (num_frames,) int64 microseconds; None without."""
        for stream in ("rgb", "flow"):
            location = self._store.index.locate(stream, self.row)
            if location is not None:
                try:
                    microseconds = self._store.shards.read_optional(location, stream, TIME.name)
                except CorruptError as error:
                    raise self._make_error(error) from None
                if microseconds is not None:
                    return microseconds
        return None

    def find_frame(self, seconds: float) -> int:
        """Find the frame that is shown at a time.

        Args:
            seconds: Time from the start of the first frame.

        Returns:
            The last frame whose time is not after ``seconds``; the first one for a time before it.
        """
        return frame_times.find_frame(self.times(), seconds)

    @property
    def width(self) -> int:
        """Return the stored width in pixels."""
        return int(self._store.index.value("width", self.row))

    @property
    def height(self) -> int:
        """Return the stored height in pixels."""
        return int(self._store.index.value("height", self.row))

    @property
    def streams(self) -> tuple[str, ...]:
        """Return the names of the streams that the store has of the video."""
        index = self._store.index
        return tuple(name for name in index.streams if index.locate(name, self.row))

    @property
    def source(self) -> str:
        """Return the path of the file that the video was extracted from."""
        return str(self._store.index.value("source", self.row))

    @property
    def fingerprint(self) -> Fingerprint:
        """Return the fingerprint of the source file at the time of extraction."""
        value = self._store.index.value
        size, mtime_ns = value("size", self.row), value("mtime_ns", self.row)
        return Fingerprint(size, mtime_ns, value("digest", self.row).hex())

    @property
    def has_mixed_sources(self) -> bool:
        """Whether RGB, flow and audio are of different files, as a killed update leaves them."""
        return bool(self._store.index.value("mixed_sources", self.row))

    @property
    def warnings(self) -> int:
        """Return the number of decoder warnings; their text is in the commit record."""
        return int(self._store.index.value("warnings", self.row))

    def rgb_bytes(self, t: int) -> bytes:
        """Return the JPEG of RGB frame t."""
        return self._read("rgb", ("rgb",), t, 1)[0][0]

    def flow_bytes(self, t: int) -> tuple[bytes, bytes]:
        """Return the grey JPEGs of the quantized x and y components of flow field t."""
        return self.flow_jpegs(t, 1)[0]

    def flow_jpegs(self, t: int, length: int) -> list[tuple[bytes, bytes]]:
        """Return the grey JPEGs of consecutive flow fields, with two reads.

        Args:
            t: First flow field, by its frame: one of `flow_frames`.
            length: Number of flow fields.

        Returns:
            For each field, the JPEGs of its quantized x and y components.
        """
        x, y = self._read("flow", ("flow_x", "flow_y"), t, length)
        return list(zip(x, y, strict=True))

    def rgb(self, t: int) -> np.ndarray[Any, Any]:
        """Decode RGB frame t to (H, W, 3) uint8."""
        return decode_rgb(self.rgb_bytes(t))

    def flow(self, t: int) -> np.ndarray[Any, Any]:
        """Decode flow field t, the displacement from frame t to frame t + 1.

        With ``flow.step`` K in the store's recipe, it is the displacement to frame t + K.

        Returns:
            Displacement in pixels, (H, W, 2) float32.
        """
        return decode_flow(*self.flow_bytes(t), self._store.bound)

    def frames(
        self, start: int | None = None, stop: int | None = None, step: int = 1
    ) -> np.ndarray[Any, Any]:
        """Decode the RGB frames of a slice.

        Args:
            start: First frame, as in a slice.
            stop: End of the slice, exclusive.
            step: Distance between frames.

        Returns:
            (n, H, W, 3) uint8.
        """
        frame_indices = range(*slice(start, stop, step).indices(self.num_frames))
        if not frame_indices:
            return np.empty((0, self.height, self.width, 3), np.uint8)
        low, high = min(frame_indices), max(frame_indices)
        if abs(step) == 1:
            (data,) = self._read("rgb", ("rgb",), low, high + 1 - low)
            return np.stack([decode_rgb(data[t - low]) for t in frame_indices])
        return np.stack([self.rgb(t) for t in frame_indices])

    def snippet(self, t: int, length: int = 5) -> Snippet:
        """Read one RGB frame and the flow fields that start at it, with three reads.

        Args:
            t: The RGB frame and the first flow field, from 0.
            length: Number of flow fields.

        Returns:
            The JPEG bytes; :meth:`Snippet.decode` turns them into arrays.
        """
        ((rgb,),) = self._read("rgb", ("rgb",), t, 1)
        x, y = self._read("flow", ("flow_x", "flow_y"), t, length)
        return Snippet(rgb, tuple(x), tuple(y), self._store.bound)

    def audio(self) -> np.ndarray[Any, Any]:
        """Read the log-mel patches of the audio, (patches, 96, 64) float32."""
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
        """Read a column of fixed-size values of one stream.

        Args:
            stream: Name of the stream, such as ``"audio"`` or ``"features/rgb"``.
            column: Name of the column, such as ``"vector"`` or ``"position"``.

        Returns:
            (rows, dimension) floats or (rows,) integers.
        """
        try:
            return self._store.shards.read_fixed(self._locate(stream), stream, column)
        except CorruptError as error:
            raise self._make_error(error) from None

    def check_column(self, stream: str, column: str) -> None:
        """Check a column of the batches that hold a stream, if the store was opened to check reads.

        Code that maps shards into memory, instead of reading them, calls this before it uses their
        bytes. A batch is checked once.

        Args:
            stream: Name of the stream.
            column: Name of the column.

        Raises:
            CorruptError: The bytes do not have their checksum.
        """
        try:
            self._store.shards.check_column(self._locate(stream), column)
        except CorruptError as error:
            raise self._make_error(error) from None

    def _make_error(self, error: CorruptError) -> CorruptError:
        """Add the id of this video to an error."""
        return CorruptError(f"video {self.id!r}: {error}")

    def _locate(self, stream: str) -> Location:
        location = self._store.index.locate(stream, self.row)
        if location is None:
            advice = f"extract it with --streams {stream}"
            if stream.startswith(FEATURES):
                name = stream.removeprefix(FEATURES)
                advice = f"compute them with `flowkit features --name {name}`"
            raise UsageError(
                f"video {self.id!r} has no {stream}, only {', '.join(self.streams)}; {advice}"
            )
        return location

    def _read(
        self, stream: str, columns: tuple[str, ...], t: int, length: int
    ) -> list[list[bytes]]:
        """Read rows t … t + length − 1 of some columns, after checking the range."""
        location = self._locate(stream)
        start, at_end = self._store.index.empty_rows.get(stream, (0, 0))
        stop = location.rows - at_end
        if t < start or length < 1 or t + length > stop:
            step = self._store.flow_step if stream == "flow" else 1
            reason = "" if step == 1 else f", since flow leads to frame t{step:+}"
            raise UsageError(
                f"video {self.id!r} has {max(0, stop - start)} of {stream}, at {start} ≤ t < "
                f"{stop}{reason}; got t = {t}, length {length}"
            )
        try:
            return self._store.shards.read_bytes(location, columns, t, length)
        except CorruptError as error:
            raise self._make_error(error) from None

"""Read the images of a video from a store as they are, and check their bytes.

The export formats that pack many videos into one file copy JPEG images without decoding them, so
damage would go unnoticed. Each batch of a store has a CRC-32 of its columns; `BatchChecker`
compares them before a video is copied.
"""

import json
from collections.abc import Iterator
from functools import lru_cache
from hashlib import blake2b
from typing import Any, NamedTuple

from flowkit.errors import CorruptError
from flowkit.store.format.layout import read_message
from flowkit.store.index_view import Location
from flowkit.store.integrity.batches import check_batch
from flowkit.store.reader import Store
from flowkit.store.shard_reader import ShardReader
from flowkit.store.video import Video
from flowkit.streams import STREAMS

FRAMES_PER_READ = 64
"""Frames that are in memory at a time."""
FLOAT_BYTES = 4
"""Bytes of a value of an audio patch."""
OPEN_SHARDS = 16
"""Shards of the store that a checker keeps open."""


class StoredFrame(NamedTuple):
    """One frame of a video, as it is in the store."""

    t: int
    """Index of the frame in the video, from 0."""
    rgb: bytes | None
    """JPEG of the RGB frame; None if the video has no RGB."""
    flow_x: bytes | None
    """Grey JPEG of the x component of the flow from this frame; None if there is none."""
    flow_y: bytes | None
    """Grey JPEG of the y component of the same flow field."""


def read_frames(store: Store, video: Video) -> Iterator[StoredFrame]:
    """Read the images of a video in the order of time.

    Args:
        store: Store that holds the video.
        video: The video, with RGB, flow or both.

    Yields:
        Its frames. Those from which no flow leads, such as the last one, have none.
    """
    locations = {stream: store.index.locate(stream, video.row) for stream in ("rgb", "flow")}
    for start in range(0, video.num_frames, FRAMES_PER_READ):
        length = min(FRAMES_PER_READ, video.num_frames - start)
        columns = [
            column
            for stream, location in locations.items()
            for column in read_columns(store, stream, location, start, length)
        ]
        for k, (rgb, x, y) in enumerate(zip(*columns, strict=True)):
            yield StoredFrame(start + k, rgb or None, x or None, y or None)


def read_columns(
    store: Store, stream: str, location: Location | None, start: int, length: int
) -> list[list[bytes | None]]:
    """Read consecutive rows of all columns of a stream of images.

    Args:
        store: Store that holds the video.
        stream: Name of the stream.
        location: Where the stream of the video is stored; None if the video does not have it.
        start: First row, from 0.
        length: Number of rows.

    Returns:
        ``length`` values for each column; None where there is no row, and empty where a row has no
        image.
    """
    names = tuple(column.name for column in STREAMS[stream].columns)
    rows = 0 if location is None else max(0, min(length, location.rows - start))
    if location is None or not rows:
        return [[None] * length for _ in names]
    columns = store.shards.read_bytes(location, names, start, rows)
    return [[*column, *[None] * (length - rows)] for column in columns]


def list_frame_times(video: Video) -> list[int]:
    """List when the frames of a video are shown.

    Args:
        video: Video of a store.

    Returns:
        Microseconds from the first frame, one for each frame; empty for a video of sound alone.

    Raises:
        UsageError: The store has neither times nor a frame rate of the video.
    """
    if not video.num_frames:
        return []
    return [round(seconds * 1_000_000) for seconds in video.times().tolist()]


def count_bytes(store: Store, video: Video, streams: tuple[str, ...]) -> int:
    """Count the bytes of a video without reading them.

    Args:
        store: Store that holds the video.
        video: The video.
        streams: Names of the streams that count; those that the video does not have are ignored.

    Returns:
        Bytes of its images and patches; 0 if the headers of its shard are damaged.
    """
    total = 0
    try:
        for stream in streams:
            size = STREAMS[stream].vector_size
            if size is not None:
                total += store.index.count(stream, video.row) * size * FLOAT_BYTES
                continue
            total += sum(
                store.shards.locate(shard, batch, column.name)[1].values_bytes
                for shard, batch in list_batches(store, video, stream)
                for column in STREAMS[stream].columns
            )
    except CorruptError:
        return 0
    return total


def list_batches(store: Store, video: Video, stream: str) -> list[tuple[int, int]]:
    """List the batches that hold a stream of a video.

    Args:
        store: Store that holds the video.
        video: The video.
        stream: Name of the stream.

    Returns:
        Shard and batch indices; empty if the video does not have the stream.
    """
    location = store.index.locate(stream, video.row)
    if location is None:
        return []
    return [(location.shard, batch) for batch, _, _ in store.shards.list_spans(location)]


class BatchChecker:
    """Compares the bytes of videos with the checksums of their batches.

    Args:
        store: Store that holds the videos.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        names = store.index.shards
        self._open = lru_cache(OPEN_SHARDS)(lambda shard: ShardReader(store.path, names[shard]))

    def check_video(self, video: Video, streams: tuple[str, ...]) -> None:
        """Check all bytes of some streams of a video.

        Args:
            video: The video.
            streams: Names of the streams; those that the video does not have are ignored.

        Raises:
            CorruptError: A checksum is wrong.
        """
        batches = {
            batch for stream in streams for batch in list_batches(self._store, video, stream)
        }
        for shard, batch in sorted(batches):
            reader = self._open(shard)
            try:
                block = reader.blocks[batch]
                message = read_message(reader.descriptor, block)
                check_batch(reader.descriptor, block, message, reader.columns)
            except CorruptError as error:
                raise reader.make_error(error) from None


def describe_video(video: Video, classes: tuple[str, ...]) -> dict[str, Any]:
    """Describe a video for the readers of an export.

    Args:
        video: Video of a store.
        classes: Class names of the store.

    Returns:
        JSON values: id, counts, fps, size, labels with their times in seconds, and subsets.
    """
    indices = {name: index for index, name in enumerate(classes)}
    return {
        "id": video.id,
        "frames": video.num_frames,
        "flow": video.num_flow,
        "fps": video.fps,
        "width": video.width,
        "height": video.height,
        "labels": [
            {"class": indices[name], "name": name, "start": start, "end": end}
            for name, start, end in ((label.name, label.start, label.end) for label in video.labels)
        ],
        "subsets": list(video.subsets),
    }


def digest_video(video: Video, classes: tuple[str, ...]) -> str:
    """Compute a digest by which a later run notices that a video or its labels have changed.

    Args:
        video: Video of a store.
        classes: Class names of the store.

    Returns:
        32 hexadecimal digits.
    """
    streams = [name for name in video.streams if name in STREAMS]  # no format holds features
    values = [describe_video(video, classes), video.fingerprint.digest, streams]
    return blake2b(json.dumps(values).encode(), digest_size=16).hexdigest()

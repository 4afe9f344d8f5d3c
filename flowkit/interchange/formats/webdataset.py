"""Export a store as tar shards for WebDataset: one sample for each video.

    <out>/<partition>-000000.tar   shards
    <out>/shards.json              the shards and number of samples of each subset, class names
    <out>/export.json, videos.csv, classes.txt

A partition is the videos that are in the same subsets (partitions.py): it is named after a subset,
or after several, as in ``test2.train1``. Subsets have names of ASCII letters, digits and ``_`` in
names of files and as keys of ``shards.json``, whose ``name`` is that of the store: ``train_1`` is
``train/1``.

A shard holds the files of one video after another. WebDataset takes what is before the first dot of
a name as the key of the sample, and the rest as the name of a field:

    <key>.json                 id, counts, fps, size, labels, subsets, time of each frame in µs,
                               bound of the flow, and frames from a frame to the one that its flow
                               leads to (step)
    <key>.cls                  class index, only of a video with exactly one class
    <key>.audio.npy            log-mel patches, (patches, 96, 64) float32, if the video has sound
    <key>.rgb.000000.jpg       RGB frame 0
    <key>.flow_x.000000.jpg    x component of the flow from frame 0 to frame 0 + step
    <key>.flow_y.000000.jpg    y component of the same flow field

``<key>`` is the id, encoded by `file_names.encode_key`. The bytes of the images are those of the
store. Times, owners and modes in the tar are constant, so equal stores give equal bytes.
"""

import io
import json
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import IO, Any

import numpy as np

from flowkit.interchange.file_names import encode_key
from flowkit.interchange.formats.export_format import ExportOptions
from flowkit.interchange.formats.partitions import name_subsets
from flowkit.interchange.formats.sharded_format import ShardedFormat
from flowkit.interchange.formats.stored_frames import (
    describe_video,
    list_frame_times,
    read_frames,
)
from flowkit.interchange.video_lists import write_shard_lists
from flowkit.store.format.atomic import write_atomic
from flowkit.store.reader import Store
from flowkit.store.video import Video

MAX_HEADER_NAME = 100
"""Longest name that fits into a header; for longer ones, tarfile writes another header."""
MAX_HEADER_SIZE = 8**11 - 1
"""Largest size that fits into a header as 11 octal digits."""
WRITE_BUFFER = 1 << 20
"""Bytes of a shard that are buffered."""
FIELDS = ("rgb", "flow_x", "flow_y")
"""Names of the fields of images, to which the number of the frame is added."""


class WebDataset(ShardedFormat):
    """Tar shards with one sample for each video; see the module."""

    name = "webdataset"
    streams = ("rgb", "flow", "audio")
    suffix = ".tar"
    default_shard_bytes = 1_000_000_000
    single_partition = "all"

    def __init__(self, store: Store, out: Path, options: ExportOptions) -> None:
        """Describe the names of the members."""
        super().__init__(store, out, options)
        self.settings["members"] = "<key>.<field>.<frame:06d>.jpg; keys are percent-encoded ids"

    @contextmanager
    def open_shard(self, path: Path) -> Iterator["TarWriter"]:
        """Create a tar file."""
        with path.open("wb", buffering=WRITE_BUFFER) as file:
            writer = TarWriter(file, self.store)
            yield writer
            writer.finish()

    def write_lists(self, complete_ids: list[str]) -> int:
        """Write ``videos.csv``, ``classes.txt`` and ``shards.json``.

        In ``shards.json``, the name of what is no subset of the store is null.
        """
        subsets: dict[str, dict[str, Any]] = {}
        names = {file: name for name, file in name_subsets(self.store.subsets()).items()}
        for record in sorted(self.records.values(), key=lambda record: record.name):
            for subset in record.subsets:
                entry = subsets.setdefault(
                    subset, {"name": names.get(subset), "shards": [], "samples": 0}
                )
                entry["shards"].append(f"{record.name}{self.suffix}")
                entry["samples"] += len(record.videos)
        values = {"subsets": dict(sorted(subsets.items())), "classes": list(self.store.classes)}
        unlabelled = write_shard_lists(self.store, self.out, self.records.values(), encode_key)
        text = json.dumps(values, indent=1) + "\n"
        write_atomic(self.out / "shards.json", text.encode())
        return unlabelled


class TarWriter:
    """Writes videos to a tar file.

    Args:
        file: Binary file to write to.
        store: Store that holds the videos.
    """

    def __init__(self, file: IO[bytes], store: Store) -> None:
        self._file, self._store = file, store
        self._bytes = 0

    def add_video(self, video: Video) -> None:
        """Write the members of one video."""
        key = encode_key(video.id)
        values = describe_video(video, self._store.classes) | {"times": list_frame_times(video)}
        if "flow" in video.streams:
            flow = self._store.recipe.flow
            assert flow is not None
            values |= {"bound": flow.bound, "step": flow.step}
        self._add_member(f"{key}.json", json.dumps(values).encode())
        labels = {label["class"] for label in values["labels"]}
        if len(labels) == 1:
            self._add_member(f"{key}.cls", str(labels.pop()).encode())
        if "audio" in video.streams:
            buffer = io.BytesIO()
            np.save(buffer, video.audio())
            self._add_member(f"{key}.audio.npy", buffer.getvalue())
        if "rgb" not in video.streams and "flow" not in video.streams:
            return
        for frame in read_frames(self._store, video):
            for field, data in zip(FIELDS, frame[1:], strict=True):
                if data is not None:
                    self._add_member(f"{key}.{field}.{frame.t:06d}.jpg", data)

    def finish(self) -> None:
        """Write the end of the archive: two empty blocks, and zeros up to a whole record."""
        end = 2 * tarfile.BLOCKSIZE
        self._file.write(bytes(end + -(self._bytes + end) % tarfile.RECORDSIZE))

    def _add_member(self, name: str, data: bytes) -> None:
        """Write one member, whose time, owner and group are 0."""
        header = make_header(name, len(data))
        padding = bytes(-len(data) % tarfile.BLOCKSIZE)
        self._bytes += len(header) + len(data) + len(padding)
        self._file.write(header)
        self._file.write(data)
        self._file.write(padding)


def make_header(name: str, size: int) -> bytes:
    """Make the header of a member of a tar file, whose time, owner and group are 0.

    The bytes are those of `tarfile`, which takes ten times as long: the two fields that differ
    from one member to the next are put into a template.

    Args:
        name: Name of the member, ASCII.
        size: Its size in bytes.

    Returns:
        The header, a multiple of 512 bytes.
    """
    if len(name) > MAX_HEADER_NAME or size > MAX_HEADER_SIZE:
        member = tarfile.TarInfo(name)
        member.size = size
        return member.tobuf(tarfile.PAX_FORMAT)
    before_size, after_size, after_checksum, template_sum = read_header_template()
    name_bytes, size_bytes = name.encode(), b"%011o" % size
    checksum = template_sum + sum(name_bytes) + sum(size_bytes)
    return b"".join(
        (
            name_bytes.ljust(MAX_HEADER_NAME, b"\0"), before_size, size_bytes, after_size,
            b"%06o" % checksum, after_checksum,
        )
    )  # fmt: skip


@cache
def read_header_template() -> tuple[bytes, bytes, bytes, int]:
    """Take a header of `tarfile` apart.

    Returns:
        What is between the name and the size, between the size and the checksum, and after the
        checksum; and the sum of all bytes of a header whose name and size are empty, with blanks in
        place of the checksum, as the format demands.
    """
    header = tarfile.TarInfo("").tobuf(tarfile.PAX_FORMAT)
    parts = header[100:124], header[135:148], header[154:]
    blanks = 8 * ord(" ")
    return *parts, sum(map(sum, parts)) - sum(header[154:156]) + blanks

"""Writing shards: rows in, committed shards out."""

import json
import os
import time
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from flowkit.errors import StoreError
from flowkit.recipe import Recipe
from flowkit.store.schema import (
    BATCH_ROWS,
    FORMAT,
    Column,
    CommitRecord,
    VideoMeta,
    arrow_schema,
    check_text,
    folder_streams,
    shard_columns,
)
from flowkit.store.shard_file import ShardFile

BATCH_BYTES = 32 << 20
"""A batch is written when it holds this much, so that memory stays bounded for large frames."""

Value = bytes | np.ndarray | int | None


class ShardWriter:
    """Writes videos into shards of one folder, and commits a shard by size and by age.

    ``append`` takes one row; ``end`` completes the video, and only then, and only between videos,
    a shard is committed: when it has ``roll_bytes`` or is ``roll_seconds`` old. ``dimension`` is
    that of the vectors of ``features/<name>``.

    DiskFullError leaves what was written for recovery, and forgets it; the writer can go on with a
    new shard.
    """

    def __init__(
        self,
        root: str | os.PathLike[str],
        folder: str = "frames",
        *,
        recipe: Recipe,
        part: tuple[int, int] = (0, 1),
        roll_bytes: int = 1 << 30,
        roll_seconds: float = 300.0,
        dimension: int | None = None,
    ) -> None:
        self._columns = shard_columns(folder)
        self._names = frozenset(column.name for column in self._columns)
        self._own_batches = folder == "frames"
        self._folder = Path(root) / folder
        self._streams = folder_streams(folder)
        self._schema = arrow_schema(
            folder,
            dimension,
            {
                "flowkit.format": str(FORMAT),
                "flowkit.folder": folder,
                "flowkit.recipe": json.dumps(recipe.to_dict()),
                "flowkit.run": f"{part[0]}/{part[1]}",
            },
        )
        self._roll_bytes, self._roll_seconds = roll_bytes, roll_seconds
        self._forget()

    def _forget(self) -> None:
        self._shard: ShardFile | None = None
        self._rows: list[tuple[Value, ...]] = []
        self._bytes = 0
        self._videos: list[dict[str, Any]] = []
        self._id: str | None = None
        self._part = self._written = self._first = 0

    def begin(self, id: str) -> None:
        """Start a video; StoreError if one is open, or the id is not valid Unicode."""
        if self._id is not None:
            raise StoreError(f"video {self._id!r} is still open; end or abandon it first")
        self._id = check_text(id, "a video's id")
        self._part = self._written = 0
        self._first = len(self._rows)

    def append(self, **columns: Value) -> None:
        """Append one row to the open video.

        frames: ``rgb``, ``flow_x``, ``flow_y`` as bytes of JPEG or None; audio: ``patch``, 96×64
        float32; features: ``vector``, float32, ``position`` and ``view``, integers.
        """
        if self._id is None:
            raise StoreError("no video is open; begin one first")
        if not columns.keys() <= self._names:
            raise StoreError(f"expected columns {sorted(self._names)}, got {sorted(columns)}")
        if self._is_full():  # before the row, so that a video's last part always has rows
            if len(self._rows) > self._first:
                self._close_part(None)
            self._flush()
        row = tuple(columns.get(column.name) for column in self._columns)
        self._rows.append(row)
        self._bytes += sum(
            len(v) if isinstance(v, bytes) else v.nbytes if isinstance(v, np.ndarray) else 8
            for v in row
        )

    def _is_full(self) -> bool:
        return self._bytes >= BATCH_BYTES or (self._own_batches and len(self._rows) >= BATCH_ROWS)

    def end(self, meta: VideoMeta) -> CommitRecord | None:
        """Complete the open video; returns the record where that made its shard roll.

        StoreError where ``meta`` does not fit what was appended.
        """
        rows = self._written + len(self._rows) - self._first
        if meta.id != self._id or meta.frames != rows:
            raise StoreError(
                f"expected the end of video {self._id!r} with {rows} rows, "
                f"got {meta.id!r} with {meta.frames}"
            )
        if not meta.streams or not set(meta.streams) <= set(self._streams):
            raise StoreError(f"expected streams of {self._streams}, got {meta.streams}")
        if self._own_batches and not rows:
            raise StoreError(f"video {meta.id!r} has no frames; abandon it")
        self._close_part(meta)
        self._id = None
        if self._own_batches or self._is_full():
            self._flush()
        return self.commit() if self._is_due() else None

    def _is_due(self) -> bool:
        shard = self._shard
        return shard is not None and (
            shard.file.bytes >= self._roll_bytes
            or time.monotonic() - shard.opened >= self._roll_seconds
        )

    def abandon(self) -> None:
        """Forget the open video; rows already written stay, without a last part."""
        if self._id is not None:
            del self._rows[self._first :]
            self._id = None

    def commit(self) -> CommitRecord | None:
        """Commit the shard; None where it holds no complete video, and then it leaves no file."""
        if self._id is not None:
            raise StoreError(f"video {self._id!r} is still open; end or abandon it first")
        if self._rows or self._videos:
            self._flush()
        shard, self._shard = self._shard, None
        if shard is None:
            return None
        if not shard.contents.videos:
            shard.discard()
            return None
        return shard.commit()

    def close(self) -> CommitRecord | None:
        """Abandon the open video, and commit what is complete."""
        self.abandon()
        return self.commit()

    def _close_part(self, meta: VideoMeta | None) -> None:
        """Note that the open video's rows so far are a part, the last one if ``meta`` is given."""
        rows = len(self._rows) - self._first
        part = {"id": self._id, "part": self._part, "last": meta is not None, "rows": rows}
        self._videos.append(part | (meta.to_dict() if meta else {}))
        self._part += 1
        self._written += rows
        self._first = len(self._rows)

    def _flush(self) -> None:
        """Write the pending rows as one batch."""
        arrays, crc32 = build_arrays(self._columns, self._schema, self._rows)
        batch = pa.record_batch(arrays, schema=self._schema)
        videos, self._rows, self._videos = self._videos, [], []
        self._bytes = self._first = 0
        try:
            if self._shard is None:
                self._shard = ShardFile(self._folder, self._schema)
            self._shard.write(batch, crc32, videos)
        except StoreError:
            self._forget()
            raise


def build_arrays(
    columns: Sequence[Column], schema: Any, rows: Sequence[tuple[Value, ...]]
) -> tuple[list[Any], dict[str, int]]:
    """The Arrow arrays of some rows, and the CRC-32 of each column."""
    arrays, crc32 = [], {}
    for number, column in enumerate(columns):
        values = [row[number] for row in rows]
        build = build_bytes if column.kind == "bytes" else build_numbers
        array, crc32[column.name] = build(schema.field(number), values)
        arrays.append(array)
    return arrays, crc32


def build_bytes(field: Any, values: Sequence[Any]) -> tuple[Any, int]:
    present = [value is not None for value in values]
    offsets = np.zeros(len(values) + 1, np.int64)
    np.cumsum([len(value or b"") for value in values], out=offsets[1:])
    data = b"".join(value or b"" for value in values)
    nulls = len(values) - sum(present)
    valid = pa.py_buffer(np.packbits(present, bitorder="little")) if nulls else None
    buffers = [valid, pa.py_buffer(offsets), pa.py_buffer(data)]
    array = pa.LargeBinaryArray.from_buffers(field.type, len(values), buffers, nulls)
    return array, zlib.crc32(data, zlib.crc32(offsets.data))


def build_numbers(field: Any, values: Sequence[Any]) -> tuple[Any, int]:
    """Vectors (float32, any shape of the right size) or integers; none may be missing."""
    if pa.types.is_fixed_size_list(field.type):
        size = field.type.list_size
        flat = np.empty((len(values), size), np.float32)
        for row, value in zip(flat, values, strict=True):
            if np.size(value) != size:
                raise StoreError(f"{field.name}: expected {size} values, got {np.shape(value)}")
            row[:] = np.ravel(value)
        array = pa.FixedSizeListArray.from_arrays(pa.array(flat.reshape(-1)), type=field.type)
        return array, zlib.crc32(flat.data)
    if None in values:
        raise StoreError(f"{field.name}: expected an integer in every row; append it")
    numbers = np.array(values, str(field.type))
    return pa.array(numbers, field.type), zlib.crc32(numbers.data)

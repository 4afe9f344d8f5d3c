"""Write the rows of videos into shards and commit the shards."""

import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from flowkit.errors import StoreError
from flowkit.recipe import StoreRecipe
from flowkit.store.format.columns import (
    Value,
    build_arrays,
    check_floats,
    check_integers,
    check_optional_integer,
)
from flowkit.store.format.schema import (
    BATCH_ROWS,
    CommitRecord,
    VideoMeta,
    check_text,
    folder_streams,
    shard_columns,
    shard_schema,
    vector_dimension,
)
from flowkit.store.format.shard_file import ShardFile
from flowkit.store.format.video_values import check_video
from flowkit.streams import FRAME_STREAMS, Column

BATCH_BYTES = 32 << 20
"""Bytes at which a batch is written, so that memory stays bounded for large frames."""


class ShardWriter:
    """Write videos into shards of one folder, and commit each shard by size or age.

    Call :meth:`begin` for each video, :meth:`append` or :meth:`append_rows` for its rows, and
    :meth:`end` to complete it. A shard is committed only between videos, by the :meth:`end` that
    finds it large or old enough. After a DiskFullError, the rows that were written are left on
    disk for recovery, and the writer continues with a new shard.

    Args:
        root: Folder of the store.
        folder: Shard folder: ``frames``, ``audio`` or ``features/<name>``.
        recipe: The recipe of the store.
        part: The part (i, n) of the dataset that this process extracts.
        roll_bytes: Shard size in bytes at which the shard is committed.
        roll_seconds: Seconds after the start of its first video when a shard is committed.
        dimension: Expected dimension of the vectors, or None to accept that of the recipe.

    Raises:
        StoreError: The recipe has no such features, or their dimension is not ``dimension``.
    """

    def __init__(
        self,
        root: str | os.PathLike[str],
        folder: str = "frames",
        *,
        recipe: StoreRecipe,
        part: tuple[int, int] = (0, 1),
        roll_bytes: int = 1 << 30,
        roll_seconds: float = 300.0,
        dimension: int | None = None,
    ) -> None:
        self._columns = shard_columns(folder)
        self._names = frozenset(column.name for column in self._columns)
        self._folder = Path(root) / folder
        self._streams = folder_streams(folder)
        self._one_video_per_batch = not set(FRAME_STREAMS).isdisjoint(self._streams)
        self._dimension = vector_dimension(folder, recipe)
        if dimension not in (None, self._dimension):
            raise StoreError(
                f"{folder}: expected vectors of {self._dimension} values, as the store's recipe "
                f"says, got {dimension}; give them another name"
            )
        self._schema = shard_schema(folder, recipe, part)
        self._roll_bytes, self._roll_seconds = roll_bytes, roll_seconds
        self._reset()

    def _reset(self) -> None:
        """Forget the shard, its videos and all pending rows."""
        self._shard: ShardFile | None = None
        self._start_time: float | None = None  # when the first video of the shard was started
        self._entries: list[dict[str, Any]] = []  # metadata of the parts in the pending batch
        self._id: str | None = None  # of the open video
        self._part_number = 0  # of its next part
        self._written_rows = 0  # in its earlier parts
        self._clear_rows()

    def _clear_rows(self) -> None:
        """Forget all pending rows, which form the next batch."""
        self._pieces: list[tuple[Value, ...]] = []  # values of each column, for one row or many
        self._rows = self._bytes = 0
        self._part_start = (0, 0, 0)  # pieces, rows and bytes before the open part

    def begin(self, id: str) -> None:
        """Start a video.

        Raises:
            StoreError: Another video is still open, or the id is not valid Unicode.
        """
        if self._id is not None:
            raise StoreError(f"video {self._id!r} is still open; end or abandon it first")
        self._id = check_text(id, "a video's id")
        self._part_number = self._written_rows = 0
        self._part_start = (len(self._pieces), self._rows, self._bytes)
        if self._start_time is None:
            self._start_time = time.monotonic()

    def append(self, **columns: Value) -> None:
        """Append one row to the open video.

        Args:
            **columns: The values of the row by column name. Folder ``frames`` has ``rgb``,
                ``flow_x`` and ``flow_y`` (JPEG bytes or None) and ``time`` (microseconds from the
                first frame, or None if unknown). Folder ``audio`` has ``patch`` (96×64 float32).
                Features have ``vector``, ``position`` and ``view``, as for :meth:`append_rows`.

        Raises:
            StoreError: A column is unknown, a value does not fit it, or no video is open.
        """
        if not columns.keys() <= self._names:
            raise StoreError(f"expected columns {sorted(self._names)}, got {sorted(columns)}")
        piece: list[Value] = []
        for column in self._columns:
            value = columns.get(column.name)
            if column.optional:
                piece.append(check_optional_integer(column, value))
            else:
                piece.append(value if column.kind == "bytes" else self._check(column, [value]))
        self._add_piece(1, piece)

    def append_rows(
        self, vectors: npt.ArrayLike, positions: npt.ArrayLike, views: npt.ArrayLike
    ) -> None:
        """Append n local features to the open video.

        Vectors are stored as float16. The relative error of a value is at most 2⁻¹¹; for values
        below 6·10⁻⁵ the absolute error is at most 2⁻²⁵.

        Args:
            vectors: The features, (n, dimension).
            positions: The position of each feature in the video, (n,), stored as int32.
            views: The view (crop) of each feature, (n,), stored as int16.

        Raises:
            StoreError: A value is not finite or out of range, or the lengths differ.
        """
        if "position" not in self._names:
            raise StoreError(f"expected a writer of features, got one of {self._folder.name}")
        pairs = zip(self._columns, (vectors, positions, views), strict=True)
        piece = [self._check(column, values) for column, values in pairs]
        if len({len(values) for values in piece}) > 1:
            raise StoreError(
                f"expected as many positions and views as vectors, got {[*map(len, piece)]}"
            )
        if len(piece[0]):
            self._add_piece(len(piece[0]), piece)

    def _check(self, column: Column, values: Any) -> np.ndarray[Any, Any]:
        """Check the rows of one column and convert them to (n, dimension) or (n,) as stored."""
        if column.kind == "number":
            return check_integers(column, values)
        rows = check_floats(column, values)
        assert self._dimension is not None
        if rows.size != len(rows) * self._dimension:
            size = rows.size // len(rows)
            raise StoreError(f"{column.name}: expected {self._dimension} values, got {size}")
        return rows.reshape(len(rows), self._dimension)

    def _add_piece(self, rows: int, piece: Sequence[Value]) -> None:
        """Add rows to the open video; a full batch is written before."""
        if self._id is None:
            raise StoreError("no video is open; begin one first")
        if self._is_full():  # written only now, so that the last part of a video has rows
            if self._rows > self._part_start[1]:
                self._close_part(None)
            self._write_batch()
        self._pieces.append(tuple(piece))
        self._rows += rows
        self._bytes += sum(
            v.nbytes if isinstance(v, np.ndarray) else len(v) if isinstance(v, bytes) else 8
            for v in piece
        )

    def _is_full(self) -> bool:
        return self._bytes >= BATCH_BYTES or (
            self._one_video_per_batch and self._rows >= BATCH_ROWS
        )

    def end(self, meta: VideoMeta) -> CommitRecord | None:
        """Complete the open video, and commit the shard if it is large or old enough.

        Args:
            meta: The metadata of the video; its id, frames and streams must fit its rows.

        Returns:
            The commit record if the shard was committed, else None.

        Raises:
            StoreError: ``meta`` does not fit the rows that were appended.
        """
        rows = self._written_rows + self._rows - self._part_start[1]
        if meta.id != self._id or meta.frames != rows:
            raise StoreError(
                f"expected the end of video {self._id!r} with {rows} rows, "
                f"got {meta.id!r} with {meta.frames}"
            )
        if not meta.streams or not set(meta.streams) <= set(self._streams):
            raise StoreError(f"expected streams of {self._streams}, got {meta.streams}")
        if self._one_video_per_batch and not rows:
            raise StoreError(f"video {meta.id!r} has no frames; abandon it")
        try:
            check_video(meta.to_dict())
        except ValueError as error:
            raise StoreError(f"video {meta.id!r}: its metadata are wrong: {error}") from None
        self._close_part(meta)
        self._id = None
        if self._one_video_per_batch or self._is_full():
            self._write_batch()
        is_large = self._shard is not None and self._shard.file.bytes >= self._roll_bytes
        assert self._start_time is not None
        is_old = time.monotonic() - self._start_time >= self._roll_seconds
        return self.commit() if is_large or is_old else None

    def abandon(self) -> None:
        """Drop the open video; readers ignore those of its rows that are already on disk."""
        if self._id is not None:
            pieces, self._rows, self._bytes = self._part_start
            del self._pieces[pieces:]
            self._id = None

    def commit(self) -> CommitRecord | None:
        """Commit the current shard.

        Returns:
            The commit record, or None if the shard had no complete video; its file is then
            removed.
        """
        self.flush()
        shard, self._shard, self._start_time = self._shard, None, None
        if shard is None:
            return None
        if not shard.contents.videos:
            shard.discard()
            return None
        return shard.commit()

    def flush(self) -> None:
        """Write all complete videos to disk without committing the shard.

        Recovery can then save them after a crash.
        """
        if self._id is not None:
            raise StoreError(f"video {self._id!r} is still open; end or abandon it first")
        if self._rows or self._entries:
            self._write_batch()

    def close(self) -> CommitRecord | None:
        """Abandon the open video and commit the current shard."""
        self.abandon()
        return self.commit()

    def _close_part(self, meta: VideoMeta | None) -> None:
        """End a part of the open video; it is the last part if ``meta`` is given."""
        rows = self._rows - self._part_start[1]
        entry = {"id": self._id, "part": self._part_number, "last": meta is not None, "rows": rows}
        self._entries.append(entry | (meta.to_dict() if meta else {}))
        self._part_number += 1
        self._written_rows += rows
        self._part_start = (len(self._pieces), self._rows, self._bytes)

    def _write_batch(self) -> None:
        """Write the pending rows as one batch."""
        arrays, crc32 = build_arrays(self._columns, self._schema, self._pieces)
        batch = pa.record_batch(arrays, schema=self._schema)
        entries, self._entries = self._entries, []
        self._clear_rows()
        try:
            if self._shard is None:
                self._shard = ShardFile(self._folder, self._schema)
            self._shard.write(batch, crc32, entries)
        except StoreError:
            self._reset()
            raise

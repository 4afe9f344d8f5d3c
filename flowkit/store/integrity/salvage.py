"""Check a shard batch by batch, and salvage the complete videos that a killed writer left."""

import hashlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pyarrow as pa

from flowkit.errors import CorruptError, StoreError
from flowkit.recipe import FEATURES
from flowkit.store.format.complete_videos import CompleteVideos
from flowkit.store.format.layout import (
    RECORD_BATCH,
    SCHEMA,
    read_exactly,
    read_footer,
    read_message,
    scan_messages,
)
from flowkit.store.format.schema import CommitRecord, VideoMeta, arrow_schema, shard_columns
from flowkit.store.format.shard_file import ShardFile
from flowkit.store.integrity.batches import Batch, ShardContents, check_batch


def check_shard(descriptor: int, path: Path, folder: str) -> CompleteVideos:
    """Check every byte of a finished shard's columns.

    Args:
        descriptor: File descriptor of the shard.
        path: Its path, for messages.
        folder: Its shard folder.

    Returns:
        Its complete videos.

    Raises:
        CorruptError: A batch is damaged.
    """
    contents = CompleteVideos()
    columns = shard_columns(folder)
    try:
        blocks = read_footer(descriptor)
    except CorruptError as error:
        raise CorruptError(f"{path}: {error}") from None
    for index, block in enumerate(blocks):
        try:
            message = read_message(descriptor, block)
            contents.add(check_batch(descriptor, block, message, columns).entries)
        except CorruptError as error:
            raise CorruptError(f"{path}: batch {index}: {error}") from None
    return contents


def salvage(
    descriptor: int,
    root: Path,
    folder: str,
    *,
    uuid: str | None = None,
    is_wanted: Callable[[VideoMeta], bool] = lambda video: True,
) -> tuple[CommitRecord | None, int]:
    """Copy the complete and intact videos of a shard file into a new shard, and commit that.

    The file may be truncated or damaged anywhere. Only one batch at a time is in memory.

    Args:
        descriptor: File descriptor of the shard file.
        root: Folder of the store.
        folder: Shard folder.
        uuid: Name of the new shard. By default it gets a new name: an index must never find other
            videos under a uuid that it has read before.
        is_wanted: Returns whether to copy a video.

    Returns:
        The commit record, None if no video was copied, and the number of rows that were not copied.
    """
    schema = read_schema(descriptor, folder)
    if schema is None:
        return None, 0
    columns = tuple(column for column in shard_columns(folder) if column.name in schema.names)
    vectors = schema.field(0).type
    dimension = vectors.list_size if pa.types.is_fixed_size_list(vectors) else None
    batches, rows = [], 0
    for block, message in scan_messages(descriptor):
        if message.kind != RECORD_BATCH:
            continue
        rows += max(0, message.rows)
        try:
            batches.append(check_batch(descriptor, block, message, columns))
            if len(batches[-1].extents) < len(columns):
                batches[-1] = Batch({}, [], {})
        except CorruptError:
            batches.append(Batch({}, [], {}))  # no video continues across it
    contents = ShardContents(descriptor, columns, batches)
    videos = [
        video
        for video in contents.videos
        if contents.is_copyable(video, dimension) and is_wanted(video.meta)
    ]
    if not videos:
        return None, rows
    shard = ShardFile(root / folder, schema, uuid, ".arrow.salvage")
    try:
        contents.copy_videos(videos, shard)
        record = shard.commit()
    except StoreError:
        shard.discard()
        raise
    return record, rows - record.rows


def read_schema(descriptor: int, folder: str) -> Any:
    """Read the schema of a shard; None if it is damaged, or that of another folder."""
    message = next(scan_messages(descriptor), None)
    if message is None or message[1].kind != SCHEMA:
        return None
    data = read_exactly(descriptor, message[0].header_bytes, message[0].position)
    all_columns = shard_columns(folder)
    with suppress(pa.ArrowException, OSError, AttributeError, IndexError, KeyError, TypeError):
        schema = pa.ipc.read_schema(pa.py_buffer(data))
        dimension = schema.field(0).type.list_size if folder.startswith(FEATURES) else None
        is_own_folder = schema.metadata[b"flowkit.folder"] == folder.encode()
        for columns in (all_columns, [column for column in all_columns if not column.optional]):
            if is_own_folder and schema.equals(arrow_schema(folder, dimension, columns=columns)):
                return schema
    return None


def read_part(path: Path, folder: str) -> tuple[int, int] | None:
    """Read which part (i, n) of the dataset a shard's writer worked on; None if unreadable."""
    with suppress(AttributeError, KeyError, TypeError, ValueError, StoreError, FileNotFoundError):
        with path.open("rb") as file:
            schema = read_schema(file.fileno(), folder)
        i, _, n = schema.metadata[b"flowkit.run"].partition(b"/")
        return int(i), int(n)
    return None


def hash_file(descriptor: int) -> tuple[int, str]:
    """Return the size in bytes and the SHA-256, in hexadecimal, of an open file."""
    with open(descriptor, "rb", closefd=False) as file:
        file.seek(0)
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        return file.tell(), sha256

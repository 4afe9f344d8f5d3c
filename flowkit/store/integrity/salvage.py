"""Check a shard batch by batch, and salvage the complete videos that a killed writer left."""

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa

from flowkit.errors import CorruptError, StoreError
from flowkit.store.format.complete_videos import CompleteVideos
from flowkit.store.format.layout import (
    CHUNK,
    RECORD_BATCH,
    SCHEMA,
    read_exactly,
    read_footer,
    read_message,
    scan_messages,
)
from flowkit.store.format.schema import CommitRecord, VideoMeta, arrow_schema, shard_columns
from flowkit.store.format.shard_file import ShardFile
from flowkit.store.integrity.batches import (
    Batch,
    check_batch,
    copy_videos,
    find_videos,
    is_copyable,
)


def check_shard(descriptor: int, path: Path, folder: str) -> CompleteVideos:
    """Check every batch of a finished shard; CorruptError for the first that is wrong."""
    contents = CompleteVideos()
    columns = shard_columns(folder)
    for number, block in enumerate(read_footer(descriptor, path)):
        try:
            message = read_message(descriptor, block)
            contents.add(check_batch(descriptor, block, message, columns).parts)
        except CorruptError as error:
            raise CorruptError(f"{path}: batch {number}: {error}") from None
    return contents


def salvage(
    descriptor: int,
    root: Path,
    folder: str,
    *,
    uuid: str | None = None,
    wants: Callable[[VideoMeta], bool] = lambda video: True,
) -> tuple[CommitRecord | None, int]:
    """Copy the complete and sound videos of an open file into a shard and commit that.

    Videos that ``wants`` refuses are left behind.
    The file may be cut or damaged anywhere. Memory is bounded by a batch. ``uuid`` names the new
    shard, by default anew: an index must never find other videos under a uuid that it knows.
    Returns the record, None if no video was complete, and the number of rows left behind.
    """
    schema = read_schema(descriptor, folder)
    if schema is None:
        return None, 0
    columns = shard_columns(folder)
    vectors = schema.field(0).type
    dimension = vectors.list_size if pa.types.is_fixed_size_list(vectors) else None
    batches, rows = [], 0
    for block, message in scan_messages(descriptor):
        if message.kind != RECORD_BATCH:
            continue
        rows += max(0, message.rows)
        try:
            batches.append(check_batch(descriptor, block, message, columns))
        except CorruptError:
            batches.append(Batch(block.position, {}, [], {}))  # no video continues across it
    videos = [
        video
        for video in find_videos(batches)
        if is_copyable(descriptor, video, columns, dimension) and wants(video.meta)
    ]
    if not videos:
        return None, rows
    shard = ShardFile(root / folder, schema, uuid, ".arrow.salvage")
    try:
        copy_videos(descriptor, videos, columns, shard)
        record = shard.commit()
    except StoreError:
        shard.discard()
        raise
    return record, rows - record.rows


def read_schema(descriptor: int, folder: str) -> Any:
    """The schema at the start of a file; None where it is cut, or not that of the folder."""
    message = next(scan_messages(descriptor), None)
    if message is None or message[1].kind != SCHEMA:
        return None
    data = read_exactly(descriptor, message[0].header, message[0].position)
    try:
        schema = pa.ipc.read_schema(pa.py_buffer(data))
        dimension = schema.field(0).type.list_size if folder.startswith("features/") else None
        if not schema.equals(arrow_schema(folder, dimension)):
            return None
        metadata = {key.decode(): value.decode() for key, value in schema.metadata.items()}
    except (pa.ArrowException, OSError, AttributeError, IndexError, UnicodeDecodeError):
        return None
    return schema if metadata.get("flowkit.folder") == folder else None


def read_run(path: Path, folder: str) -> tuple[int, int] | None:
    """The part (i, n) of the dataset that a shard's writer works on; None where unreadable."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        schema = read_schema(descriptor, folder)
        number, _, parts = schema.metadata[b"flowkit.run"].partition(b"/")
        return int(number), int(parts)
    except (AttributeError, KeyError, TypeError, ValueError, StoreError):
        return None
    finally:
        os.close(descriptor)


def hash_file(descriptor: int) -> tuple[int, str]:
    """Size and SHA-256 (hex) of an open file."""
    digest, position = hashlib.sha256(), 0
    while chunk := os.pread(descriptor, CHUNK, position):
        digest.update(chunk)
        position += len(chunk)
    return position, digest.hexdigest()

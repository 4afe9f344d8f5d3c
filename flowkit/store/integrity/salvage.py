"""Checking a shard batch by batch, and copying its complete videos into a new one."""

import hashlib
import json
import os
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from flowkit.errors import CorruptError, StoreError
from flowkit.store.format.columns import build_arrays
from flowkit.store.format.layout import (
    CHUNK,
    RECORD_BATCH,
    SCHEMA,
    Block,
    Message,
    column_crcs,
    read_exactly,
    read_footer,
    read_message,
    scan_messages,
)
from flowkit.store.format.schema import (
    BATCH_CRC_KEY,
    BATCH_KEY,
    Column,
    CommitRecord,
    CompleteVideos,
    VideoMeta,
    arrow_schema,
    shard_columns,
)
from flowkit.store.format.shard_file import ShardFile


def check_shard(descriptor: int, path: Path, folder: str) -> CompleteVideos:
    """Check every batch of a finished shard; CorruptError for the first that is wrong."""
    contents = CompleteVideos()
    columns = shard_columns(folder)
    for number, block in enumerate(read_footer(descriptor, path)):
        try:
            contents.add(check_batch(descriptor, block, read_message(descriptor, block), columns))
        except CorruptError as error:
            raise CorruptError(f"{path}: batch {number}: {error}") from None
    return contents


def check_batch(
    descriptor: int, block: Block, message: Message, columns: tuple[Column, ...]
) -> list[dict[str, Any]]:
    """The parts of videos in a batch; CorruptError where metadata or a checksum is wrong."""
    metadata = batch_metadata(message)
    for name, crc in column_crcs(descriptor, block, message, columns).items():
        if metadata["crc32"].get(name) != crc:
            raise CorruptError(f"expected the checksum of column {name}, got another")
    videos: list[dict[str, Any]] = metadata["videos"]
    return videos


def batch_metadata(message: Message) -> dict[str, Any]:
    """The parsed ``flowkit.batch`` of a batch; CorruptError where it is malformed."""
    try:
        text = message.metadata[BATCH_KEY]
        if zlib.crc32(text.encode()) != int(message.metadata[BATCH_CRC_KEY]):
            raise ValueError("its checksum is another")
        metadata: dict[str, Any] = json.loads(text)
        rows = [part["rows"] + 0 * part["part"] for part in metadata["videos"]]
        if sum(rows) != message.rows or min(rows, default=0) < 0:
            raise ValueError(f"{sum(rows)} rows of {message.rows}")
        for part in metadata["videos"]:
            if part["last"]:
                VideoMeta.from_dict(part)
            part["id"].encode()
        metadata["crc32"].items()
    except (KeyError, TypeError, ValueError, AttributeError, StoreError) as error:
        raise CorruptError(f"expected the metadata of a batch ({error!r})") from None
    return metadata


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
    contents = CompleteVideos(wants)
    batches: list[tuple[Block, list[dict[str, Any]]]] = []
    for block, message in record_batches(descriptor):
        try:
            parts = check_batch(descriptor, block, message, columns)
            load_batch(descriptor, block, schema)
        except CorruptError:
            parts = []
            contents.rows += max(0, message.rows)
        contents.add(parts)
        batches.append((block, parts))
    if not contents.videos:
        return None, contents.rows
    shard = ShardFile(root / folder, schema, uuid, ".arrow.salvage")
    try:
        for number, (block, parts) in enumerate(batches):
            keep = [k for k in range(len(parts)) if (number, k) in contents.kept]
            if keep:
                copy_batch(descriptor, block, shard, schema, columns, parts, keep)
        record = shard.commit()
    except StoreError:
        shard.discard()
        raise
    return record, contents.rows - record.rows


def record_batches(descriptor: int) -> list[tuple[Block, Message]]:
    """The record batches that are whole."""
    return [pair for pair in scan_messages(descriptor) if pair[1].kind == RECORD_BATCH]


def copy_batch(
    descriptor: int,
    block: Block,
    shard: ShardFile,
    schema: Any,
    columns: Sequence[Column],
    parts: list[dict[str, Any]],
    keep: list[int],
) -> None:
    """Write the rows of the parts to ``keep`` as one batch of the new shard."""
    batch = load_batch(descriptor, block, schema)
    ends = np.cumsum([0, *(part["rows"] for part in parts)])
    chosen = np.concatenate([np.arange(ends[k], ends[k + 1]) for k in keep])
    values = [column_values(batch.column(column.name).take(pa.array(chosen))) for column in columns]
    arrays, crc32 = build_arrays(columns, schema, list(zip(*values, strict=True)))
    shard.write(pa.record_batch(arrays, schema=schema), crc32, [parts[k] for k in keep])


def load_batch(descriptor: int, block: Block, schema: Any) -> Any:
    """A ``pyarrow.RecordBatch``; CorruptError where its parts do not fit together."""
    data = read_exactly(descriptor, block.header + block.body, block.position)
    try:
        batch = pa.ipc.read_record_batch(pa.ipc.read_message(data), schema)
        batch.validate(full=True)
    except (pa.ArrowException, OSError) as error:
        raise CorruptError(f"expected a batch of the shard's columns ({error})") from None
    return batch


def column_values(array: Any) -> list[Any]:
    """A column as blocks for `build_arrays`: each of its bytes, or all of its numbers."""
    if pa.types.is_fixed_size_list(array.type):
        return [array.flatten().to_numpy().reshape(-1, array.type.list_size)]
    if pa.types.is_integer(array.type):
        return [array.to_numpy()]
    values: list[Any] = array.to_pylist()
    return values


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

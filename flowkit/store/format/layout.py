"""Where the columns of a shard lie in its file: a minimal reader of Arrow's IPC file format.

It reads what the format's specification (arrow.apache.org/docs/format/Columnar.html, and
Message.fbs, File.fbs) says of record batches, by ``pread``, with no memory map and no pyarrow:

    file     ``ARROW1``, 2 bytes of padding, messages, footer, its int32 length, ``ARROW1``
    message  0xFFFFFFFF, int32 length of the header, header (a flatbuffer), body
    header   Message table: kind, RecordBatch table, length of the body, custom metadata
    batch    rows, a node (rows, nulls) for each array, a buffer (offset, length) for each buffer

A flatbuffer is little-endian; a table begins with the distance back to its vtable, which lists
where its fields are. Every error in it, or a file cut short, is a CorruptError.
"""

import os
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from flowkit.errors import CorruptError
from flowkit.streams import Column

MAGIC = b"ARROW1"
FIRST = 8
"""Position of the first message."""
CONTINUATION = 0xFFFFFFFF
SCHEMA, RECORD_BATCH = 1, 3
HEADER_LIMIT = 256 << 20
CHUNK = 4 << 20

I32, I64, U16, U32 = (struct.Struct(f"<{code}") for code in "iqHI")
PAIR = struct.Struct("<qq")
BLOCK = struct.Struct("<qi4xq")
MALFORMED = (struct.error, ValueError, IndexError, OverflowError)


@dataclass(frozen=True, slots=True)
class Block:
    """One message in a file: its position, and the lengths of its header and body in bytes."""

    position: int
    header: int
    body: int


@dataclass(frozen=True, slots=True)
class Message:
    """A parsed header. ``nodes`` are (rows, nulls) and ``buffers`` (offset in the body, length)."""

    kind: int
    body: int
    metadata: dict[str, str] = field(default_factory=dict)
    rows: int = 0
    nodes: tuple[tuple[int, int], ...] = ()
    buffers: tuple[tuple[int, int], ...] = ()


class Extent(NamedTuple):
    """Where one column of a batch lies in the file, in bytes.

    ``offsets`` is the position of its rows + 1 int64 offsets, None for columns of fixed size;
    ``values`` and ``size`` are position and length of its values.
    """

    rows: int
    nulls: int
    offsets: int | None
    values: int
    size: int


def read_exactly(descriptor: int, length: int, position: int) -> bytes:
    """``length`` bytes from ``position`` on; CorruptError where the file ends before."""
    if length < 0 or position < 0:
        raise CorruptError(f"expected a range of bytes, got {length} bytes at {position}")
    data = os.pread(descriptor, length, position)
    while len(data) < length:  # a pread may bring less than it was asked for
        more = os.pread(descriptor, length - len(data), position + len(data))
        if not more:
            raise CorruptError(f"expected {length} bytes at {position}, got {len(data)}")
        data += more
    return data


def read_footer(descriptor: int, path: Path) -> list[Block]:
    """The record batches of a finished file; CorruptError names ``path``."""
    try:
        size = os.fstat(descriptor).st_size
        tail = read_exactly(descriptor, 10, size - 10)
        length = I32.unpack_from(tail)[0]
        if tail[4:] != MAGIC or not 0 < length <= size - 10 - FIRST:
            raise CorruptError("expected an Arrow footer at its end")
        footer = read_exactly(descriptor, length, size - 10 - length)
        start, count = vector(footer, follow(footer, 0), 3)
        blocks = [Block(*BLOCK.unpack_from(footer, start + 24 * k)) for k in range(count)]
        if any(b.position < FIRST or b.position + b.header + b.body > size for b in blocks):
            raise CorruptError("expected batches within the file")
    except (CorruptError, *MALFORMED) as error:
        raise CorruptError(f"{path}: {error}; run `flowkit verify --repair`") from None
    return blocks


def read_message(descriptor: int, block: Block, with_metadata: bool = True) -> Message:
    """Parse the header of one message; readers of many images can leave its metadata out."""
    data = read_exactly(descriptor, block.header, block.position)
    try:
        if U32.unpack_from(data)[0] != CONTINUATION:
            raise ValueError("no marker")
        return parse_message(memoryview(data)[8:], with_metadata)
    except MALFORMED as error:
        raise CorruptError(f"expected a message at {block.position} ({error})") from None


def scan_messages(descriptor: int) -> Iterator[tuple[Block, Message]]:
    """The messages of a file from its start to its end marker, or to the first incomplete one.

    For files without a footer; never raises for what the bytes are.
    """
    size = os.fstat(descriptor).st_size
    position = FIRST
    if os.pread(descriptor, len(MAGIC), 0) != MAGIC:
        return
    while True:
        prefix = os.pread(descriptor, 8, position)
        if len(prefix) < 8:
            return
        marker, length = struct.unpack("<Ii", prefix)
        if marker != CONTINUATION or not 0 < length <= min(HEADER_LIMIT, size - position - 8):
            return
        try:
            message = read_message(descriptor, Block(position, length + 8, 0))
        except CorruptError:
            return
        block = Block(position, length + 8, message.body)
        if message.body < 0 or position + block.header + block.body > size:
            return
        yield block, message
        position += block.header + block.body


def parse_message(data: memoryview, with_metadata: bool = True) -> Message:
    """Parse a Message flatbuffer; struct.error or ValueError where it is none."""
    table = follow(data, 0)
    kind = scalar(data, table, 1, 1)
    body = scalar(data, table, 3, 8)
    metadata = {}
    start, count = vector(data, table, 4) if with_metadata else (0, 0)
    for k in range(count):
        pair = follow(data, start + 4 * k)
        metadata[text(data, pair, 0)] = text(data, pair, 1)
    if kind != RECORD_BATCH:
        return Message(kind, body, metadata)
    batch = follow(data, locate(data, table, 2))
    if locate(data, batch, 3):
        raise ValueError("the batch is compressed")
    nodes, buffers = (
        tuple(PAIR.iter_unpack(take(data, start, 16 * count)))
        for start, count in (vector(data, batch, 1), vector(data, batch, 2))
    )
    return Message(kind, body, metadata, scalar(data, batch, 0, 8), nodes, buffers)


def locate_columns(block: Block, message: Message, columns: tuple[Column, ...]) -> list[Extent]:
    """Where the columns of a batch lie; CorruptError where the header does not fit them."""
    body = block.position + block.header
    extents = []
    node = buffer = 0
    for column in columns:
        nodes, buffers, offsets, values = column.layout
        if node + nodes > len(message.nodes) or buffer + buffers > len(message.buffers):
            raise CorruptError(f"expected columns {[c.name for c in columns]} in a batch")
        spans = message.buffers[buffer : buffer + buffers]
        rows, nulls = message.nodes[node]
        if rows != message.rows or any(a < 0 or n < 0 or a + n > block.body for a, n in spans):
            raise CorruptError(f"expected column {column.name} within its batch")
        position = None if offsets is None else body + spans[offsets][0]
        if offsets is not None and spans[offsets][1] < 8 * (rows + 1):
            raise CorruptError(f"expected {rows + 1} offsets of column {column.name}")
        extents.append(Extent(rows, nulls, position, body + spans[values][0], spans[values][1]))
        node += nodes
        buffer += buffers
    return extents


def column_crc(descriptor: int, extent: Extent) -> int:
    """CRC-32 of a column's offsets and values as they lie in the file; bounded memory."""
    crc = 0
    if extent.offsets is not None:
        crc = zlib.crc32(read_exactly(descriptor, 8 * (extent.rows + 1), extent.offsets))
    for start in range(0, extent.size, CHUNK):
        length = min(CHUNK, extent.size - start)
        crc = zlib.crc32(read_exactly(descriptor, length, extent.values + start), crc)
    return crc


def take(data: memoryview | bytes, start: int, length: int) -> memoryview | bytes:
    """Return ``length`` bytes from ``start`` on; ValueError where they exceed ``data``."""
    if start < 0 or length < 0 or start + length > len(data):
        raise ValueError(f"{length} bytes at {start} of {len(data)}")
    return data[start : start + length]


def follow(data: memoryview | bytes, position: int) -> int:
    """Where the unsigned offset at ``position`` leads."""
    return position + int(U32.unpack_from(data, position)[0])


def locate(data: memoryview | bytes, table: int, index: int) -> int:
    """The position of field ``index`` of a table, or 0 where it is left out."""
    vtable = table - I32.unpack_from(data, table)[0]
    if vtable < 0:
        raise ValueError("a vtable before the header")
    slot = 4 + 2 * index
    if slot + 2 > U16.unpack_from(data, vtable)[0]:
        return 0
    offset = int(U16.unpack_from(data, vtable + slot)[0])
    return table + offset if offset else 0


def scalar(data: memoryview | bytes, table: int, index: int, size: int) -> int:
    """An integer field of 1 or 8 bytes, 0 by default."""
    position = locate(data, table, index)
    if not position:
        return 0
    return data[position] if size == 1 else int(I64.unpack_from(data, position)[0])


def vector(data: memoryview | bytes, table: int, index: int) -> tuple[int, int]:
    """Position of the first element and number of elements of a vector field; (0, 0) if none."""
    position = locate(data, table, index)
    if not position:
        return 0, 0
    start = follow(data, position)
    return start + 4, U32.unpack_from(data, start)[0]


def text(data: memoryview | bytes, table: int, index: int) -> str:
    """A string field, "" by default."""
    start, length = vector(data, table, index)
    return str(take(data, start, length), "utf-8")

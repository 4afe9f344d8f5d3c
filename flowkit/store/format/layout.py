"""Locate the columns of a shard in its file: a minimal reader of Arrow's IPC file format.

It implements the parts of the specification (arrow.apache.org/docs/format/Columnar.html,
Message.fbs and File.fbs) that describe record batches. It reads only headers, with ``pread``, so it
needs no memory map and no pyarrow:

    file     ``ARROW1``, 2 bytes of padding, messages, footer, its int32 length, ``ARROW1``
    message  0xFFFFFFFF, int32 length of the header, header (a flatbuffer), body
    header   Message table: kind, RecordBatch table, length of the body, custom metadata
    batch    rows, a node (rows, nulls) for each array, a buffer (offset, length) for each buffer

A flatbuffer is little-endian. A table in it starts with the distance back to its vtable, which
lists where the fields of the table are. Malformed bytes or a truncated file raise a CorruptError.
"""

import os
import struct
import zlib
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from flowkit.errors import CorruptError
from flowkit.streams import Column

MAGIC = b"ARROW1"
FIRST_MESSAGE = 8
"""Position of the first message in a file."""
CONTINUATION = 0xFFFFFFFF
SCHEMA, RECORD_BATCH = 1, 3
HEADER_LIMIT = 256 << 20
"""Largest header that is accepted, in bytes."""
CHUNK = 4 << 20
"""Bytes that are read at a time when a file is hashed."""

I32, I64, U16, U32 = (struct.Struct(f"<{code}") for code in "iqHI")
PAIR = struct.Struct("<qq")
BLOCK = struct.Struct("<qi4xq")
MALFORMED = (struct.error, ValueError, IndexError, OverflowError)


@dataclass(frozen=True, slots=True)
class Block:
    """One message in a file."""

    position: int
    """Position in the file in bytes."""
    header_bytes: int
    """Length of its header in bytes."""
    body_bytes: int
    """Length of its body in bytes."""


@dataclass(frozen=True, slots=True)
class Message:
    """The parsed header of a message."""

    kind: int
    """``SCHEMA``, ``RECORD_BATCH`` or another kind."""
    body_bytes: int
    """Length of the body in bytes."""
    metadata: dict[str, str] = field(default_factory=dict)
    """Custom metadata."""
    rows: int = 0
    """Number of rows of a record batch."""
    nodes: tuple[tuple[int, int], ...] = ()
    """Numbers of rows and nulls of each array."""
    buffers: tuple[tuple[int, int], ...] = ()
    """Offset in the body and length of each buffer, in bytes."""


class Extent(NamedTuple):
    """Where one column of a batch is in the file. Positions are in bytes from the file's start."""

    rows: int
    """Number of rows."""
    nulls: int
    """Number of null values."""
    offsets_position: int | None
    """Position of its rows + 1 int64 offsets: row r is bytes offsets[r] … offsets[r + 1] − 1 of the
    values. None for columns whose rows have a fixed size.
    """
    values_position: int
    """Position of its values."""
    values_bytes: int
    """Length of its values in bytes."""


class RangeReader(Protocol):
    """A file that is read like a descriptor, such as a shard on object storage."""

    @property
    def size(self) -> int:
        """Return its size in bytes."""

    def pread(self, length: int, position: int) -> bytes:
        """Read up to ``length`` bytes at ``position``; fewer at the end of the file."""


Descriptor = int | RangeReader
"""The descriptor of an open file, or what is read like one."""


def read_exactly(descriptor: Descriptor, length: int, position: int) -> bytes:
    """Read ``length`` bytes at ``position``; CorruptError if the file ends earlier."""
    if length < 0 or position < 0:
        raise CorruptError(f"expected a range of bytes, got {length} bytes at {position}")
    data = b""
    if not isinstance(descriptor, int):
        data = descriptor.pread(length, position)
        if len(data) < length:
            raise CorruptError(f"expected {length} bytes at {position}, got {len(data)}")
        return data
    while len(data) < length:  # one pread may return fewer bytes
        more = os.pread(descriptor, length - len(data), position + len(data))
        if not more:
            raise CorruptError(f"expected {length} bytes at {position}, got {len(data)}")
        data += more
    return data


def read_footer(descriptor: Descriptor) -> list[Block]:
    """Return the record batches of a finished file; CorruptError if its footer is damaged."""
    try:
        size = os.fstat(descriptor).st_size if isinstance(descriptor, int) else descriptor.size
        tail = read_exactly(descriptor, 10, size - 10)
        length = I32.unpack_from(tail)[0]
        if tail[4:] != MAGIC or not 0 < length <= size - 10 - FIRST_MESSAGE:
            raise CorruptError("expected an Arrow footer at its end")
        footer = read_exactly(descriptor, length, size - 10 - length)
        start, count = find_vector(footer, follow_offset(footer, 0), 3)
        blocks = [Block(*BLOCK.unpack_from(footer, start + 24 * k)) for k in range(count)]
        if any(
            b.position < FIRST_MESSAGE or b.position + b.header_bytes + b.body_bytes > size
            for b in blocks
        ):
            raise CorruptError("expected batches within the file")
    except MALFORMED as error:
        raise CorruptError(f"expected an Arrow footer ({error})") from None
    return blocks


def read_message(descriptor: Descriptor, block: Block, with_metadata: bool = True) -> Message:
    """Parse the header of one message, with or without its custom metadata."""
    data = read_exactly(descriptor, block.header_bytes, block.position)
    try:
        if U32.unpack_from(data)[0] != CONTINUATION:
            raise ValueError("no continuation marker")
        return parse_message(memoryview(data)[8:], with_metadata)
    except MALFORMED as error:
        raise CorruptError(f"expected a message at {block.position} ({error})") from None


def scan_messages(descriptor: int) -> Iterator[tuple[Block, Message]]:
    """Yield the messages of a file from its start to its end, or to the first damaged one.

    This needs no footer, and damaged bytes raise no error.
    """
    size = os.fstat(descriptor).st_size
    position = FIRST_MESSAGE
    if os.pread(descriptor, len(MAGIC), 0) != MAGIC:
        return
    with suppress(CorruptError, struct.error):
        while True:
            marker, length = struct.unpack("<Ii", os.pread(descriptor, 8, position))
            if marker != CONTINUATION or not 0 < length <= min(HEADER_LIMIT, size - position - 8):
                return
            message = read_message(descriptor, Block(position, length + 8, 0))
            block = Block(position, length + 8, message.body_bytes)
            position += block.header_bytes + block.body_bytes
            if block.body_bytes < 0 or position > size:
                return
            yield block, message


def parse_message(data: memoryview, with_metadata: bool = True) -> Message:
    """Parse a Message flatbuffer; struct.error or ValueError if it is malformed."""
    table = follow_offset(data, 0)
    kind = read_integer(data, table, 1, 1)
    body_bytes = read_integer(data, table, 3, 8)
    metadata = {}
    start, count = find_vector(data, table, 4) if with_metadata else (0, 0)
    for k in range(count):
        pair = follow_offset(data, start + 4 * k)
        metadata[read_text(data, pair, 0)] = read_text(data, pair, 1)
    if kind != RECORD_BATCH:
        return Message(kind, body_bytes, metadata)
    batch = follow_offset(data, find_field(data, table, 2))
    if find_field(data, batch, 3):
        raise ValueError("the batch is compressed")
    nodes, buffers = (
        tuple(PAIR.iter_unpack(slice_bytes(data, start, 16 * count)))
        for start, count in (find_vector(data, batch, 1), find_vector(data, batch, 2))
    )
    return Message(kind, body_bytes, metadata, read_integer(data, batch, 0, 8), nodes, buffers)


def locate_columns(block: Block, message: Message, columns: tuple[Column, ...]) -> list[Extent]:
    """Locate the columns of a batch; CorruptError if the header does not fit them.

    Returns:
        The extent of each column. Optional columns, which are the last ones, may be missing.
    """
    body = block.position + block.header_bytes
    extents = []
    node = buffer = 0
    for column in columns:
        if column.optional and (node, buffer) == (len(message.nodes), len(message.buffers)):
            break
        nodes, buffers, offsets, values = column.layout
        if node + nodes > len(message.nodes) or buffer + buffers > len(message.buffers):
            raise CorruptError(f"expected columns {[c.name for c in columns]} in a batch")
        spans = message.buffers[buffer : buffer + buffers]
        rows, nulls = message.nodes[node]
        if rows != message.rows or any(
            a < 0 or n < 0 or a + n > block.body_bytes for a, n in spans
        ):
            raise CorruptError(f"expected column {column.name} within its batch")
        position = None if offsets is None else body + spans[offsets][0]
        if offsets is not None and spans[offsets][1] < 8 * (rows + 1):
            raise CorruptError(f"expected {rows + 1} offsets of column {column.name}")
        extents.append(Extent(rows, nulls, position, body + spans[values][0], spans[values][1]))
        node += nodes
        buffer += buffers
    return extents


def column_crc(descriptor: Descriptor, extent: Extent) -> int:
    """Compute the CRC-32 of a column's offsets and values in the file, in bounded memory."""
    crc = 0
    if extent.offsets_position is not None:
        crc = zlib.crc32(read_exactly(descriptor, 8 * (extent.rows + 1), extent.offsets_position))
    for start in range(0, extent.values_bytes, CHUNK):
        length = min(CHUNK, extent.values_bytes - start)
        crc = zlib.crc32(read_exactly(descriptor, length, extent.values_position + start), crc)
    return crc


def slice_bytes(data: memoryview | bytes, start: int, length: int) -> memoryview | bytes:
    """Return ``length`` bytes at ``start``; ValueError if they exceed ``data``."""
    if start < 0 or length < 0 or start + length > len(data):
        raise ValueError(f"{length} bytes at {start} of {len(data)}")
    return data[start : start + length]


def follow_offset(data: memoryview | bytes, position: int) -> int:
    """Return the position that the unsigned offset at ``position`` points to."""
    return position + int(U32.unpack_from(data, position)[0])


def find_field(data: memoryview | bytes, table: int, index: int) -> int:
    """Return the position of field ``index`` of a table, or 0 if it is absent."""
    vtable = table - I32.unpack_from(data, table)[0]
    if vtable < 0:
        raise ValueError("a vtable before the header")
    slot = 4 + 2 * index
    if slot + 2 > U16.unpack_from(data, vtable)[0]:
        return 0
    offset = int(U16.unpack_from(data, vtable + slot)[0])
    return table + offset if offset else 0


def read_integer(data: memoryview | bytes, table: int, index: int, size: int) -> int:
    """Read an integer field of 1 or 8 bytes; 0 if it is absent."""
    position = find_field(data, table, index)
    if not position:
        return 0
    return data[position] if size == 1 else int(I64.unpack_from(data, position)[0])


def find_vector(data: memoryview | bytes, table: int, index: int) -> tuple[int, int]:
    """Return the position and the count of a vector field's elements; (0, 0) if it is absent."""
    position = find_field(data, table, index)
    if not position:
        return 0, 0
    start = follow_offset(data, position)
    return start + 4, U32.unpack_from(data, start)[0]


def read_text(data: memoryview | bytes, table: int, index: int) -> str:
    """Read a string field; empty if it is absent."""
    start, length = find_vector(data, table, index)
    return str(slice_bytes(data, start, length), "utf-8")

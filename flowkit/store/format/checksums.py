"""The checksums of a batch: one of each column, and one of each image.

A batch has a CRC-32 of each column, and, since flowkit 0.1, of each value of its byte strings, so
that one image can be checked without the rest of the batch. README.md in the parent folder
describes both.
"""

import json
import zlib
from base64 import b64decode, b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import pyarrow as pa

from flowkit.errors import CorruptError
from flowkit.store.format.layout import Message
from flowkit.store.format.schema import BATCH_CRC_KEY, BATCH_KEY, ROW_CRC_NAME
from flowkit.store.format.video_values import PART, check_values, is_list, is_object

CRC_BYTES = 4
"""Size of a CRC-32, which is stored little-endian."""
MALFORMED_METADATA = (KeyError, TypeError, ValueError, RecursionError)
"""What functions of this module raise for the metadata of a batch that are damaged."""


@dataclass(frozen=True, slots=True)
class Checksums:
    """The checksums of a batch."""

    columns: dict[str, int]
    """CRC-32 of each column."""
    rows: dict[str, memoryview]
    """(rows,) uint32: CRC-32 of each value, for the columns that have them."""


def compute_row_checksums(batch: Any) -> dict[str, str]:
    """Compute the CRC-32 of each value of the columns of byte strings.

    Args:
        batch: A ``pyarrow.RecordBatch`` whose buffers start at its first row.

    Returns:
        For each such column, the checksums of its rows in base64, 4 bytes each, little-endian; that
        of a null is 0. A column without any bytes is left out.
    """
    checksums = {}
    for name, array in zip(batch.schema.names, batch.columns, strict=True):
        if not pa.types.is_large_binary(array.type):
            continue
        _, offset_buffer, value_buffer = array.buffers()
        offsets = memoryview(offset_buffer).cast("q")[: len(array) + 1].tolist()
        if offsets[-1] == 0:
            continue
        values = memoryview(value_buffer)
        crcs = (zlib.crc32(values[start:stop]) for start, stop in pairwise(offsets))
        data = b"".join(crc.to_bytes(CRC_BYTES, "little") for crc in crcs)
        checksums[name] = b64encode(data).decode()
    return checksums


def parse_checksums(message: Message) -> Checksums:
    """Read the checksums of a batch from its header.

    Raises:
        CorruptError: The metadata are damaged.
    """
    try:
        metadata = load_metadata(message)
        columns = {name: int(crc) for name, crc in metadata["crc32"].items()}
        return Checksums(columns, decode_row_checksums(metadata, message.rows))
    except MALFORMED_METADATA as error:
        raise CorruptError(f"expected the metadata of a batch ({error!r})") from None


def load_metadata(message: Message) -> dict[str, Any]:
    """Load the JSON metadata of a batch from its header, and check them.

    Raises:
        KeyError, TypeError, ValueError or RecursionError: They are damaged.
    """
    text = message.metadata[BATCH_KEY]
    if zlib.crc32(text.encode()) != int(message.metadata[BATCH_CRC_KEY]):
        raise ValueError("checksum mismatch")
    metadata: dict[str, Any] = json.loads(text)
    check_values(metadata, {"videos": is_list, "crc32": is_object})
    for entry in metadata["videos"]:
        check_values(entry, PART)
    rows = sum(entry["rows"] for entry in metadata["videos"])
    if rows != message.rows:
        raise ValueError(f"{rows} rows instead of {message.rows}")
    return metadata


def decode_row_checksums(metadata: Mapping[str, Any], rows: int) -> dict[str, memoryview]:
    """Decode the checksums of the rows of a batch.

    Args:
        metadata: The metadata of the batch; those of older versions have no checksums of rows.
        rows: Number of rows.

    Returns:
        (rows,) uint32 for each column that has them.

    Raises:
        ValueError: They are malformed.
    """
    texts = metadata.get(ROW_CRC_NAME, {})
    if not isinstance(texts, dict) or not all(isinstance(text, str) for text in texts.values()):
        raise ValueError(f"expected checksums of rows, got {texts!a:.40}")
    checksums = {name: b64decode(text, validate=True) for name, text in texts.items()}
    if any(len(data) != CRC_BYTES * rows for data in checksums.values()):
        raise ValueError(f"expected checksums of {rows} rows")
    return {name: memoryview(data).cast("I") for name, data in checksums.items()}

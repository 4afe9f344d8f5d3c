"""Read the orientation of a JPEG file from its header, and estimate its quality.

ITU-T T.81 defines the segments of the header, and Exif (CIPA DC-008) the orientation in the segment
APP1. No segment states the quality: it is estimated as the quality for which libjpeg's luma table
is most similar to the file's.
"""

import struct
from collections.abc import Iterator
from functools import cache

import numpy as np
import numpy.typing as npt
import simplejpeg

from flowkit.decode.orientation import Orientation

SCAN, TABLES, APP1 = 0xDA, 0xDB, 0xE1
"""Markers: start of the image data, quantization tables, Exif."""
STANDALONE_MARKERS = frozenset({0x01, *range(0xD0, 0xD9)})
"""Markers that no segment follows."""
EXIF_HEADER = b"Exif\x00\x00"
ORIENTATION_TAG = 0x0112
ORIENTATIONS = {
    2: Orientation(flip_x=True),
    3: Orientation(flip_x=True, flip_y=True, rotation=180),
    4: Orientation(flip_y=True),
    5: Orientation(transpose=True),
    6: Orientation(transpose=True, flip_x=True, rotation=90),
    7: Orientation(transpose=True, flip_x=True, flip_y=True),
    8: Orientation(transpose=True, flip_y=True, rotation=270),
}
"""What must be done to an image, by the Exif orientation; any other value means no change."""


def list_segments(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield the marker and the content of each segment of the header.

    Segments are followed one by one: a search for a marker would also find those of a thumbnail.

    Args:
        data: A JPEG file.
    """
    position = 2
    while position + 4 <= len(data) and data[position] == 0xFF:
        marker = data[position + 1]
        if marker in STANDALONE_MARKERS or marker == 0xFF:  # 0xFF before a marker is padding
            position += 1 if marker == 0xFF else 2
            continue
        if marker == SCAN:
            return
        length = int.from_bytes(data[position + 2 : position + 4], "big")
        yield marker, data[position + 4 : position + 2 + length]
        position += 2 + length


def read_orientation(data: bytes) -> Orientation:
    """Read the orientation that the Exif part of a JPEG file states.

    Args:
        data: The JPEG file.

    Returns:
        The orientation; the normal one if none is stated, or if Exif is damaged.
    """
    for marker, content in list_segments(data):
        if marker == APP1 and content.startswith(EXIF_HEADER):
            try:
                return ORIENTATIONS.get(
                    parse_orientation(content[len(EXIF_HEADER) :]), Orientation()
                )
            except struct.error:  # cut off
                break
    return Orientation()


def parse_orientation(tiff: bytes) -> int:
    """Read the tag ``Orientation`` of the first directory of a TIFF structure.

    Args:
        tiff: The structure, from its byte order on.

    Returns:
        The value of the tag, 1 if it is absent.

    Raises:
        struct.error: The structure is cut off.
    """
    order = {b"II": "<", b"MM": ">"}.get(tiff[:2])
    if order is None:
        return 1
    (directory,) = struct.unpack_from(f"{order}I", tiff, 4)
    (count,) = struct.unpack_from(f"{order}H", tiff, directory)
    for index in range(count):
        entry = directory + 2 + 12 * index
        tag, _type, _count, value = struct.unpack_from(f"{order}HHIH", tiff, entry)
        if tag == ORIENTATION_TAG:
            return int(value)
    return 1


def estimate_quality(data: bytes) -> int:
    """Estimate the quality that a JPEG was encoded with.

    Args:
        data: Bytes of a JPEG file.

    Returns:
        The quality of libjpeg, 1–100, whose luma table is nearest to the first table of the file.

    Raises:
        ValueError: If the file has no quantization table.
    """
    distances = abs(make_luma_tables() - read_quantization_table(data)).sum(axis=1)
    return int(distances.argmin()) + 1


def read_quantization_table(data: bytes) -> npt.NDArray[np.int64]:
    """Read the first quantization table of a JPEG file.

    Args:
        data: Bytes of a JPEG file.

    Returns:
        (64,) int64 table in zigzag order.

    Raises:
        ValueError: If the file has no quantization table.
    """
    for marker, content in list_segments(data):
        if marker == TABLES and content:
            entry_bytes = 2 if content[0] >> 4 else 1
            entries = content[1 : 1 + 64 * entry_bytes]
            if len(entries) == 64 * entry_bytes:
                return np.frombuffer(entries, f">u{entry_bytes}").astype(np.int64)
    raise ValueError("no quantization table")


@cache
def make_luma_tables() -> npt.NDArray[np.int64]:
    """Return the luma tables of libjpeg for the qualities 1–100, (100, 64) int64."""
    image = np.zeros((8, 8, 1), np.uint8)
    files = [simplejpeg.encode_jpeg(image, q, colorspace="GRAY") for q in range(1, 101)]
    return np.stack([read_quantization_table(data) for data in files])

"""Convert video ids to folder names for export.

An id is any UTF-8 string. A folder name must stay within its parent folder and be valid on the file
systems of Linux and macOS; Windows also refuses names such as ``CON`` and those with a dot at the
end. Every byte except ``A–Z a–z 0–9 - _ . ~`` is therefore percent-encoded, including ``/``
(so ``class/video`` becomes ``class%2Fvideo``), NUL and blanks. A leading dot is encoded too, which
rules out ``.``, ``..`` and hidden folders. The empty id becomes ``%``.

Percent-decoding gives the id back, with one exception: a name longer than 255 bytes is truncated
and ends in ``%~`` and the 32 hex digits of the id's BLAKE2b-128 digest. The id itself is then in
``videos.csv`` of the export. A percent-encoded name never contains ``%~``, so a truncated name
cannot be mistaken for another one.
"""

from collections import defaultdict
from collections.abc import Iterable
from hashlib import blake2b
from pathlib import Path
from urllib.parse import quote

MAX_BYTES = 255
"""Longest folder name in bytes that all common file systems accept."""
MAX_KEY_BYTES = MAX_BYTES - len(".flow_x.0000000.jpg")
"""Longest key of a sample in bytes. It leaves room for the longest suffix, so that the names of the
unpacked files stay within `MAX_BYTES`."""
TRUNCATED = "%~"
"""Separator before the digest of a truncated name."""


def encode_id(id: str) -> str:
    """Convert a video id to a folder name.

    Args:
        id: Any UTF-8 string.

    Returns:
        An ASCII name of 1–255 bytes, which is never ``.``, ``..`` or hidden.

    Example:
        >>> encode_id("run/a b.mp4")
        'run%2Fa%20b.mp4'
    """
    if not id:
        return "%"
    name = quote(id, safe="")
    if name.startswith("."):
        name = "%2E" + name[1:]
    return truncate_name(name, id, MAX_BYTES)


def encode_key(id: str) -> str:
    """Convert a video id to a sample key for WebDataset, which must contain no dot.

    Args:
        id: Any UTF-8 string.

    Returns:
        What `encode_id` returns, with each dot encoded as ``%2E``, in at most `MAX_KEY_BYTES`.

    Example:
        >>> encode_key("run/a b.mp4")
        'run%2Fa%20b%2Emp4'
    """
    name = quote(id, safe="").replace(".", "%2E") or "%"
    return truncate_name(name, id, MAX_KEY_BYTES)


def truncate_name(name: str, id: str, max_bytes: int) -> str:
    """Truncate a percent-encoded name that is too long, and add the digest of the id.

    Args:
        name: ASCII name.
        id: The id that it encodes.
        max_bytes: Longest name that is kept as it is.

    Returns:
        A name of at most ``max_bytes`` bytes.
    """
    if len(name) <= max_bytes:
        return name
    digest = blake2b(id.encode(), digest_size=16).hexdigest()
    return name[: max_bytes - len(TRUNCATED) - len(digest)] + TRUNCATED + digest


def find_case_collisions(ids: Iterable[str]) -> list[tuple[str, ...]]:
    """Find ids whose folder names differ only by case.

    Args:
        ids: Video ids.

    Returns:
        Groups of two or more ids.
    """
    groups: dict[str, list[str]] = defaultdict(list)
    for id in ids:
        groups[encode_id(id).lower()].append(id)
    return [tuple(group) for group in groups.values() if len(group) > 1]


def is_case_insensitive(folder: Path) -> bool:
    """Test whether the file system of a folder ignores the case of file names.

    Args:
        folder: An existing, writable folder; a file is created in it and removed again.

    Returns:
        Whether ``a`` and ``A`` name the same file.
    """
    probe = folder / f".case-probe-{id(folder):x}"
    probe.touch()
    try:
        return probe.with_name(probe.name.upper()).exists()
    finally:
        probe.unlink()

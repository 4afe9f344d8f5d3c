"""Video id ↔ folder name: what `export` writes and `import` reads back.

An id is any UTF-8 text; a folder name must not leave its folder, and must exist on every file
system. So every byte but ``A–Z a–z 0–9 - _ . ~`` is percent-encoded, and with them ``/`` (a
class folder stays visible: ``class%2Fvideo``), NUL and blanks; so is a leading dot, which
rules out ``.``, ``..`` and hidden folders. The empty id is ``%``.

To reverse: percent-decode. The one exception is a name that would exceed 255 bytes: it is cut
and ends in ``%~`` and the 32 hex digits of the id's BLAKE2b-128, and the id itself stands in
``videos.csv`` beside it. No percent-encoded text contains ``%~``, so the two cannot be mistaken.
"""

from collections import defaultdict
from collections.abc import Iterable
from hashlib import blake2b
from pathlib import Path
from urllib.parse import quote

MAX_BYTES = 255
LONG = "%~"


def encode_id(id: str) -> str:
    """The folder name of a video: ASCII, 1–255 bytes, never ``.``, ``..`` or hidden."""
    if not id:
        return "%"
    name = quote(id, safe="")
    if name.startswith("."):
        name = "%2E" + name[1:]
    if len(name) <= MAX_BYTES:
        return name
    digest = blake2b(id.encode(), digest_size=16).hexdigest()
    return name[: MAX_BYTES - len(LONG) - len(digest)] + LONG + digest


def find_case_collisions(ids: Iterable[str]) -> list[tuple[str, ...]]:
    """Groups of ids whose folder names differ only by the case of letters."""
    groups: dict[str, list[str]] = defaultdict(list)
    for id in ids:
        groups[encode_id(id).lower()].append(id)
    return [tuple(group) for group in groups.values() if len(group) > 1]


def ignores_case(folder: Path) -> bool:
    """Whether the file system under an existing, writable folder takes ``a`` for ``A``."""
    probe = folder / f".case-probe-{id(folder):x}"
    probe.touch()
    try:
        return probe.with_name(probe.name.upper()).exists()
    finally:
        probe.unlink()

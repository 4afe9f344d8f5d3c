"""Convert video ids to keys for URLs, and back.

An id may hold any characters of UTF-8, such as ``/``, ``..`` or quotes. Its key holds only letters,
digits, ``-`` and ``_``, so that it is never mistaken for a path.
"""

import base64
import binascii
import re


def make_key(id: str) -> str:
    """Convert a video id to a key.

    Example:
        >>> make_key("run/a b.mp4")
        'cnVuL2EgYi5tcDQ'
    """
    return base64.urlsafe_b64encode(id.encode()).decode().rstrip("=")


def parse_key(key: str) -> str | None:
    """Convert a key back to a video id; None if it is no key."""
    try:
        id = base64.b64decode(key + "=" * (-len(key) % 4), altchars="-_", validate=True).decode()
    except (binascii.Error, ValueError):
        return None
    return id if make_key(id) == key else None


def make_name_key(name: str) -> str:
    """Convert the name of a folder to a key: a plain name stays as it is, for people to read.

    Example:
        >>> make_name_key("cma_2"), make_name_key("../x")
        ('cma_2', '~Li4veA')
    """
    plain = re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name)
    return name if plain else f"~{make_key(name)}"

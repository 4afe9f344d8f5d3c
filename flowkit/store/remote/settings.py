"""Settings of remote stores, most of which environment variables change.

FLOWKIT_CACHE            folder of the cache; default: flowkit in the user's cache folder
FLOWKIT_CACHE_SIZE       its largest size, such as 200GB or 500MB; 0 keeps no pages of shards
FLOWKIT_REMOTE_TIMEOUT   seconds that one request may take
"""

import os
import re
from pathlib import Path

from flowkit.caches import make_cache_folder
from flowkit.errors import UsageError

CACHE_SIZE = "20GB"
"""Largest size of the cache if ``FLOWKIT_CACHE_SIZE`` does not say."""
TIMEOUT = 60.0
"""Seconds that a request may take if ``FLOWKIT_REMOTE_TIMEOUT`` does not say."""
MAX_REQUESTS = 32
"""Requests that one process has under way at most."""
UNITS = ("", "K", "M", "G", "T")
"""Letters of units: powers of 1000, or of 1024 with an ``i``."""


def find_folder() -> Path:
    """Return the folder of the cache, which need not exist.

    Raises:
        UsageError: Nothing is writable.
    """
    chosen = os.environ.get("FLOWKIT_CACHE")
    if chosen:
        return Path(os.path.expanduser(chosen)).absolute()  # noqa: PTH111 (it never raises)
    folder = make_cache_folder(Path(os.path.expanduser("~")))  # noqa: PTH111
    if folder is None:
        raise UsageError("no folder for the cache of remote stores; set FLOWKIT_CACHE to one")
    return folder


def read_cache_size() -> int:
    """Return the largest size of the cache in bytes.

    Raises:
        UsageError: ``FLOWKIT_CACHE_SIZE`` is not a size.
    """
    text = os.environ.get("FLOWKIT_CACHE_SIZE") or CACHE_SIZE
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(?:([KMGT])(i?))?B?\s*", text, re.IGNORECASE)
    if match is None:
        raise UsageError(f"FLOWKIT_CACHE_SIZE: expected a size such as 200GB, got {text!r}")
    base, unit = 1024 if match[3] else 1000, (match[2] or "").upper()
    return int(float(match[1]) * base ** UNITS.index(unit))


def read_timeout() -> float:
    """Return the seconds that a request may take.

    Raises:
        UsageError: ``FLOWKIT_REMOTE_TIMEOUT`` is not a positive number.
    """
    text = os.environ.get("FLOWKIT_REMOTE_TIMEOUT") or str(TIMEOUT)
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < 86400:
        raise UsageError(f"FLOWKIT_REMOTE_TIMEOUT: expected seconds such as 60, got {text!r}")
    return seconds

"""Recognize the URL of a store on object storage, and the local folder that stands for it.

The small files of a store that is read (store.json, the index, commit records) are kept in a local
folder, its *mirror* (remote/mirror.py), which holds the file ``remote.json`` with the URL.
An extraction into a store at a URL has a *working store*, a folder with the file ``working.json``:
its shards are uploaded when they are committed, and deleted (flowkit/extraction/working_store.py).
"""

import json
import os
import re
from pathlib import Path

from flowkit.errors import CorruptError, StoreError, UsageError

REMOTE_FILE = "remote.json"
"""File in a mirror that names the URL of the store."""
COPYING_FILE = "copying.json"
"""File in a store that `flowkit copy` has begun to write and not finished."""
WORKING_FILE = "working.json"
"""File in a working store that names the URL to which its shards are uploaded."""
WRITING_FILE = "writing.json"
"""Object of a store at a URL that an extraction writes to: it names the run."""
UPLOADED_SUFFIX = ".uploaded"
"""Suffix of a file in a working store that replaces a shard which is at the URL: its size."""
SCHEMES = ("s3", "s3a", "gs", "az", "abfs", "abfss", "hf", "http", "https")
# A Path turns // into /.
URL = re.compile(r"([a-z][a-z0-9+.-]+):/+([^/].*)", re.DOTALL | re.IGNORECASE)


def find_url(path: str | os.PathLike[str]) -> str | None:
    """Return the URL of a store on object storage, without a slash at its end.

    Args:
        path: The URL, also as a ``Path``; or the path of a folder.

    Returns:
        The URL; None if ``path`` is the path of a folder.

    Raises:
        UsageError: It is a URL at which flowkit has no stores, such as ``gcs://bucket/store``.
    """
    match = URL.fullmatch(os.fspath(path))
    if match is None:
        return None
    scheme = match[1].lower()
    if scheme in SCHEMES:
        return f"{scheme}://{match[2].rstrip('/')}"
    if Path(f"{match[1]}:").exists():  # a folder whose name ends with a colon
        return None
    expected = ", ".join(f"{name}://" for name in SCHEMES)
    raise UsageError(
        f"{match[1]}://{match[2]}: expected the path of a folder, or a URL that begins with "
        f"{expected}"
    )


def read_mirror_url(root: Path) -> str | None:
    """Return the URL of the store that a folder is the mirror of; None if it is no mirror.

    Raises:
        CorruptError: ``remote.json`` is damaged.
    """
    return read_url(root / REMOTE_FILE, "delete this folder, which is a cache")


def read_url(path: Path, advice: str) -> str | None:
    """Return the URL that a file names; None if there is no file.

    Raises:
        CorruptError: The file is damaged; the message ends with ``advice``.
        StoreError: The file cannot be read.
    """
    try:
        url = json.loads(path.read_bytes())["url"]
        if find_url(url) != url:
            raise ValueError(f"url {url!r}")
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise StoreError(f"cannot read {path}: {error.strerror}; check its permissions") from None
    except (ValueError, KeyError, TypeError, UsageError) as error:
        raise CorruptError(f"{path}: expected the URL of a store ({error!r}); {advice}") from None
    return str(url)


def describe_location(root: str | os.PathLike[str]) -> str:
    """Return what names a store to people: the URL of a mirror or working store, or the folder."""
    path = Path(root)
    return find_url(root) or read_mirror_url(path) or read_working_url(path) or os.fspath(root)


def read_working_url(root: Path) -> str | None:
    """Return the URL to which a working store is uploaded; None for another folder.

    Raises:
        CorruptError: ``working.json`` is damaged.
    """
    return read_url(root / WORKING_FILE, 'write {"url": "URL"} with its URL into it')


def read_uploaded_size(shard: Path) -> int:
    """Return the size in bytes of a shard that is at the URL of its working store; −1 if not."""
    try:
        return int(shard.with_suffix(UPLOADED_SUFFIX).read_text())
    except (OSError, ValueError):
        return -1


def refuse_remote(root: str | os.PathLike[str]) -> None:
    """Raise a StoreError if ``root`` is a URL or a mirror, because it cannot be written."""
    url = find_url(root) or read_mirror_url(Path(root))
    if url is not None:
        raise StoreError(
            f"{url} is on object storage, where only `flowkit extract` and `flowkit copy` write; "
            f"`flowkit copy {url} FOLDER`, change FOLDER, and copy it back"
        )


def make_half_copied_error(location: str) -> StoreError:
    """Make the error for a store that `flowkit copy` has not finished."""
    return StoreError(
        f"{location}: a store copied half; run the same `flowkit copy SOURCE {location}` again to "
        "complete it"
    )

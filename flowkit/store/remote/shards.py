"""Open and download the shards of a remote store, whose small files are in its mirror."""

import os
from collections.abc import Sequence
from contextlib import suppress
from functools import lru_cache
from pathlib import Path

from flowkit.store.format.location import read_mirror_url
from flowkit.store.remote.files import RemoteFile, get_files
from flowkit.store.remote.mirror import fetch_shard, read_shard_sizes


def open_remote_shards(root: Path, names: Sequence[str]) -> list[RemoteFile]:
    """Open shards of a remote store side by side.

    Args:
        root: Folder of a store, or a mirror.
        names: Names of the shards, ``folder/uuid``.

    Returns:
        The shards; none if the folder is no mirror.

    Raises:
        CorruptError: A shard is gone, or not as the index says.
    """
    url = read_mirror_url(root)
    if url is None:
        return []
    path = root / "index.arrow"
    sizes = load_sizes(path, path.stat().st_mtime_ns)
    return get_files(url, root).open({f"{name}.arrow": sizes.get(name) or -1 for name in names})


def fetch_remote_shard(root: Path, name: str) -> None:
    """Download a whole shard into a mirror, or mark it there as used now.

    Nothing is done if the folder is no mirror.
    """
    url = read_mirror_url(root)
    if url is not None:
        path = fetch_shard(url, root, name)
        with suppress(OSError):
            os.utime(path)  # `evict_files` deletes first what was used least recently


@lru_cache(maxsize=8)
def load_sizes(path: Path, mtime_ns: int) -> dict[str, int]:
    """Read the sizes of all shards from the index of a mirror."""
    return read_shard_sizes(path.read_bytes())

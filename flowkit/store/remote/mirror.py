"""Keep the small files of a remote store in a local folder, its mirror.

    <cache>/mirrors/<digest of the URL>/<name of the store>/
      remote.json     the URL, the size and tag of the index, and all objects once they were listed
      store.json, index.arrow, …   as in the store; commit records once they are needed
      states/         size and tag of each shard that was opened

Everything that reads a store's folder reads the mirror as well. Shards are not in it, except whole
ones that `fetch_shard` downloaded.
"""

import hashlib
import json
import os
import re
import tempfile
import uuid
from collections.abc import Callable, Container
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

from flowkit.errors import CorruptError, FormatError, StoreError
from flowkit.store.format.atomic import convert_disk_errors, write_atomic
from flowkit.store.format.location import (
    COPYING_FILE,
    REMOTE_FILE,
    find_url,
    make_half_copied_error,
    read_mirror_url,
)
from flowkit.store.format.records import load_record
from flowkit.store.format.schema import encode_json
from flowkit.store.remote.client import get_client
from flowkit.store.remote.failures import MissingObjectError
from flowkit.store.remote.objects import (
    PART_BYTES,
    ObjectClient,
    ObjectState,
    Range,
    read_if_present,
)
from flowkit.store.remote.settings import find_folder

OPTIONAL_FILES = ("annotations.arrow", "failures.jsonl", "verified.json")
"""Files that a store may lack, next to those that every reader needs."""
DOWNLOADS = 8
"""Parts of a shard that are requested side by side."""


def find_store_folder(path: str | os.PathLike[str], *, complete: bool = False) -> Path:
    """Return the folder to read a store from: its own, or the mirror of a remote store.

    Args:
        path: Folder of the store, its URL, or the folder of a mirror.
        complete: Whether the mirror needs all small files, also the commit records; otherwise it
            has those that `Store` needs.

    Raises:
        FormatError: There is no store at the URL.
        StoreError: It cannot be reached; the message says what to do.
    """
    url = find_url(path)
    if url is None and complete:
        url = read_mirror_url(Path(path))
    if url is None:
        return Path(path)
    return refresh_mirror(url, complete=complete)


def locate_mirror(url: str) -> Path:
    """Return the folder of the mirror of a URL, which need not exist."""
    digest = hashlib.blake2b(url.encode(), digest_size=8).hexdigest()
    name = re.sub(r"[^\w.-]", "_", url.rpartition("/")[2]) or "store"
    return find_folder() / "mirrors" / digest / name


def has_index(mirror: Path) -> bool:
    """Return whether a mirror has what `Store` reads."""
    return all((mirror / name).is_file() for name in (REMOTE_FILE, "store.json", "index.arrow"))


def refresh_mirror(url: str, *, complete: bool = False) -> Path:
    """Bring the mirror of a store up to date.

    Args:
        url: URL of the store.
        complete: As for `find_store_folder`.

    Returns:
        Its folder.
    """
    client, mirror = get_client(url), locate_mirror(url)
    with ThreadPoolExecutor(2) as pool:
        header_read = pool.submit(read_if_present, client, "store.json")
        index_read = pool.submit(read_index, client, mirror)
        header, (index, identity) = header_read.result(), index_read.result()
    if header is None or index is None:
        if read_if_present(client, COPYING_FILE) is not None:
            raise make_half_copied_error(url)
        what = "store.json" if header is None else "index.arrow, without which a URL cannot be read"
        raise FormatError(f"{url}: expected a store, found no {what}; check the URL")
    contents = {"store.json": header, "index.arrow": index}
    objects = read_listing(mirror)
    if complete:
        objects, small_files = read_small_files(client, index)
        contents |= small_files
    elif objects is not None and not is_same_index(mirror, index):
        objects = None
    contents[REMOTE_FILE] = encode_json({"url": url, "objects": objects, "index": identity})
    try:
        update_files(mirror, contents)
        if complete:
            remove_stale_records(mirror, contents)
    except (OSError, StoreError) as error:
        mirror = make_temporary_mirror(url, contents, error)
    return mirror


def read_index(client: ObjectClient, mirror: Path) -> tuple[bytes | None, list[Any] | None]:
    """Read the index of a store, from its mirror if that has the same.

    Returns:
        The index, and its size, tag and digest, by which it is recognized; None without an index.
    """
    try:
        state = client.find_state("index.arrow")
        known = read_remote_file(mirror).get("index")
        if state.tag is not None and isinstance(known, list) and known[:2] == list(state):
            with suppress(OSError):
                index = (mirror / "index.arrow").read_bytes()
                if known == identify(index, state):
                    return index, known
        index, state = client.read_object("index.arrow")
    except MissingObjectError:
        return None, None
    return index, identify(index, state)


def identify(index: bytes, state: ObjectState) -> list[Any]:
    """Return size, tag and digest of an index."""
    return [*state, hashlib.blake2b(index, digest_size=16).hexdigest()]


def is_same_index(mirror: Path, index: bytes) -> bool:
    """Return whether a mirror has this index."""
    path = mirror / "index.arrow"
    return path.is_file() and path.read_bytes() == index


def read_small_files(client: ObjectClient, index: bytes) -> tuple[dict[str, int], dict[str, bytes]]:
    """List the objects of a store, and read all that are small.

    Without a listing, the shards are those of the index.

    Returns:
        The size of each object by name, and the content of those that a mirror keeps.
    """
    shards = read_shard_sizes(index)
    listed = client.list_objects()
    if listed is None:
        sizes = {f"{name}.arrow": size for name, size in shards.items() if size >= 0}
        wanted = [*OPTIONAL_FILES, *(f"{name}.json" for name in shards)]
    else:
        sizes = {name: state.size for name, state in listed.items()}
        records = [name for name in sizes if "/" in name and name.endswith(".json")]
        kept = [name for name in records if not name.startswith(("quarantine/", "removed/"))]
        wanted = [name for name in OPTIONAL_FILES if name in sizes] + kept
    with ThreadPoolExecutor(16) as pool:
        found = pool.map(lambda name: read_if_present(client, name), wanted)
        contents = {
            name: data for name, data in zip(wanted, found, strict=True) if data is not None
        }
    sizes |= {name: len(data) for name, data in contents.items()}
    return sizes, contents


def read_shard_sizes(index: bytes) -> dict[str, int]:
    """Read the sizes of the shards, by ``folder/uuid``, from an index.

    Raises:
        CorruptError: The index is damaged.
    """
    import pyarrow as pa

    try:
        metadata = pa.ipc.open_file(pa.py_buffer(index)).schema.metadata
        shards, states = (
            json.loads(metadata[key]) for key in (b"flowkit.shards", b"flowkit.records")
        )
        return {name: int(state[2]) for name, state in zip(shards, states, strict=True)}
    except (pa.ArrowException, OSError, ValueError, KeyError, TypeError, IndexError) as error:
        raise CorruptError(
            f"index.arrow: expected an index ({error!r}); copy the store again"
        ) from None


def update_files(mirror: Path, contents: dict[str, bytes]) -> None:
    """Write the files of a mirror that are new or have changed, remote.json first."""
    for name in sorted(contents, key=lambda name: name != REMOTE_FILE):
        path = mirror / name
        if not path.is_file() or path.read_bytes() != contents[name]:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomic(path, contents[name], is_shared=True)


def remove_stale_records(mirror: Path, present: Container[str]) -> None:
    """Remove the commit records from a mirror that are not among the files of the store."""
    for path in mirror.glob("*/**/*.json"):
        name = path.relative_to(mirror).as_posix()
        if not name.startswith("states/") and name not in present:
            path.unlink(missing_ok=True)


def make_temporary_mirror(url: str, contents: dict[str, bytes], error: Exception) -> Path:
    """Write a mirror into a temporary folder, because the cache cannot be written.

    Raises:
        StoreError: That cannot be written either.
    """
    import atexit
    import logging
    import shutil

    for parent in (None, "/dev/shm"):
        try:
            mirror = Path(tempfile.mkdtemp(prefix="flowkit-mirror-", dir=parent))
            atexit.register(shutil.rmtree, mirror, ignore_errors=True)
            update_files(mirror, contents)
        except (OSError, StoreError):
            continue
        logging.getLogger(__name__).warning(
            "%s: cannot write the cache of remote stores (%s); reading on without it", url, error
        )
        return mirror
    raise StoreError(f"{url}: cannot write the cache ({error}); set FLOWKIT_CACHE to a folder")


def read_listing(mirror: Path) -> dict[str, int] | None:
    """Read the names and sizes of a remote store's objects; None if they were not listed."""
    objects = read_remote_file(mirror).get("objects")
    return objects if isinstance(objects, dict) else None


def read_remote_file(mirror: Path) -> dict[str, Any]:
    """Read the content of remote.json; empty if there is none, or it is damaged."""
    try:
        values = json.loads((mirror / REMOTE_FILE).read_bytes())
    except (OSError, ValueError):
        return {}
    return values if isinstance(values, dict) else {}


def fetch_shard(url: str, mirror: Path, name: str) -> Path:
    """Download a whole shard into a mirror, and check it by its commit record.

    Args:
        url: URL of the store.
        mirror: Folder of its mirror.
        name: Name of the shard, ``folder/uuid``.

    Returns:
        The shard file.

    Raises:
        CorruptError: The shard is not what its record says.
        DiskFullError: There is no room for it.
    """
    path, client = mirror / f"{name}.arrow", get_client(url)
    if path.is_file():
        return path
    record_path = mirror / f"{name}.json"
    try:
        if not record_path.is_file():
            update_files(mirror, {f"{name}.json": client.read_object(f"{name}.json")[0]})
    except MissingObjectError:
        raise CorruptError(f"{url}/{name}: the shard has no commit record; copy it again") from None
    record = load_record(record_path)
    size, sha256 = record["bytes"], record["sha256"]
    part = path.with_name(f"{path.name}.{uuid.uuid4().hex[:8]}.part")
    try:
        with convert_disk_errors(path, f"{size / 1e6:,.0f} MB"):
            digest = download(client, f"{name}.arrow", part)
            if (part.stat().st_size, digest) != (size, sha256):
                raise CorruptError(
                    f"{url}/{name}.arrow: expected the bytes that its commit record describes, got "
                    "others; copy it again"
                )
            part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    return path


def download(
    client: ObjectClient, name: str, path: Path, progress: Callable[[int], None] | None = None
) -> str:
    """Download an object into a file; return its SHA-256 in hexadecimal."""
    digest, state, position = hashlib.sha256(), client.find_state(name), 0
    with path.open("wb") as file:
        while position < state.size:
            stop = min(state.size, position + DOWNLOADS * PART_BYTES)
            starts = range(position, stop, PART_BYTES)
            ranges = [Range(name, start, min(PART_BYTES, stop - start)) for start in starts]
            for data, answered in client.read_ranges(ranges):
                if answered != state:
                    raise CorruptError(f"{name}: the object was replaced while it was downloaded")
                file.write(data)
                digest.update(data)
                if progress is not None:
                    progress(len(data))
            position = stop
        file.flush()
        os.fsync(file.fileno())
    return digest.hexdigest()

"""Extract into a store at a URL by a local one, the working store, whose shards are uploaded.

    videos ─ extraction ─ working store ─ uploads.py ─ URL
                               ↑                        │
                               └─ what is there already ┘

Before a run, the small files of the store at the URL are brought into the working store: what is
there counts as extracted, also on another machine. Shards are not downloaded; a file beside the
commit record says that they are at the URL. A shard that is uploaded is deleted here.
"""

import hashlib
import json
import os
import re
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from flowkit.errors import CorruptError, LockedError, StoreError, UsageError
from flowkit.extraction.uploads import Uploads
from flowkit.store.format.atomic import convert_disk_errors, write_atomic
from flowkit.store.format.location import (
    COPYING_FILE,
    UPLOADED_SUFFIX,
    WORKING_FILE,
    WRITING_FILE,
    find_url,
    make_half_copied_error,
    read_uploaded_size,
    read_working_url,
)
from flowkit.store.format.locks import make_lock_folder, open_lock_file, try_lock
from flowkit.store.format.schema import encode_json, shard_folders
from flowkit.store.remote.copying import check_identity
from flowkit.store.remote.settings import find_folder
from flowkit.store.remote.store_files import SHARD_FILE, STORE_FILES, FolderFiles, UrlFiles
from flowkit.store.remote.writer_lock import WriterLock

DOWNLOADS = 16
"""Commit records that are requested side by side."""
READ_ONLY = ("http:", "https:", "hf:")
"""Beginnings of URLs where nothing can be written."""


@dataclass(frozen=True, kw_only=True)
class Target:
    """Where a run writes."""

    root: Path
    """Folder of the store, or of the working store of one at a URL."""
    uploads: Uploads | None = None
    """What uploads its shards; None for a store in a folder."""


@contextmanager
def open_target(
    store: str | os.PathLike[str],
    working_store: str | os.PathLike[str] | None = None,
    *,
    part: tuple[int, int] = (0, 1),
    break_lock: bool = False,
    console: Console | None = None,
) -> Iterator[Target]:
    """Prepare the store of a run: nothing for a folder, a working store for a URL.

    Args:
        store: Folder or URL of the store.
        working_store: Folder of the working store; None for one in the cache.
        part: The part (i, n) of the videos that the run works on.
        break_lock: Replace the lock that was left at the URL by a run that has ended.
        console: Where lines are printed; None for stderr.

    Yields:
        The folder to write to.

    Raises:
        UsageError: The options do not fit the store, or the folder is no working store of the URL.
        LockedError: Another run writes to the store.
        StoreError: The URL cannot be reached or written, or holds something else.
    """
    url = find_url(store)
    if url is None:
        if working_store is not None or break_lock:
            raise UsageError(
                f"--working-store and --break-lock are for a store at a URL, got {store}; leave "
                "them out"
            )
        yield Target(root=Path(store))
        return
    check_options(url, part)
    shown = console or Console(stderr=True)

    def log(line: str) -> None:
        shown.print(line, markup=False, highlight=False, soft_wrap=True)

    root = locate_working_store(url) if working_store is None else Path(working_store)
    remote = UrlFiles(url)
    check_remote(remote)
    with lock_working_store(root, url) as owner:
        lock = WriterLock(url, remote.client, owner)
        lock.acquire(break_lock=break_lock)
        uploads_ended = True
        try:
            published = download_small_files(root, remote)
            log(f"shards are written to {root}, and uploaded to {url} when they are committed")
            uploads = Uploads(url, root, lock, published, log)
            try:
                yield Target(root=root, uploads=uploads)
            finally:
                uploads_ended = uploads.close()
        finally:
            if uploads_ended:
                lock.release()


def check_options(url: str, part: tuple[int, int]) -> None:
    """Raise a UsageError if a run cannot write to a URL."""
    if url.startswith(READ_ONLY):
        raise UsageError(
            f"{url}: flowkit only reads here; extract to s3://, gs:// or az://, or to a folder"
        )
    if part != (0, 1):
        raise UsageError(
            f"--shard writes to folders, got {url}: extract all parts into a folder that the "
            f"machines share, then `flowkit copy FOLDER {url}`; or use Ray"
        )


def locate_working_store(url: str) -> Path:
    """Return the folder in the cache for the working store of a URL, which need not exist."""
    digest = hashlib.blake2b(url.encode(), digest_size=8).hexdigest()
    name = re.sub(r"[^\w.-]", "_", url.rpartition("/")[2]) or "store"
    return find_folder() / "working" / digest / name


def check_remote(remote: UrlFiles) -> None:
    """Check that a store is at a URL, or nothing.

    Raises:
        StoreError: There is half a copy, or something else; or the URL cannot be reached.
    """
    if remote.read(COPYING_FILE) is not None:
        raise make_half_copied_error(remote.location)
    if remote.read("store.json") is None:
        ours = {*STORE_FILES, WRITING_FILE}  # an extraction can have ended before store.json
        foreign = [name for name in remote.client.list_objects() or () if name not in ours]
        if foreign:
            raise StoreError(
                f"{remote.location}: expected a store or nothing, found {min(foreign)!r} and no "
                "store.json; name another URL"
            )


@contextmanager
def lock_working_store(root: Path, url: str) -> Iterator[str]:
    """Create a working store, or check that a folder is that of a URL, and lock it.

    Yields:
        Its id.

    Raises:
        UsageError: The folder holds something else.
        LockedError: Another process on this machine uses it.
    """
    with convert_disk_errors(root):
        root.mkdir(parents=True, exist_ok=True)
    known = read_working_url(root)
    if known is None and any(path.name != "locks" for path in root.iterdir()):
        raise UsageError(
            f"{root}: expected the working store of {url}, or an empty folder, since shards are "
            "deleted there when they are uploaded; name another folder with --working-store"
        )
    if known not in (None, url):
        raise UsageError(
            f"{root} is the working store of {known}, expected that of {url}; name another folder "
            "with --working-store"
        )
    descriptor = open_lock_file(make_lock_folder(root) / "uploads")
    try:
        if not try_lock(descriptor):
            raise LockedError(
                f"{root}: another process extracts to {url} from this folder; wait for it, or "
                "stop it"
            )
        path = root / WORKING_FILE
        owner = json.loads(path.read_bytes()).get("id") if known else None
        if not owner:
            owner = uuid.uuid4().hex
            write_atomic(path, encode_json({"url": url, "id": owner}), is_shared=True)
        yield str(owner)
    finally:
        os.close(descriptor)


def download_small_files(root: Path, remote: UrlFiles) -> dict[str, bytes]:
    """Bring a working store up to date with its URL.

    Args:
        root: Folder of the working store.
        remote: The store at the URL; there may be none yet.

    Returns:
        The content of the small files at the URL, by name.

    Raises:
        CorruptError: A shard at the URL is gone, or not as its record says.
        StoreError: The working store is of another store.
    """
    local, objects = FolderFiles(root), remote.list()
    published: dict[str, bytes] = {
        name: content
        for name in ("store.json", "index.arrow", "annotations.arrow", "failures.jsonl")
        if name in objects and (content := remote.read(name)) is not None
    }
    header, local_header = published.get("store.json"), local.read("store.json")
    if header is not None and local_header is not None:
        try:
            check_identity(local, header, local_header)
        except StoreError:
            raise StoreError(
                f"{root}: expected the working store of {remote.location}, found one of an "
                "earlier store at that URL; delete this folder, or name another one with "
                "--working-store"
            ) from None
    shards = {name: size for name, size in objects.items() if "/" in name}
    download_records(local, remote, shards if header is not None else {})
    for name, content in published.items():
        present = local.read(name)
        # Failures are only appended: those that were not uploaded yet are kept.
        is_longer = name == "failures.jsonl" and (present or b"").startswith(content)
        if present != content and not is_longer:
            local.write(name, content)
    return published


def download_records(local: FolderFiles, remote: UrlFiles, objects: dict[str, int]) -> None:
    """Make the commit records of a working store those at its URL, and of shards not uploaded yet.

    Args:
        local: The working store.
        remote: The store at the URL.
        objects: Sizes of the shards and records there, by name.
    """
    root, names = local.root, sorted(n[:-5] for n in objects if SHARD_FILE.fullmatch(n) and
                                     n.endswith(".json"))  # fmt: skip
    for name in set(find_records(root)) - set(names):
        path = root / f"{name}.json"
        path.with_suffix(UPLOADED_SUFFIX).unlink(missing_ok=True)
        if not path.with_suffix(".arrow").exists():  # it was removed at the URL
            path.unlink()

    def bring(name: str) -> None:
        path, size = root / f"{name}.json", objects.get(f"{name}.arrow", -1)
        is_known = path.exists() and path.stat().st_size == objects[f"{name}.json"]
        if is_known and read_uploaded_size(path) == size >= 0:
            return
        record = path.read_bytes() if is_known else remote.read(f"{name}.json") or b""
        check_shard_size(f"{remote.location}/{name}", record, size)
        local.write(f"{name}{UPLOADED_SUFFIX}", str(size).encode())
        if not is_known:
            local.write(f"{name}.json", record)

    with ThreadPoolExecutor(DOWNLOADS) as pool:
        list(pool.map(bring, names))


def check_shard_size(location: str, record: bytes, size: int) -> None:
    """Raise a CorruptError if a shard at a URL has not the size that its record says.

    Args:
        location: URL of the shard, without suffix.
        record: Its commit record.
        size: Its size in bytes, −1 if it is gone.
    """
    try:
        expected = int(json.loads(record)["bytes"])
    except (ValueError, KeyError, TypeError) as error:
        problem = f"its commit record is damaged ({error!r})"
    else:
        if size == expected:
            return
        found = f"{size:,} bytes" if size >= 0 else "no object"
        problem = f"expected {expected:,} bytes as its commit record says, found {found}"
    raise CorruptError(
        f"{location}.arrow: {problem}; restore it, or delete {location}.json, so that its videos "
        "are extracted again"
    )


def find_records(root: Path) -> list[str]:
    """Return the shards of a working store that have a commit record, as ``folder/uuid``."""
    return [
        f"{folder}/{path.stem}"
        for folder in shard_folders(root)
        for path in (root / folder).glob("*.json")
    ]

"""Copy a store to another folder or URL, shard by shard.

1. ``copying.json`` marks the copy as unfinished.
2. Each shard is copied and checked by the SHA-256 of its commit record; then its record is written.
   A shard whose record is already there was copied completely, and is left alone.
3. Annotations and the like, the index and store.json follow, as they were when the copy began.
   store.json of a new copy comes last: without it, readers say that the copy is half.
4. ``copying.json`` is removed.

So a copy can be killed anywhere, and run again.
"""

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from flowkit.errors import CorruptError, FormatError, StoreError, UsageError
from flowkit.store.format.location import COPYING_FILE, make_half_copied_error
from flowkit.store.format.schema import encode_json
from flowkit.store.remote.mirror import OPTIONAL_FILES, read_shard_sizes
from flowkit.store.remote.store_files import BytesDone, FolderFiles, StoreFiles, open_files

IDENTITY = ("format", "dataset", "created", "creator")
"""Keys of store.json that two copies of one store share."""

Progress = Callable[[int, int], None]


@dataclass(kw_only=True)
class CopyReport:
    """What a copy did."""

    shards: int = 0
    """Shards of the store."""
    copied: int = 0
    """Shards that were copied; the others were there already."""
    copied_bytes: int = 0
    """Their size."""
    deleted: int = 0
    """Shards that were deleted, because the source has them no more."""


def copy_store(
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    *,
    delete: bool = False,
    progress: Progress | None = None,
) -> CopyReport:
    """Copy a store; run again, it completes the copy, or brings it up to date.

    Args:
        source: Folder or URL of the store.
        target: Folder or URL of the copy. The folder of a mirror stands for its URL.
        delete: Whether shards of the copy that the source has no more are deleted.
        progress: Called with (bytes copied, total bytes).

    Raises:
        FormatError: ``source`` is no store.
        CorruptError: A shard of the source is damaged; it is not copied.
        UsageError: Both are the same, or the target has shards that the source has not.
        StoreError: The target holds something else, or cannot be reached or written.
    """
    origin, copy = open_files(source), open_files(target)
    check_apart(origin, copy)
    small, sizes = take_snapshot(origin)
    header = copy.read("store.json")
    if header is None:
        copy.check_new()
    else:
        check_identity(copy, small["store.json"], header)
    with copy.hold():
        present = copy.list()
        extra = sorted({name.rpartition(".")[0] for name in present if "/" in name} - sizes.keys())
        if extra and not delete:
            raise UsageError(
                f"{copy.location} has {len(extra)} shards that {origin.location} has not, such as "
                f"{extra[0]}; delete them with --delete, or copy to another place"
            )
        copy.write(COPYING_FILE, encode_json({"source": origin.location}))
        report = copy_shards(origin, copy, sizes, present, progress)
        write_small_files(copy, small, present)
        for name in extra:
            copy.delete(f"{name}.json")
            copy.delete(f"{name}.arrow")
        report.deleted = len(extra)
        copy.delete(COPYING_FILE)
    return report


def check_apart(origin: StoreFiles, copy: StoreFiles) -> None:
    """Raise a UsageError if source and target are the same, or one is inside of the other."""
    places = [
        os.path.realpath(files.root) if isinstance(files, FolderFiles) else files.location
        for files in (origin, copy)
    ]
    first, second = (place.rstrip("/") + "/" for place in places)
    if first.startswith(second) or second.startswith(first):
        raise UsageError(
            f"expected a copy outside of {origin.location}, got {copy.location}; name another place"
        )


def take_snapshot(origin: StoreFiles) -> tuple[dict[str, bytes], dict[str, int]]:
    """Read the small files of a store, and list its shards afterwards, so that none is missing.

    Returns:
        The content of the files that are no shards and no records, and the sizes of the shards by
        ``folder/uuid``.

    Raises:
        FormatError: It is no store.
        StoreError: It has no index, or is itself half a copy.
        CorruptError: The index names a shard that is gone.
    """
    names = ("index.arrow", "store.json", *OPTIONAL_FILES)
    small = {name: data for name in names if (data := origin.read(name)) is not None}
    if origin.read(COPYING_FILE) is not None:
        raise make_half_copied_error(origin.location)
    if "store.json" not in small:
        raise FormatError(
            f"{origin.location}: expected a store, found no store.json; check the path"
        )
    if "index.arrow" not in small:
        raise StoreError(
            f"{origin.location}: expected an index, found none; make it with `flowkit index "
            f"{origin.location}`"
        )
    files = origin.list()
    records = {name.removesuffix(".json") for name in files if "/" in name and ".json" in name}
    sizes = {name: files.get(f"{name}.arrow", -1) for name in sorted(records)}
    gone = [name for name in read_shard_sizes(small["index.arrow"]) if sizes.get(name, -1) < 0]
    if gone:
        raise CorruptError(
            f"{origin.location}: {len(gone)} shards that the index names are gone, such as "
            f"{gone[0]}; run `flowkit verify {origin.location}`"
        )
    return small, {name: size for name, size in sizes.items() if size >= 0}


def check_identity(copy: StoreFiles, ours: bytes, theirs: bytes) -> None:
    """Raise a StoreError if the target holds another store."""
    try:
        values: list[Any] = [json.loads(content) for content in (ours, theirs)]
        first, second = ([header[key] for key in IDENTITY] for header in values)
    except (ValueError, KeyError, TypeError) as error:
        raise CorruptError(
            f"{copy.location}: store.json here or of the source is damaged ({error!r}); restore it "
            "from a copy"
        ) from None
    if first != second:
        raise StoreError(
            f"{copy.location}: expected a copy of the same store, found another one (created "
            f"{second[2]}, the source {first[2]}); copy to another place"
        )


def copy_shards(
    origin: StoreFiles,
    copy: StoreFiles,
    sizes: dict[str, int],
    present: dict[str, int],
    progress: Progress | None,
) -> CopyReport:
    """Copy the shards that the target lacks, each with its record."""
    report, done = CopyReport(shards=len(sizes)), 0
    total = sum(sizes.values())

    def count(number: int) -> None:
        nonlocal done
        done += number
        if progress is not None:
            progress(min(done, total), total)

    for name, size in sizes.items():
        record = origin.read(f"{name}.json")
        if record is None:
            raise CorruptError(f"{origin.location}/{name}.json was deleted meanwhile; copy again")
        is_there = present.get(f"{name}.arrow") == size and f"{name}.json" in present
        if is_there and copy.read(f"{name}.json") == record:
            count(size)
            continue
        copy_shard(origin, copy, name, record, size, count)
        report.copied += 1
        report.copied_bytes += size
    return report


def copy_shard(
    origin: StoreFiles,
    copy: StoreFiles,
    name: str,
    record: bytes,
    size: int,
    progress: BytesDone = lambda number: None,
) -> None:
    """Copy a shard, checked by its commit record, and then the record, so that it counts.

    Args:
        origin: The store.
        copy: Its copy.
        name: Name of the shard, ``folder/uuid``.
        record: Its commit record.
        size: Size of the shard in bytes.
        progress: Called with numbers of bytes as they are copied.
    """
    copy.take(origin, f"{name}.arrow", read_digest(origin, name, record, size), progress)
    copy.write(f"{name}.json", record)


def read_digest(origin: StoreFiles, name: str, record: bytes, size: int) -> str:
    """Return the SHA-256 that a commit record says; CorruptError if the record does not fit."""
    try:
        values = json.loads(record)
        expected, sha256 = int(values["bytes"]), str(values["sha256"])
    except (ValueError, KeyError, TypeError) as error:
        raise CorruptError(
            f"{origin.location}/{name}.json: expected a commit record ({error!r}); run `flowkit "
            f"verify {origin.location}`"
        ) from None
    if size != expected:
        raise CorruptError(
            f"{origin.location}/{name}.arrow has {size:,} bytes, its record says {expected:,}; run "
            f"`flowkit verify {origin.location}`"
        )
    return sha256


def write_small_files(copy: StoreFiles, small: dict[str, bytes], present: dict[str, int]) -> None:
    """Write the files that are no shards; store.json last if the copy is new."""
    for name in OPTIONAL_FILES:
        if name in small:
            copy.write(name, small[name])
        elif name in present:
            copy.delete(name)
    last = ["index.arrow", "store.json"]
    if "store.json" in present:
        last.reverse()  # the index may name features that only the new store.json describes
    for name in last:
        copy.write(name, small[name])

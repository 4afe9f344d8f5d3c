"""Plan the shards of an export, and record those that are finished.

A shard is a file of samples. Its videos are in one partition (partitions.py): they are in the same
subsets.

Videos are ordered by a digest of their ids, so that neighbours in a shard have nothing in common:
readers of shards shuffle only what is in their buffer. A shard is closed when it has reached the
given size. So the videos of a shard depend only on its first video, and an export that continues
ends with the same shards as one that was not interrupted.

    <out>/.export/<shard>.json     record of a finished shard, written after the shard itself
"""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from hashlib import blake2b
from pathlib import Path

from flowkit.store.format.atomic import write_atomic

RECORDS = ".export"
"""Name of the folder of records in an export."""


@dataclass(frozen=True, kw_only=True)
class Shard:
    """A shard that is to be written."""

    name: str
    """Its name without the suffix."""
    partition: str
    """Name of the partition that its videos are in."""
    ids: tuple[str, ...]
    """Ids of its videos, in order."""


@dataclass(frozen=True, kw_only=True)
class ShardRecord:
    """The record of a finished shard."""

    name: str
    """Its name without the suffix."""
    subsets: tuple[str, ...]
    """The subsets of its videos, as file names spell them."""
    bytes: int
    """Size of the file."""
    videos: tuple[tuple[str, str, int], ...]
    """Id, digest and number of frames of each of its videos."""


def order_ids(ids: Iterable[str]) -> list[str]:
    """Order ids by a digest, which looks random but is the same in each run.

    Args:
        ids: Ids of videos.

    Returns:
        The ids in another order.
    """
    return sorted(ids, key=lambda id: blake2b(id.encode(), digest_size=8).digest())


def plan_shards(
    videos: Iterable[tuple[str, str, int]], shard_bytes: int, taken: Iterable[str]
) -> list[Shard]:
    """Divide videos into shards.

    Args:
        videos: Id, partition and bytes of each video, in order.
        shard_bytes: Bytes at which a shard is closed.
        taken: Names of finished shards, which no new one gets.

    Returns:
        The shards: for each partition, numbered from 0 without the taken names.
    """
    taken, shards = set(taken), []
    open_ids: dict[str, list[str]] = {}
    open_bytes: dict[str, int] = {}
    next_numbers: dict[str, int] = {}

    def close_shard(partition: str) -> None:
        number = next_numbers.get(partition, 0)
        while f"{partition}-{number:06d}" in taken:
            number += 1
        next_numbers[partition] = number + 1
        ids = tuple(open_ids.pop(partition))
        shards.append(Shard(name=f"{partition}-{number:06d}", partition=partition, ids=ids))
        del open_bytes[partition]

    for id, partition, size in videos:
        open_ids.setdefault(partition, []).append(id)
        open_bytes[partition] = open_bytes.get(partition, 0) + size
        if open_bytes[partition] >= shard_bytes:
            close_shard(partition)
    for partition in sorted(open_ids):
        close_shard(partition)
    return shards


def write_record(out: Path, record: ShardRecord) -> None:
    """Record that a shard is finished.

    Args:
        out: Folder of the export.
        record: Record of the shard.
    """
    text = json.dumps(asdict(record))
    write_atomic(out / RECORDS / f"{record.name}.json", text.encode())


def read_records(out: Path, folder: Path, suffix: str) -> dict[str, ShardRecord]:
    """Read the records of the shards that are there in full.

    Args:
        out: Folder of the export.
        folder: Folder of the shards.
        suffix: Suffix of their names.

    Returns:
        The records by name of the shard. A record that cannot be read, or whose shard is missing or
        has another size, is left out, so that the shard is written again.
    """
    records = {}
    for path in sorted((out / RECORDS).glob("*.json")):
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
            record = ShardRecord(
                name=values["name"],
                subsets=tuple(values["subsets"]),
                bytes=values["bytes"],
                videos=tuple((id, digest, frames) for id, digest, frames in values["videos"]),
            )
            if (folder / f"{record.name}{suffix}").stat().st_size == record.bytes:
                records[record.name] = record
        except (OSError, ValueError, KeyError, TypeError):
            continue
    return records

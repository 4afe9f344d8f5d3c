"""Commit records: the files that make shards count."""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from flowkit.errors import CorruptError, FormatError
from flowkit.store.format.atomic import write_atomic
from flowkit.store.format.complete_videos import CompleteVideos
from flowkit.store.format.schema import (
    FORMAT,
    CommitRecord,
    CommittedVideo,
    encode_json,
    shard_folders,
)


def make_record(
    folder: str, uuid: str, contents: CompleteVideos, size: int, sha256: str
) -> CommitRecord:
    """The record of a shard that is committed now."""
    return CommitRecord(
        folder=folder,
        uuid=uuid,
        rows=contents.rows,
        bytes=size,
        sha256=sha256,
        committed=time.time(),
        videos=tuple(contents.videos),
    )


def record_json(record: CommitRecord) -> bytes:
    """The content of ``<uuid>.json``."""
    values = {name: getattr(record, name) for name in record.__dataclass_fields__}
    values["videos"] = [video.to_dict() for video in record.videos]
    return encode_json({"format": FORMAT} | values)


def write_record(root: Path, record: CommitRecord) -> None:
    """Write ``<uuid>.json``: from now on the shard counts."""
    write_atomic(root / f"{record.name}.json", record_json(record))


def record_paths(root: Path) -> Iterator[Path]:
    """The commit records of a store, folder by folder, in the order of their names."""
    for folder in shard_folders(root):
        yield from sorted((root / folder).glob("*.json"))


def read_record(path: Path) -> CommitRecord:
    """Read a commit record; FormatError if it is newer, CorruptError if it is broken."""
    values = load_record(path)
    try:
        videos = tuple(CommittedVideo.from_dict(video) for video in values["videos"])
        known = {name: values[name] for name in CommitRecord.__dataclass_fields__}
        return CommitRecord(**known | {"videos": videos})
    except (KeyError, TypeError) as error:
        raise broken_record(path, error) from None


def load_record(path: Path) -> dict[str, Any]:
    """The JSON of a commit record as it is, for readers of many."""
    try:
        values: dict[str, Any] = json.loads(path.read_bytes())
        found = values["format"]
    except (ValueError, KeyError, TypeError) as error:
        raise broken_record(path, error) from None
    if found > FORMAT:
        raise FormatError(f"{path}: expected format {FORMAT} at most, got {found}; update flowkit")
    return values


def broken_record(path: Path, error: Exception) -> CorruptError:
    """Make the error for a commit record that cannot be read."""
    return CorruptError(
        f"{path}: expected a commit record ({error!r}); run `flowkit verify --repair`"
    )

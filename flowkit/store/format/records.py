"""Write and read commit records: ``<uuid>.json``, without which a shard does not count."""

import json
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from flowkit.errors import CorruptError, FormatError, StoreError
from flowkit.store.format.atomic import write_atomic
from flowkit.store.format.complete_videos import CompleteVideos
from flowkit.store.format.location import read_uploaded_size
from flowkit.store.format.schema import (
    FORMAT,
    CommitRecord,
    CommittedVideo,
    encode_json,
    shard_folders,
)
from flowkit.store.format.video_values import check_record, check_values, is_count


def record_shard(
    path: Path, folder: str, contents: CompleteVideos, size: int, sha256: str
) -> CommitRecord:
    """Write the commit record of a finished shard, after which readers use the shard.

    Args:
        path: The shard file, ``<uuid>.arrow``.
        folder: Shard folder, such as ``frames`` or ``features/<name>``.
        contents: The videos of the shard.
        size: Size of the shard file in bytes.
        sha256: SHA-256 of the shard file, in hexadecimal.

    Returns:
        The record.
    """
    record = CommitRecord(
        folder=folder,
        uuid=path.stem,
        rows=contents.rows,
        bytes=size,
        sha256=sha256,
        committed=time.time(),
        videos=tuple(contents.videos),
    )
    write_record(path.with_suffix(".json"), record)
    return record


def write_record(path: Path, record: CommitRecord) -> None:
    """Write or replace a commit record."""
    values = {name: getattr(record, name) for name in record.__dataclass_fields__}
    values["videos"] = [video.to_dict() for video in record.videos]
    write_atomic(path, encode_json({"format": FORMAT} | values))


def record_paths(root: Path) -> Iterator[Path]:
    """Yield the paths of a store's commit records, folder by folder, sorted by name."""
    for folder in shard_folders(root):
        yield from sorted((root / folder).glob("*.json"))


def find_shards(root: Path) -> Iterator[tuple[str, str]]:
    """Yield (folder, uuid) of every shard that has a file or a record.

    Shards of a working store that are at its URL are left out; they are checked there.
    """
    for folder in shard_folders(root):
        paths = {*(root / folder).glob("*.arrow"), *(root / folder).glob("*.json")}
        for uuid in sorted({path.stem for path in paths}):
            shard = root / folder / f"{uuid}.arrow"
            if shard in paths or read_uploaded_size(shard) < 0:
                yield folder, uuid


def list_committed_streams(records: Iterable[CommitRecord]) -> set[tuple[str, str]]:
    """Return (video id, stream) of everything that is in some commit records."""
    videos = (video for record in records for video in record.videos)
    return {(video.id, stream) for video in videos for stream in video.streams}


def read_record(path: Path) -> CommitRecord:
    """Read a commit record.

    Raises:
        FormatError: The record has a newer format.
        CorruptError: The record is damaged.
    """
    values = load_record(path)
    videos = tuple(CommittedVideo.from_dict(video) for video in values["videos"])
    fields = {name: values[name] for name in CommitRecord.__dataclass_fields__}
    return CommitRecord(**fields | {"videos": videos})


def load_record(path: Path) -> dict[str, Any]:
    """Read the JSON values of a commit record, which is faster than :func:`read_record`.

    Raises:
        FileNotFoundError: There is no record.
        StoreError: The record cannot be read.
        FormatError: The record has a newer format.
        CorruptError: The record is damaged: a value is missing, of a wrong type or out of range.
    """
    try:
        values: dict[str, Any] = json.loads(path.read_bytes())
        check_values(values, {"format": is_count})
        if values["format"] <= FORMAT:
            check_record(values)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise StoreError(f"cannot read {path}: {error.strerror}; check its permissions") from None
    except (ValueError, RecursionError) as error:
        raise make_record_error(path, error) from None
    if values["format"] > FORMAT:
        raise FormatError(
            f"{path}: expected format {FORMAT} at most, got {values['format']}; update flowkit"
        )
    return values


def make_record_error(path: Path, error: Exception) -> CorruptError:
    """Make the error for a commit record that is damaged."""
    return CorruptError(
        f"{path}: expected a commit record ({error}); run `flowkit verify --repair`"
    )

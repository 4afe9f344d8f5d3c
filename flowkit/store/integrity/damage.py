"""Find out which videos of a shard are intact when its bytes are not those that were committed.

A video is intact if all its parts are there, the CRC-32 of its batches' columns and metadata are
right, and the commit record describes the video in the same way.
"""

from collections.abc import Set
from dataclasses import replace
from pathlib import Path

from flowkit.errors import CorruptError
from flowkit.store.format.schema import CommitRecord, CommittedVideo
from flowkit.store.integrity.batches import ShardVideo, open_shard
from flowkit.store.integrity.salvage import check_shard


def find_damage(
    path: Path,
    folder: str,
    record: CommitRecord | None,
    indexed_ids: Set[str] = frozenset(),
) -> tuple[list[ShardVideo], dict[str, str]]:
    """Sort the videos of a shard file into intact and damaged ones.

    Args:
        path: The shard file.
        folder: Its shard folder.
        record: Its commit record, if there is one.
        indexed_ids: Videos that must be in it because the index says so.

    Returns:
        The intact videos, and what is wrong with each damaged video by id.
    """
    intact: list[ShardVideo] = []
    damaged: dict[str, str] = {}
    expected = {video.id: video for video in record.videos} if record else {}
    with open_shard(path, folder) as shard:
        changed = [batch.find_changed_columns(shard.descriptor) for batch in shard.batches]
    for index, video in enumerate(shard.videos):
        meta = video.meta
        columns = sorted({name for part in video.parts for name in changed[part.batch]})
        if columns:
            damaged[meta.id] = f"column {', '.join(columns)} has changed bytes"
        elif record and not has_same_description(expected.get(meta.id), meta):
            damaged[meta.id] = (
                f"video {index} of the shard differs from its description in the commit record"
            )
        else:
            intact.append(video)
    causes = ["the shard is truncated", "a batch header has changed bytes"]
    if record is not None:  # with the size of the file, only one of them is possible
        causes = causes[:1] if path.stat().st_size < record.bytes else causes[1:]
    for id in (expected.keys() | indexed_ids) - {video.meta.id for video in intact}:
        damaged.setdefault(id, f"its rows cannot be found: {', or '.join(causes)}")
    return intact, damaged


def is_recoverable(path: Path, folder: str) -> bool:
    """Return whether recovery gives a shard file a commit record, rather than to quarantine it."""
    with path.open("rb") as file:
        try:
            check_shard(file.fileno(), path, folder)
        except CorruptError:
            return False
    return True


def has_same_description(expected: CommittedVideo | None, actual: CommittedVideo) -> bool:
    """Return whether two descriptions of a video are equal but for its position in the shard."""
    position = {name: getattr(actual, name) for name in ("batch", "batches", "first_row", "rows")}
    return expected is not None and replace(expected, **position) == actual

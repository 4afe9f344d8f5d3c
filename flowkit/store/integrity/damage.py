"""What is still whole in a shard whose bytes are not what was committed.

A video is whole if all its parts are there in order, the CRC-32 of
their batches' columns and description are right, and the commit record describes it alike.
"""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from flowkit.store.format.schema import CommitRecord, VideoMeta, shard_columns
from flowkit.store.integrity.batches import FoundVideo, find_videos, open_shard, read_batches


@dataclass(kw_only=True)
class Damage:
    """``whole`` videos, and for each other one by id what is wrong with it."""

    whole: list[FoundVideo] = field(default_factory=list)
    broken: dict[str, str] = field(default_factory=dict)


def find_damage(path: Path, folder: str, record: CommitRecord | None) -> Damage:
    """Sort the videos of a shard file into whole and broken ones. Bounded memory."""
    damage = Damage()
    with open_shard(path) as descriptor:
        batches = list(read_batches(descriptor, path, shard_columns(folder)))
        changed = {batch.position: batch.changed_columns(descriptor) for batch in batches}
    expected = {video.id: video for video in record.videos} if record else {}
    for number, video in enumerate(find_videos(batches)):
        id = video.meta.id
        columns = sorted({name for piece in video.pieces for name in changed[piece.batch.position]})
        if columns:
            damage.broken[id] = f"column {', '.join(columns)} has changed bytes"
        elif record is not None and describe(expected.get(id)) != describe(video.meta):
            damage.broken[id] = f"video {number} of the shard is not as its record describes it"
        else:
            damage.whole.append(video)
    found = {video.meta.id for video in damage.whole}
    for id in expected.keys() - found:
        damage.broken.setdefault(id, "its rows cannot be found: a batch header has changed bytes")
    return damage


def describe(meta: VideoMeta | None) -> dict[str, Any] | None:
    """What both a batch and the record say of a video."""
    if meta is None:
        return None
    values = meta.to_dict()
    for name in ("batch", "batches", "first_row", "rows"):
        values.pop(name, None)
    return json.loads(json.dumps(values))  # type: ignore[no-any-return]

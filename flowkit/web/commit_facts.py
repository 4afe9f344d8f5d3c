"""Read what the commit records of a store say about a video: warnings and provenance.

A commit record lists all videos of its shard, thousands where they are short, so the facts of the
shards that were read last are kept.
"""

import json
from functools import lru_cache
from pathlib import Path
from typing import Any

from flowkit.errors import FlowkitError
from flowkit.store import Video
from flowkit.store.format.records import load_record, make_record_error
from flowkit.web.open_store import StoreView

KEPT_RECORDS = 8
"""Commit records whose facts are kept."""
DEFAULT_FACTS: dict[str, Any] = {"warnings": [], "provenance": {}}
"""The facts of a video, with their values where a record lacks them."""


def describe_records(root: Path, view: StoreView, video: Video) -> list[dict[str, Any]]:
    """Describe what the commit record of each of a video's shards says about it.

    Args:
        root: Folder of the store.
        view: The open store.
        video: The video.

    Returns:
        For each shard its name, the video's streams in it, and the warnings and provenance, or the
        error if its record cannot be read.
    """
    index = view.store.index
    records: dict[str, dict[str, Any]] = {}
    for stream in video.streams:
        location = index.locate(stream, video.row)
        if location is None:
            continue
        shard = index.shards[location.shard]
        if shard not in records:
            records[shard] = {"shard": shard, "streams": [], **read_facts(root, shard, video.id)}
        records[shard]["streams"].append(stream)
    return list(records.values())


def read_facts(root: Path, shard: str, id: str) -> dict[str, Any]:
    """Read the warnings and the provenance of a video, or the error, from a shard's record."""
    path = (root / shard).with_suffix(".json")
    try:
        status = path.stat()
        facts = load_facts(path, status.st_ino, status.st_mtime_ns).get(id)
    except (FlowkitError, OSError) as error:
        return {"error": " ".join(str(error).split())}
    return facts or {"error": "the commit record lacks this video"}


@lru_cache(maxsize=KEPT_RECORDS)
def load_facts(path: Path, inode: int, mtime_ns: int) -> dict[str, dict[str, Any]]:
    """Load the warnings and provenance of all videos of a commit record.

    Args:
        path: The commit record.
        inode: Its inode and modification time, by which a replaced record is read again.
        mtime_ns: See ``inode``.

    Raises:
        CorruptError: The record is damaged.
        FormatError: The record has a newer format.
    """
    values = load_record(path)
    shared: dict[str, Any] = {}  # most videos have the same facts, which are kept once
    facts = {}
    try:
        for entry in values["videos"]:
            chosen = {name: entry.get(name, value) for name, value in DEFAULT_FACTS.items()}
            facts[entry["id"]] = shared.setdefault(json.dumps(chosen), chosen)
    except (KeyError, TypeError, AttributeError) as error:
        raise make_record_error(path, error) from None
    return facts

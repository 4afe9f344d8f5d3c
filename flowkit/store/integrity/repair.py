"""Repair a store: move damaged shards to quarantine, and keep their intact videos.

Nothing is deleted: a damaged shard and its commit record move to ``quarantine/``, with the same
path below it, or a numbered one if that is taken. Before that, the intact videos are committed in a
new shard, so a repair that is killed loses nothing; the next repair sees that they were copied, and
does not copy them again. The other videos are then in no commit record, so the next extraction
extracts them again.
"""

from dataclasses import replace
from pathlib import Path

from flowkit.errors import FormatError, StoreError
from flowkit.recipe import FEATURES
from flowkit.store.format.header import StoreHeader
from flowkit.store.format.records import (
    list_committed_streams,
    read_record,
    record_paths,
    write_record,
)
from flowkit.store.format.schema import CommittedVideo, shard_schema, vector_dimension
from flowkit.store.format.shard_file import ShardFile
from flowkit.store.index import rebuild_index
from flowkit.store.integrity.batches import ShardVideo, open_shard
from flowkit.store.integrity.contents import check_numbers
from flowkit.store.integrity.damage import find_damage
from flowkit.store.integrity.inspection import InspectedShard, Inspection
from flowkit.store.integrity.quarantine import quarantine_file
from flowkit.store.integrity.recovery import recover
from flowkit.store.latest_videos import VideoCommit


def repair_store(inspection: Inspection) -> None:
    """Repair what an inspection found, and add to its report what was done.

    The store must be locked.

    Args:
        inspection: A finished inspection of the store.

    Raises:
        FormatError: A shard has a newer format.
        StoreError: Videos are to be copied, and store.json has another recipe than its shards: the
            copies would have its recipe.
        DiskFullError: There is no room for the intact videos of a damaged shard, which is left
            where it was.
    """
    root, report = inspection.root, inspection.report
    for shard in inspection.shards:
        if shard.action == "update-flowkit":
            raise FormatError(
                f"{shard.name} is of a newer format: update flowkit before you repair"
            )
        if shard.action == "copy-videos" and inspection.recipe_differences:
            raise StoreError(
                f"{root / 'store.json'} has another recipe than its shards "
                f"({'; '.join(inspection.recipe_differences)}): restore it before you repair"
            )
    for shard in inspection.shards:
        record_path = root / f"{shard.name}.json"
        if shard.action == "copy-videos":
            count = replace_shard(shard, inspection)
            line = f"moved shard {shard.name} to quarantine, copied {count} intact videos"
        elif shard.action == "remove-record":
            quarantine_file(root, record_path)
            line = f"moved the commit record of the lost shard {shard.name} to quarantine"
        elif shard.action == "recover":
            quarantine_file(root, record_path)
            line = f"left shard {shard.name} to recovery, which checks it and gives it a record"
        elif shard.action == "write-record":
            rewrite_record(root, shard)
            line = f"wrote the commit record of shard {shard.name} again from its batches"
        else:
            continue
        report.repaired.append(line)
    recover(root)
    rebuild_index(root, scratch=bool(report.problems))
    if report.problems:
        report.repaired.append("rebuilt the index")
    committed = list_committed_streams(map(read_record, record_paths(root)))
    lost_ids = {id for id, _ in inspection.commits.keys() - committed}
    bad_ids = {id for shard in inspection.shards for id in shard.bad_ids}
    report.lost_videos = sorted(lost_ids | (bad_ids - {id for id, _ in committed}))


def replace_shard(shard: InspectedShard, inspection: Inspection) -> int:
    """Copy the intact videos of a damaged shard into a new one, and move it to quarantine.

    Returns:
        The number of videos that were copied.
    """
    path = inspection.root / f"{shard.name}.arrow"
    intact, _ = find_damage(path, shard.folder, shard.record)
    videos = [
        video
        for video in intact
        if video.meta.id not in shard.bad_ids and is_needed(shard, video.meta, inspection)
    ]
    count = copy_videos(inspection.root, inspection.header, shard, videos) if videos else 0
    # The record first, since the shard does not count without it.
    quarantine_file(inspection.root, path.with_suffix(".json"))
    quarantine_file(inspection.root, path)
    return count


def is_needed(shard: InspectedShard, video: CommittedVideo, inspection: Inspection) -> bool:
    """Return whether a video of a damaged shard must be copied.

    It must be copied if readers use this commit of the video for any stream, which latest_videos.py
    decides, unless an earlier repair that was killed has copied it already.
    """
    commit = shard.make_commit(video)
    for stream in video.streams:
        others = [
            (other, inspection.shards[other.shard])
            for other in inspection.commits.get((video.id, stream), [])
            if other.shard != shard.index and video.id not in inspection.shards[other.shard].bad_ids
        ]
        is_copied = any(
            is_same_extraction(other, commit) and other_shard.action != "copy-videos"
            for other, other_shard in others
        )
        if not is_copied and not any(other.outranks(commit) for other, _ in others):
            return True
    return False


def is_same_extraction(one: VideoCommit, other: VideoCommit) -> bool:
    """Return whether one of two commits of a video can be a copy of the other."""
    a, b = one.video, other.video
    return (a.fingerprint, a.frames, a.supersedes) == (b.fingerprint, b.frames, b.supersedes)


def copy_videos(
    root: Path, header: StoreHeader, shard: InspectedShard, videos: list[ShardVideo]
) -> int:
    """Commit intact videos of a shard in a new shard.

    Videos with values that flowkit would not write are not copied. Their checksums are right if
    another program wrote them.

    Returns:
        The number of videos that were copied.
    """
    folder, dimension = shard.folder, vector_dimension(shard.folder, header.recipe)
    copyable = []
    with open_shard(root / f"{shard.name}.arrow", folder) as contents:
        for video in videos:
            if not contents.is_copyable(video, dimension) or (
                folder.startswith(FEATURES) and any(check_numbers(contents, video, dimension))
            ):
                shard.bad_ids.add(video.meta.id)
            else:
                copyable.append(video)
        if copyable:
            schema = shard_schema(folder, header.recipe, columns=contents.columns)
            new_shard = ShardFile(root / folder, schema)
            contents.copy_videos(copyable, new_shard)
            new_shard.commit()
    return len(copyable)


def rewrite_record(root: Path, shard: InspectedShard) -> None:
    """Write the commit record of a shard again from its batches."""
    assert shard.record is not None
    path = root / f"{shard.name}.arrow"
    with open_shard(path, shard.folder) as contents:
        complete = contents.complete
    record = replace(
        shard.record,
        folder=shard.folder,
        uuid=shard.uuid,
        rows=complete.rows,
        videos=tuple(complete.videos),
    )
    quarantine_file(root, path.with_suffix(".json"), copy=True)
    write_record(path.with_suffix(".json"), record)

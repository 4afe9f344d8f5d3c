"""Taking bad shards out of a store, and carrying over what is whole in them.

Nothing is deleted: a bad shard and its record move to ``quarantine/`` under the same path. The
whole videos are committed in a new shard before that, so a repair that is killed loses nothing;
the next one sees that they are there and does not write them again. A lost video is then simply
in no record, so that the next extraction does it.
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from flowkit.errors import FormatError
from flowkit.recipe import FEATURES
from flowkit.store.format.atomic import disk_errors, sync_folder, write_atomic
from flowkit.store.format.complete_videos import CompleteVideos
from flowkit.store.format.header import StoreHeader
from flowkit.store.format.records import read_record, record_json, record_paths
from flowkit.store.format.schema import shard_columns, shard_schema, vector_dimension
from flowkit.store.format.shard_file import ShardFile
from flowkit.store.index import Candidate, rebuild_index
from flowkit.store.integrity.batches import (
    FoundVideo,
    copy_videos,
    is_copyable,
    open_shard,
    read_batches,
)
from flowkit.store.integrity.contents import check_numbers
from flowkit.store.integrity.damage import find_damage
from flowkit.store.integrity.inspection import Inspection, Shard, find_winner, mark_of
from flowkit.store.integrity.recovery import recover


def repair_store(root: Path, header: StoreHeader, inspection: Inspection) -> None:
    """Repair what an inspection found, and say in its report what was done.

    The store must be held. FormatError where a shard is of a newer format; DiskFullError leaves
    the bad shard where it was.
    """
    report = inspection.report
    newer = [shard.name for shard in inspection.shards if shard.remedy == "newer"]
    if newer:
        raise FormatError(f"{newer[0]} is of a newer format: update flowkit before you repair")
    for shard in inspection.shards:
        if shard.remedy is not None:
            report.repaired += REMEDIES[shard.remedy](root, header, shard, inspection)
    recover(root)
    rebuild_index(root, scratch=bool(report.problems))
    if report.problems:
        report.repaired.append("rebuilt the index")
    held = {
        (video.id, stream)
        for path in record_paths(root)
        for video in read_record(path).videos
        for stream in video.streams
    }
    lost = {id for id, _ in inspection.copies.keys() - held}
    lost |= {id for shard in inspection.shards for id in shard.unfit} - {id for id, _ in held}
    report.requeued = sorted(lost)


def rewrite_shard(
    root: Path, header: StoreHeader, shard: Shard, inspection: Inspection
) -> list[str]:
    """Commit the whole videos of a bad shard anew, and move it to quarantine."""
    path = root / f"{shard.name}.arrow"
    damage = find_damage(path, shard.folder, shard.record)
    carried = [
        video
        for video in damage.whole
        if video.meta.id not in shard.unfit and is_needed(shard, video, inspection)
    ]
    if carried:
        carry_over(root, header, shard, path, carried)
    quarantine(root, path.with_suffix(".json"))  # first, for without it the shard does not count
    quarantine(root, path)
    return [f"moved shard {shard.name} to quarantine, carried over {len(carried)} whole videos"]


def is_needed(shard: Shard, video: FoundVideo, inspection: Inspection) -> bool:
    """Whether this copy of a video counts for any stream, and no repair before carried it over."""
    meta = video.meta
    committed = shard.record.committed if shard.record else float("inf")
    own = (Candidate((meta.supersedes, committed, shard.uuid), 0, mark_of(meta)), shard)
    for stream in meta.streams:
        rivals = [
            (candidate, other)
            for candidate, other in inspection.copies.get((meta.id, stream), [])
            if other is not shard and meta.id not in other.unfit
        ]
        done = any(
            candidate.video == own[0].video and other.remedy != "rewrite"
            for candidate, other in rivals
        )
        if not done and find_winner([own, *rivals]) is own:
            return True
    return False


def carry_over(
    root: Path, header: StoreHeader, shard: Shard, path: Path, videos: list[FoundVideo]
) -> None:
    """Commit whole videos of a shard file in a new shard, without those that are unfit."""
    folder, recipe = shard.folder, header.recipe
    columns, dimension = shard_columns(folder), vector_dimension(folder, recipe)
    with open_shard(path) as descriptor:
        fit = []
        for video in videos:
            # Checksums hold, but some other program may have written what flowkit would refuse.
            if not is_copyable(descriptor, video, columns, dimension) or (
                folder.startswith(FEATURES)
                and any(check_numbers(descriptor, folder, video, recipe))
            ):
                shard.unfit.add(video.meta.id)
            else:
                fit.append(video)
        if fit:
            copy = ShardFile(root / folder, shard_schema(folder, recipe))
            copy_videos(descriptor, fit, columns, copy)
            copy.commit()


def renew_record(
    root: Path, header: StoreHeader, shard: Shard, inspection: Inspection
) -> list[str]:
    """Write the record of a shard anew from its batches; without one, recovery does it."""
    path = root / f"{shard.name}.arrow"
    record = path.with_suffix(".json")
    if shard.record is None:
        quarantine(root, record)
        return [f"left shard {shard.name} to recovery, which checks it and gives it a record"]
    with open_shard(path) as descriptor:
        batches = read_batches(descriptor, path, shard_columns(shard.folder))
        contents = CompleteVideos(batch.parts for batch in batches)
    renewed = replace(
        shard.record,
        folder=shard.folder,
        uuid=shard.uuid,
        rows=contents.rows,
        videos=tuple(contents.videos),
    )
    quarantine(root, record, keep=True)
    write_atomic(record, record_json(renewed))
    return [f"wrote the commit record of shard {shard.name} anew from its batches"]


def remove_record(
    root: Path, header: StoreHeader, shard: Shard, inspection: Inspection
) -> list[str]:
    """Take a record without a shard out of the way."""
    quarantine(root, root / f"{shard.name}.json")
    return [f"moved the commit record of the lost shard {shard.name} to quarantine"]


Remedy = Callable[[Path, StoreHeader, Shard, Inspection], list[str]]
REMEDIES: dict[str, Remedy] = {
    "rewrite": rewrite_shard,
    "record": renew_record,
    "remove": remove_record,
}


def quarantine(root: Path, path: Path, keep: bool = False) -> None:
    """Move a file to the same path below ``quarantine/``, or copy it with ``keep``."""
    if not path.exists():
        return
    target = root / "quarantine" / path.relative_to(root)
    with disk_errors(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        if keep:
            target.write_bytes(path.read_bytes())
        else:
            path.replace(target)
            sync_folder(target.parent)
            sync_folder(path.parent)

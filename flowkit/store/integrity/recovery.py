"""Recover a store after a crash: complete what killed writers left behind.

A finished shard that has no commit record gets one, and the complete videos of a half-written shard
are saved. The README describes it under Recovery. Every file is locked before it is changed, so any
number of recoveries and writers can run at once, and every step leaves a state from which the next
recovery continues.
"""

import os
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from flowkit.errors import CorruptError
from flowkit.store.format.atomic import convert_disk_errors, sync_folder
from flowkit.store.format.header import read_header
from flowkit.store.format.locks import get_part_lock_path, is_locked, try_lock
from flowkit.store.format.records import (
    list_committed_streams,
    read_record,
    record_paths,
    record_shard,
)
from flowkit.store.format.schema import CommitRecord, VideoMeta, shard_folders
from flowkit.store.integrity.quarantine import quarantine_file
from flowkit.store.integrity.salvage import check_shard, hash_file, read_part, salvage

POLL_SECONDS = 0.1
LEFTOVER_SUFFIXES = {"arrow.part", "arrow.salvage", "json.part"}
"""Suffixes of files that a crash leaves, besides ``.arrow`` without ``.json``."""
HEADER_BYTES = 1 << 20
"""More than the header of a shard has: a longer file has rows too."""


@dataclass(frozen=True, slots=True)
class Recovery:
    """What a recovery did."""

    salvaged: tuple[str, ...] = ()
    """Ids of the videos of which streams count now and did not before."""
    streams: Mapping[str, frozenset[str]] = field(default_factory=dict)
    """These streams, by video id."""
    committed: tuple[str, ...] = ()
    """Shards of these videos, as ``folder/uuid``."""
    quarantined: tuple[str, ...] = ()
    """Damaged shards without a commit record that were moved to ``quarantine/``."""
    waiting: tuple[str, ...] = ()
    """Shards that are still being written, or belong to another part's run."""
    dropped_rows: int = 0
    """Number of rows of videos that were not complete."""


def recover(
    root: str | os.PathLike[str],
    *,
    part: tuple[int, int] = (0, 1),
    wait_seconds: float = 20.0,
    log: Callable[[str], None] = lambda line: None,
) -> Recovery:
    """Recover a store after any crash; changes nothing if there is nothing to recover.

    Shards that are being written are left alone. Workers of a killed run can outlive it for a
    moment, so shards of the caller's own part are waited for.

    Args:
        root: Folder of the store.
        part: The part (i, n) of the dataset that the caller works on; (0, 1) is the whole store.
        wait_seconds: Time to wait for shards of this part, in all.
        log: Called with a line for each shard.

    Returns:
        What was done.

    Raises:
        DiskFullError: There is no room; the store is as it was before.
    """
    path = Path(root)
    read_header(path)
    deadline = time.monotonic() + wait_seconds
    recovery = ShardRecovery(path, part, log)
    while True:
        waiting = [shard for shard in find_leftovers(path) if not recovery.recover_shard(shard)]
        own_shards = [shard for shard in waiting if recovery.is_own(shard)]
        if not own_shards or time.monotonic() >= deadline:
            break
        time.sleep(POLL_SECONDS)
    for shard in own_shards:
        log(f"{shard}: still being written after {wait_seconds:.0f} s; left alone")
    streams: dict[str, set[str]] = defaultdict(set)
    for record in recovery.records:
        for video in record.videos:
            streams[video.id].update(video.streams)
    return Recovery(
        salvaged=tuple(streams),
        streams={id: frozenset(names) for id, names in streams.items()},
        committed=tuple(record.name for record in recovery.records),
        quarantined=tuple(recovery.quarantined),
        waiting=tuple(waiting),
        dropped_rows=recovery.dropped_rows,
    )


def commit_intact_shards(root: Path) -> list[str]:
    """Write the commit records that finished shards lack; damaged shards are left as they are.

    Returns:
        These shards, as ``folder/uuid``.
    """
    committed = []
    for shard in find_leftovers(root):
        path = (root / shard).with_suffix(".arrow")
        if not path.exists() or path.with_suffix(".json").exists():
            continue
        with lock_file(path) as descriptor:
            if descriptor is None:
                continue
            folder = shard.rpartition("/")[0]
            try:
                contents = check_shard(descriptor, path, folder)
            except CorruptError:
                continue  # a repair saves its intact videos
            record_shard(path, folder, contents, *hash_file(descriptor))
            committed.append(shard)
    return committed


def find_leftovers(root: Path) -> list[str]:
    """Return the shards, as ``folder/uuid``, that a crash or a live writer left unfinished."""
    shards = []
    for folder in shard_folders(root):
        suffixes: dict[str, set[str]] = defaultdict(set)
        for path in (root / folder).iterdir():
            uuid, _, suffix = path.name.partition(".")
            suffixes[uuid].add(suffix)
        for uuid, present in sorted(suffixes.items()):
            if present & LEFTOVER_SUFFIXES or ("arrow" in present and "json" not in present):
                shards.append(f"{folder}/{uuid}")
    return shards


class ShardRecovery:
    """Recovers single shards, and remembers what was done.

    Args:
        root: Folder of the store.
        part: The part (i, n) of the dataset that the caller works on.
        log: Called with a line for each shard.

    Attributes:
        records: The commit records that were written.
        quarantined: The shards that were moved to quarantine.
        dropped_rows: Number of rows of videos that were not complete.
    """

    def __init__(self, root: Path, part: tuple[int, int], log: Callable[[str], None]) -> None:
        self.root, self.part, self.log = root, part, log
        self.records: list[CommitRecord] = []
        self.quarantined: list[str] = []
        self.dropped_rows = 0
        # (Video id, stream) of everything that is committed; None until it is read.
        self._committed: set[tuple[str, str]] | None = None

    def is_own(self, shard: str) -> bool:
        """Return whether the writer of a shard belongs to the caller's part of the dataset."""
        return self.part == (0, 1) or self._read_part(shard) == self.part

    def _read_part(self, shard: str) -> tuple[int, int] | None:
        """Return the part (i, n) of the dataset that a shard's writer worked on."""
        folder, path = shard.rpartition("/")[0], self.root / shard
        part_path = path.with_suffix(".arrow.part")
        return read_part(part_path, folder) or read_part(path.with_suffix(".arrow"), folder)

    def recover_shard(self, shard: str) -> bool:
        """Recover one shard; return False if another process is responsible for it now."""
        path = self.root / shard
        if not self.is_own(shard):
            writer_part = self._read_part(shard)
            if writer_part is not None and is_locked(get_part_lock_path(self.root, writer_part)):
                return False  # the run on that part is alive, and recovers it at its end
        with convert_disk_errors(path.with_suffix(".arrow")):
            for suffix, recover_file in (
                (".arrow.part", self._recover_part),
                (".arrow", self._recover_finished),
            ):
                if path.with_suffix(suffix).exists():
                    with lock_file(path.with_suffix(suffix)) as descriptor:
                        return descriptor is not None and recover_file(shard, path, descriptor)
            self._remove_leftovers(path)
        return True

    def _recover_part(self, shard: str, path: Path, descriptor: int) -> bool:
        """Save the complete videos of a half-written shard, ``<uuid>.arrow.part``."""
        finished = path.with_suffix(".arrow")
        if finished.exists():  # by a recovery that was killed before it removed the .part
            with lock_file(finished) as other_descriptor:
                if other_descriptor is None:
                    return False
                self._recover_finished(shard, path, other_descriptor)
        if not finished.exists():
            self._remove_leftovers(path)
            folder, _, uuid = shard.rpartition("/")
            record, dropped_rows = salvage(
                descriptor, self.root, folder, uuid=uuid, is_wanted=self._is_missing
            )
            self.dropped_rows += dropped_rows
            if record:
                self._add_record(record)
            elif not dropped_rows and path.with_suffix(".arrow.part").stat().st_size > HEADER_BYTES:
                quarantine_file(self.root, path.with_suffix(".arrow.part"))
                self.quarantined.append(shard)
                self.log(f"{shard}: its header is damaged; it was moved to quarantine")
                return True
            count = len(record.videos) if record else 0
            self.log(f"{shard}: saved {count} complete videos of a killed writer")
        path.with_suffix(".arrow.part").unlink()
        sync_folder(path.parent)
        return True

    def _recover_finished(self, shard: str, path: Path, descriptor: int) -> bool:
        """Write the commit record of a finished shard, or move a damaged one to quarantine."""
        self._remove_leftovers(path)
        finished = path.with_suffix(".arrow")
        if path.with_suffix(".json").exists():
            return True
        folder = shard.rpartition("/")[0]
        try:
            contents = check_shard(descriptor, finished, folder)
        except CorruptError as error:
            quarantine_file(self.root, finished)
            self.quarantined.append(shard)
            self.log(f"{error}; it had no commit record, and was moved to quarantine")
            return True
        self._add_record(record_shard(finished, folder, contents, *hash_file(descriptor)))
        self.log(f"{shard}: wrote the commit record that a killed writer had not written")
        return True

    def _add_record(self, record: CommitRecord) -> None:
        self.records.append(record)
        if self._committed is not None:
            self._committed |= list_committed_streams([record])

    def _is_missing(self, video: VideoMeta) -> bool:
        """Return whether a video of a dead writer has not been committed meanwhile.

        When a node dies, its locks can outlive it for long, so that its videos are given to other
        workers before its shards can be recovered.
        """
        if self._committed is None:
            self._committed = list_committed_streams(map(read_record, record_paths(self.root)))
        streams = {(video.id, stream) for stream in video.streams}
        return video.supersedes or not streams <= self._committed

    def _remove_leftovers(self, path: Path) -> None:
        """Remove half-written files of a shard, unless another process is writing them."""
        for suffix in (".arrow.salvage", ".json.part"):
            leftover = path.with_name(path.name + suffix)
            if not is_locked(leftover):
                leftover.unlink(missing_ok=True)


@contextmanager
def lock_file(path: Path) -> Iterator[int | None]:
    """Open and lock a file.

    Yields:
        Its descriptor, or None if another process holds the lock or the file is gone.
    """
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        yield None
        return
    try:
        yield descriptor if try_lock(descriptor) and is_still_at(descriptor, path) else None
    finally:
        os.close(descriptor)


def is_still_at(descriptor: int, path: Path) -> bool:
    """Return whether the open file is still at ``path``; a commit may have renamed it."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False
